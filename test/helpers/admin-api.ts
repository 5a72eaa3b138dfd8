/** The homeserver's own word, past mxtok: its admin API, its public validity check, its clock. */
import type {TestSynapse} from './setup-e2e.ts';

/** A registration token as Synapse has it. */
export interface ApiToken {
  token: string;
  uses_allowed: number | null;
  pending: number;
  completed: number;
  expiry_time: number | null;
}

export type ApiLimits = Partial<Pick<ApiToken, 'uses_allowed' | 'expiry_time'>>;

const BASE = '/_synapse/admin/v1/registration_tokens';

export class AdminApi {
  readonly #server: Pick<TestSynapse, 'url' | 'accessToken'>;

  constructor(server: Pick<TestSynapse, 'url' | 'accessToken'>) {
    this.#server = server;
  }

  async create(token: string, limits: ApiLimits = {}): Promise<ApiToken> {
    return (await this.#ask('POST', `${BASE}/new`, {token, ...limits})).body as ApiToken;
  }

  async get(token: string): Promise<ApiToken> {
    return (await this.#ask('GET', pathOf(token))).body as ApiToken;
  }

  async put(token: string, limits: ApiLimits): Promise<ApiToken> {
    return (await this.#ask('PUT', pathOf(token), limits)).body as ApiToken;
  }

  async list(): Promise<ApiToken[]> {
    const {body} = await this.#ask('GET', BASE);
    return (body as {registration_tokens: ApiToken[]}).registration_tokens;
  }

  /** Remove all, for tests that have a homeserver of their own. */
  async clear(): Promise<void> {
    for (const {token} of await this.list()) await this.#ask('DELETE', pathOf(token));
  }

  /** How many of this name there are. */
  async count(token: string): Promise<number> {
    return (await this.list()).filter((one) => one.token === token).length;
  }

  /** What a stranger is told. */
  async isValid(token: string): Promise<boolean> {
    const path = '/_matrix/client/v1/register/m.login.registration_token/validity?token=';
    const {body} = await this.#ask('GET', path + encodeURIComponent(token));
    return (body as {valid: boolean}).valid;
  }

  /** How many people could register with it at this moment, by the rule that Synapse has: 0 is no limit there. */
  async room(token: string): Promise<number> {
    const {body, now} = await this.#ask('GET', pathOf(token));
    const {uses_allowed, completed, pending, expiry_time} = body as ApiToken;
    if (expiry_time !== null && expiry_time <= now) return 0;
    return uses_allowed ? Math.max(0, uses_allowed - completed - pending) : Number.POSITIVE_INFINITY;
  }

  /** A token of the given limit whose time is over, also by the whole seconds of the homeserver's `Date`. */
  async createExpired(token: string, uses_allowed: number | null): Promise<ApiToken> {
    // The last moment of a second, so that the next one tells.
    const expiry_time = Math.ceil((Date.now() + 1000) / 1000) * 1000 - 1;
    const created = await this.create(token, {uses_allowed, expiry_time});
    await this.untilRefused(token);
    while ((await this.#ask('GET', pathOf(token))).now < expiry_time);
    return created;
  }

  /** Ask until the homeserver takes it no more. */
  async untilRefused(token: string): Promise<void> {
    const deadline = Date.now() + 30_000;
    while (await this.isValid(token)) {
      if (Date.now() > deadline) throw new Error(`${token} is accepted for ever`);
    }
  }

  /** @returns the status of `whoami` with an access token. */
  async whoAmI(accessToken: string): Promise<number> {
    const headers = {authorization: `Bearer ${accessToken}`};
    const response = await fetch(`${this.#server.url}/_matrix/client/v3/account/whoami`, {headers});
    await response.body?.cancel();
    return response.status;
  }

  async #ask(method: string, path: string, body?: unknown): Promise<{body: unknown; now: number}> {
    const response = await fetch(this.#server.url + path, {
      method,
      headers: {authorization: `Bearer ${this.#server.accessToken}`},
      ...(body !== undefined && {body: JSON.stringify(body)}),
    });
    const answer: unknown = await response.json();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
    return {body: answer, now: Date.parse(response.headers.get('date') ?? '')};
  }
}

/** `new` is the path of the create endpoint. */
function pathOf(token: string): string {
  return `${BASE}/${token === 'new' ? 'n%65w' : token}`;
}
