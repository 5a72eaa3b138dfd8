/** What every backend can do. Nothing beyond this interface knows which software is on the other end. */
import type {MxtokError} from '../errors.ts';
import type {RegistrationToken} from '../registration-token.ts';
import type {ServerClock} from './clock.ts';

/** The two limits of a token that can be set. */
export interface TokenLimits {
  /** 1 to 2147483647, or `null` for no limit. */
  uses_allowed: number | null;
  /** Unix milliseconds, or `null` for never. */
  expiry_time: number | null;
}

/** How it is known that a disabled token is refused. */
export type Confirmation =
  /** The homeserver said so when it was asked as a registering person would. */
  | 'validity'
  /** It is over by the expiry time that the homeserver keeps, and its own clock. */
  | 'expiry_time';

export interface DisabledToken {
  token: RegistrationToken;
  confirmed_by: Confirmation;
}

/** Of several tokens, what became of one. */
export type Outcome<T> =
  | {ok: true; value: T}
  /**
   * `begun: false`: nothing was sent for it, after an error that would have met it too. `partly`: some of it was done
   * before, whatever the error says of the rest.
   */
  | {ok: false; error: MxtokError; begun?: false; partly?: true};

export interface DisableOptions {
  /** Ends the waiting; what is closed by then stays closed. */
  signal?: AbortSignal | undefined;
  /** Told once, before the one wait for all of them: milliseconds. */
  onWait?: (ms: number) => void;
}

export interface Homeserver {
  readonly clock: ServerClock;

  /** That the access token may manage registration tokens. @throws {MxtokError} `unauthorized`, `not_admin`, `unsupported` */
  verifyAccess(): Promise<void>;

  /** All tokens, in no order. */
  list(): Promise<RegistrationToken[]>;

  /** @throws {MxtokError} `no_such_token` */
  get(token: string): Promise<RegistrationToken>;

  /** Those of the named tokens that exist, by name, in as few requests as it takes. */
  getMany(tokens: readonly string[]): Promise<Map<string, RegistrationToken>>;

  /**
   * Make a token of the given name. Where the answer does not come, the homeserver is asked whether it was made.
   * @throws {MxtokError} `already_exists`
   */
  create(token: string, limits: TokenLimits): Promise<RegistrationToken>;

  /** Set the given limits; what is absent stays. @throws {MxtokError} `no_such_token` */
  update(token: string, limits: Partial<TokenLimits>): Promise<RegistrationToken>;

  /** @throws {MxtokError} `no_such_token` */
  delete(token: string): Promise<void>;

  /**
   * Close tokens for new registrations, whatever their state, without ever opening one on the way, and confirm it.
   * One outcome for each, in their order.
   */
  disable(tokens: readonly RegistrationToken[], options?: DisableOptions): Promise<Outcome<DisabledToken>[]>;

  /**
   * Have the homeserver itself say that a token is past its expiry; nothing is changed. The Date header is not proof
   * enough, for reverse proxies write their own.
   */
  isPast(token: RegistrationToken): Promise<boolean>;

  /**
   * What the homeserver itself would answer a registration with it now, by its own rule.
   * @param now its time, Unix ms; given where many tokens are judged at once.
   */
  accepts(token: RegistrationToken, now?: number): boolean;
}
