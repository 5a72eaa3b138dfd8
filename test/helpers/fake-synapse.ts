/**
 * Synapse's registration tokens as nock answers them, with the rules seen on a real one: 0 uses means unlimited at
 * registration, an expiry cannot be set in the past, what is absent from a change stays.
 */
import nock from 'nock';

export interface SynapseRow {
  token: string;
  uses_allowed: number | null;
  pending: number;
  completed: number;
  expiry_time: number | null;
}

export interface Reply {
  status: number;
  body: unknown;
  /** Instead, the connection is cut, or no answer comes, once the request took effect. */
  fate?: 'cut' | 'silence';
}

const ADMIN = '/_synapse/admin/v1/registration_tokens';
const VALIDITY = '/_matrix/client/v1/register/m.login.registration_token/validity?token=';
/** The request is lost on the way, there or back. */
export const CUT: Reply = {status: 0, body: '', fate: 'cut'};
export const LIMITED: Reply = {
  status: 429,
  body: {errcode: 'M_LIMIT_EXCEEDED', error: 'Too Many Requests', retry_after_ms: 9000},
};

export class FakeSynapse {
  readonly tokens = new Map<string, SynapseRow>();
  /** Each request: method, what follows the endpoint's path, and the body. */
  readonly sent: string[] = [];
  /** Of these, those that only ask whether an expiry is past; they are not in `sent`. */
  readonly probes: string[] = [];
  #probed: string | undefined;
  /** May answer a request in place of the rules, or meddle before they answer. */
  before: (request: string) => Reply | undefined = () => undefined;
  /** May meddle after the rules have answered. */
  after: (request: string, reply: Reply) => Reply | undefined = () => undefined;
  /** The homeserver's time: Unix ms. */
  now: number;

  constructor(base: string, accessToken: string, now: number) {
    this.now = now;
    // eslint-disable-next-line @typescript-eslint/no-this-alias -- nock tells the headers through `this`.
    const synapse = this;
    const scope = nock(base).persist();
    for (const method of ['GET', 'POST', 'PUT', 'DELETE']) {
      scope
        .intercept(/.*/, method)
        .optionally()
        .reply(function (this: nock.ReplyFnContext, path, body, done) {
          const admin = path.startsWith(ADMIN);
          const whoami = path === '/_matrix/client/v3/account/whoami';
          const expected = admin || whoami ? `Bearer ${accessToken}` : undefined;
          if (this.req.headers['authorization']?.toString() !== expected)
            throw new Error(`wrong credential for ${path}`);
          const {status, body: answer, fate} = synapse.#answer(method, path, body);
          const date = new Date(synapse.now).toUTCString();
          if (fate === 'silence') return;
          if (fate === 'cut') done(Object.assign(new Error('socket hang up'), {code: 'ECONNRESET'}), [0, '']);
          else done(null, [status, JSON.stringify(answer), {date, 'content-type': 'application/json'}]);
        });
    }
  }

  add(token: string, fields: Partial<SynapseRow> = {}): SynapseRow {
    const row = {token, uses_allowed: null, pending: 0, completed: 0, expiry_time: null, ...fields};
    this.tokens.set(token, row);
    return row;
  }

  /** synapse/storage/databases/main/registration.py, registration_token_is_valid */
  accepts(token: string): boolean {
    const row = this.tokens.get(token);
    if (!row || (row.expiry_time !== null && row.expiry_time <= this.now)) return false;
    return !row.uses_allowed || row.pending + row.completed < row.uses_allowed;
  }

  #answer(method: string, path: string, body: unknown): Reply {
    const short = path.replace(ADMIN, '').replace(VALIDITY, 'validity ');
    const request = [method, short, ...(body === '' ? [] : [JSON.stringify(body)])].join(' ');
    if (this.#isProbe(method, short, body)) this.probes.push(request);
    else this.sent.push(request);
    // No two changes come in the same millisecond: an expiry that is reached is past for the next one.
    if (method === 'PUT') this.now += 1;
    const reply = this.before(request) ?? this.#rules(method, short, body as Partial<SynapseRow>);
    return this.after(request, reply) ?? reply;
  }

  /** An expiry that is set to what it is, to learn whether it is past, and the look at the token after it. */
  #isProbe(method: string, path: string, body: unknown): boolean {
    const row = this.tokens.get(decodeURIComponent(path.slice(1)));
    const {expiry_time, uses_allowed} = (body || {}) as Partial<SynapseRow>;
    const probe =
      method === 'PUT' && row !== undefined && uses_allowed === undefined && expiry_time === row.expiry_time;
    const look = method === 'GET' && this.#probed === path;
    this.#probed = probe ? path : undefined;
    return probe || look;
  }

  #rules(method: string, path: string, body: Partial<SynapseRow>): Reply {
    if (path.startsWith('validity ')) {
      return {status: 200, body: {valid: this.accepts(decodeURIComponent(path.slice('validity '.length)))}};
    }

    if (path === '') return {status: 200, body: {registration_tokens: [...this.tokens.values()]}};
    const expired = typeof body.expiry_time === 'number' && body.expiry_time < this.now;
    const past = {
      status: 400,
      body: {errcode: 'M_INVALID_PARAM', error: 'expiry_time must not be in the past'},
    };
    if (path === '/new') {
      if (method !== 'POST')
        return {status: 405, body: {errcode: 'M_UNRECOGNIZED', error: 'Unrecognized request'}};
      const token = body.token ?? '';
      if (expired) return past;
      if (this.tokens.has(token)) {
        return {
          status: 400,
          body: {errcode: 'M_INVALID_PARAM', error: `Token already exists: ${token}`},
        };
      }

      return {status: 200, body: {...this.add(token, body)}};
    }

    const token = decodeURIComponent(path.slice(1));
    const row = this.tokens.get(token);
    if (!row) {
      return {
        status: 404,
        body: {errcode: 'M_NOT_FOUND', error: `No such registration token: ${token}`},
      };
    }

    if (method === 'DELETE') {
      this.tokens.delete(token);
      return {status: 200, body: {}};
    }

    if (method === 'PUT') {
      if (expired) return past;
      Object.assign(row, body);
    }

    return {status: 200, body: {...row}};
  }
}
