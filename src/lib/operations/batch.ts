/** What the operations on several tokens have in common: look them up, log each, and lose none of the outcomes. */
import type {Connection} from '../connection.ts';
import {MxtokError, toMxtokError} from '../errors.ts';
import type {Outcome} from '../homeserver/homeserver.ts';
import type {RegistrationToken} from '../registration-token.ts';
import type {AuditedOperation, AuditState} from '../store/audit.ts';
import type {TokenMetadata} from '../store/metadata.ts';
import {type TokenRecord, toRecord} from '../token-record.ts';

/** One outcome for each token asked for, in the order asked. */
export interface TokenOutcome<T = TokenRecord> {
  token: string;
  outcome: Outcome<T>;
}

export interface FoundToken {
  token: RegistrationToken;
  metadata: TokenMetadata | undefined;
}

/** The named tokens with their local data; a token that does not exist is an error in its place. */
export async function findTokens(
  connection: Connection,
  names: readonly string[],
): Promise<TokenOutcome<FoundToken>[]> {
  const metadata = connection.metadata.read();
  const tokens = await connection.homeserver.getMany(names);
  return names.map((name) => {
    const token = tokens.get(name);
    return {
      token: name,
      outcome: token
        ? {ok: true, value: {token, metadata: metadata.get(name)}}
        : {
            ok: false,
            error: new MxtokError('no_such_token', `there is no registration token ${name}`, {
              token: name,
              errcode: 'M_NOT_FOUND',
              status: 404,
              hint: 'See which there are: mxtok list. Upper and lower case count.',
            }),
          },
    };
  });
}

/**
 * Look tokens up once more, after somebody has thought about what was shown of them.
 * @param evenChanged otherwise, one whose limits or sign-ups are others than what was shown is an error in its place.
 */
export async function findAgain(
  connection: Connection,
  shown: readonly TokenOutcome<FoundToken>[],
  evenChanged = false,
): Promise<TokenOutcome<FoundToken>[]> {
  const names = foundOf(shown).map(({token}) => token.token);
  const now = new Map((await findTokens(connection, names)).map((one) => [one.token, one]));
  return shown.map((before) => {
    const after = now.get(before.token);
    if (!before.outcome.ok || !after?.outcome.ok) return after ?? before;
    const same = evenChanged || sameState(before.outcome.value.token, after.outcome.value.token);
    return same ? after : {token: before.token, outcome: {ok: false, error: changedError(before.token)}};
  });
}

/** Whether nothing has happened to a token that what is planned for it depends on. */
export function sameState(before: RegistrationToken, after: RegistrationToken): boolean {
  return (
    before.uses_allowed === after.uses_allowed &&
    before.expiry_time === after.expiry_time &&
    (before.pending > 0 || after.pending <= 0)
  );
}

export function changedError(token: string): MxtokError {
  return new MxtokError(
    'changed_meanwhile',
    `${token} was changed by somebody else meanwhile, and was left alone`,
    {
      token,
      hint: `See how it is now: mxtok show -- ${token}`,
    },
  );
}

/** What was found, without the errors. */
export function foundOf(outcomes: readonly TokenOutcome<FoundToken>[]): FoundToken[] {
  return outcomes.flatMap(({outcome}) => (outcome.ok ? [outcome.value] : []));
}

/** Replace the outcomes of those tokens that something was done to; the errors of the others stay in place. */
export function mergeOutcomes<T>(
  asked: readonly TokenOutcome<FoundToken>[],
  done: ReadonlyMap<string, Outcome<T>>,
): TokenOutcome<T>[] {
  return asked.map(({token, outcome}) => {
    const result = done.get(token);
    if (result) return {token, outcome: result};
    if (!outcome.ok) return {token, outcome};
    return {
      token,
      outcome: {ok: false, error: new MxtokError('unexpected', `nothing was done to ${token}`, {token})},
    };
  });
}

/**
 * The homeserver has done it, and it could not be noted here.
 * @param done as in "the token was DONE".
 */
export function unnoted(token: string, done: string, {message, hint}: MxtokError): MxtokError {
  return new MxtokError('store', `${token} was ${done}, but that could not be noted here: ${message}`, {
    token,
    hint,
  });
}

/** As {@link unnoted}, for each success. */
export function allUnnoted<T>(
  outcomes: ReadonlyMap<string, Outcome<T>>,
  done: string,
  problem: MxtokError,
): Map<string, Outcome<T>> {
  return new Map(
    [...outcomes].map(([token, outcome]) => [
      token,
      outcome.ok ? {ok: false, error: unnoted(token, done, problem)} : outcome,
    ]),
  );
}

/** Wait for the last lines of a log. @returns what went wrong with them, for the homeserver has done its part. */
export async function finishAll(lines: readonly Promise<void>[]): Promise<MxtokError | undefined> {
  return Promise.all(lines).then(() => undefined, toMxtokError);
}

/** Log how an operation has ended. @param after how its token is now. */
export async function finishOperation<T>(
  operation: AuditedOperation | undefined,
  outcome: Outcome<T> | undefined,
  after?: (value: T) => AuditState | undefined,
): Promise<void> {
  if (!outcome) await operation?.notBegun();
  else if (outcome.ok) await operation?.succeeded(after?.(outcome.value));
  else if (outcome.begun === false) await operation?.notBegun();
  else await operation?.failed(outcome.error, outcome.partly);
}

/** The same outcome, its error saying which token it is about. */
export function about<T>(token: string, outcome: Outcome<T>): Outcome<T> {
  if (!outcome.ok) outcome.error.about(token);
  return outcome;
}

/** What would be done to one token. */
export interface PlannedChange {
  /** As it is now. */
  record: TokenRecord;
  action: 'create' | 'update' | 'disable' | 'enable' | 'delete' | 'none';
  /** What of it would be another, and how. */
  changes: Partial<Pick<TokenRecord, 'uses_allowed' | 'expiry_time' | 'expires_at' | 'label' | 'note'>>;
}

export function recordOf(
  connection: Connection,
  token: RegistrationToken,
  metadata: TokenMetadata | undefined,
  now?: number,
): TokenRecord {
  return toRecord(connection.server, connection.homeserver, token, metadata, now);
}
