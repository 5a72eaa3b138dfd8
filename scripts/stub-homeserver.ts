/**
 * As much of Synapse as the benchmark needs: its registration token API with tokens in memory, and a given latency.
 * What it answers was seen on a real Synapse 1.163.2; how long it takes is the point of it.
 *
 * A process of its own, so that it shares no event loop with whoever measures. Forked, it sends its URLs and ends with
 * its parent; by hand: `npx tsx scripts/stub-homeserver.ts --tokens 100 --latency 10`. With `--servers N` it is so many
 * homeservers, each on a port of its own, and with `--faults` every tenth of them has a {@link Fault}.
 */
import {once} from 'node:events';
import {createServer, type IncomingMessage, type ServerResponse} from 'node:http';
import {text} from 'node:stream/consumers';
import {setTimeout as sleep} from 'node:timers/promises';
import {parseArgs} from 'node:util';

/** The access token that it takes. */
export const STUB_ACCESS_TOKEN = 'stub-access-token';
export const STUB_SERVER_NAME = 'stub.test';

/** What can be wrong with a homeserver, or with what stands before it. */
export type Fault = 'stall' | 'cut' | 'rubbish' | 'unauthorized' | 'error';

/** Half of those that are not well never answer: they are what takes time. */
const FAULTS: readonly Fault[] = [
  'stall',
  'cut',
  'stall',
  'rubbish',
  'stall',
  'unauthorized',
  'stall',
  'error',
];

/** What is wrong with one of many: every tenth has something. */
export function stubFault(index: number): Fault | undefined {
  return index % 10 === 9 ? FAULTS[Math.floor(index / 10) % FAULTS.length] : undefined;
}

/** The server name of one of many. */
export function stubServerName(index: number): string {
  return `s${String(index).padStart(4, '0')}.${STUB_SERVER_NAME}`;
}

/** Of so many tokens, this one is used up. */
const EXHAUSTED_EVERY = 10;

/** How many of its tokens are used up. */
export function stubExhausted(tokens: number): number {
  return Math.floor(tokens / EXHAUSTED_EVERY);
}

/** The name of one of its tokens. */
export function stubToken(index: number): string {
  return `bench-${String(index).padStart(6, '0')}`;
}

interface StoredToken {
  token: string;
  uses_allowed: number | null;
  pending: number;
  completed: number;
  expiry_time: number | null;
}

interface Answer {
  status: number;
  /** A string is JSON already. */
  body: unknown;
}

const TOKENS = '/_synapse/admin/v1/registration_tokens';
const VALIDITY = '/_matrix/client/v1/register/m.login.registration_token/validity';
/** Synapse's own limit on the validity endpoint: so many at once. The one every ten seconds is left out. */
const VALIDITY_BURST = 5;

function ok(body: unknown): Answer {
  return {status: 200, body};
}

function refusal(status: number, errcode: string, error: string): Answer {
  return {status, body: {errcode, error}};
}

class Stub {
  readonly #tokens = new Map<string, StoredToken>();
  /** The list as it was sent last: a server in C would not be busy with 100,000 tokens for as long as this one. */
  #list: string | undefined;
  #checked = 0;

  constructor(
    count: number,
    readonly serverName: string,
    readonly fault: Fault | undefined,
  ) {
    const nextMonth = Date.now() + 30 * 24 * 3600 * 1000;
    for (let index = 0; index < count; index++) {
      const token = stubToken(index);
      this.#tokens.set(token, {
        token,
        uses_allowed: index % 2 === 0 ? null : 10,
        pending: index % 7 === 0 ? 1 : 0,
        completed: index % EXHAUSTED_EVERY === EXHAUSTED_EVERY - 1 ? 10 : index % 5,
        expiry_time: index % 3 === 0 ? null : nextMonth + index * 1000,
      });
    }
  }

  answer(method: string, url: URL, authorization: string | undefined, body: string): Answer {
    const path = url.pathname;
    switch (path) {
      case '/_matrix/client/versions':
        return ok({versions: ['v1.15']});
      case '/_synapse/admin/v1/server_version':
        return ok({server_version: '1.163.2'});
      case '/_matrix/client/v3/register':
        return {
          status: 401,
          body: {session: 'stub', flows: [{stages: ['m.login.registration_token']}], params: {}},
        };
      case VALIDITY:
        return this.#validity(url.searchParams.get('token') ?? '');
      default:
    }

    if (path !== '/_matrix/client/v3/account/whoami' && path !== TOKENS && !path.startsWith(`${TOKENS}/`)) {
      return refusal(404, 'M_UNRECOGNIZED', 'Unrecognized request');
    }

    if (authorization === undefined) return refusal(401, 'M_MISSING_TOKEN', 'Missing access token');
    if (authorization !== `Bearer ${STUB_ACCESS_TOKEN}` || this.fault === 'unauthorized') {
      return refusal(401, 'M_UNKNOWN_TOKEN', 'Invalid access token passed.');
    }

    if (path.endsWith('/whoami')) return ok({user_id: `@admin:${this.serverName}`});
    if (path === TOKENS) {
      this.#list ??= JSON.stringify({registration_tokens: [...this.#tokens.values()]});
      return ok(this.#list);
    }

    const name = decodeURIComponent(path.slice(TOKENS.length + 1));
    const limits = (body === '' ? {} : JSON.parse(body)) as Partial<StoredToken>;
    if (method === 'GET') return this.#get(name);
    if (typeof limits.expiry_time === 'number' && limits.expiry_time < Date.now()) {
      return refusal(400, 'M_INVALID_PARAM', 'expiry_time must not be in the past');
    }

    this.#list = undefined;
    if (method === 'POST' && name === 'new') return this.#create(limits);
    if (method === 'PUT') return this.#update(name, limits);
    if (method === 'DELETE') return this.#tokens.delete(name) ? ok({}) : noSuchToken(name);
    return refusal(405, 'M_UNRECOGNIZED', 'Unrecognized request');
  }

  #get(name: string): Answer {
    const token = this.#tokens.get(name);
    return token ? ok(token) : noSuchToken(name);
  }

  #create({token, uses_allowed = null, expiry_time = null}: Partial<StoredToken>): Answer {
    if (token === undefined) throw new Error('the stub makes no names');
    if (this.#tokens.has(token)) return refusal(400, 'M_INVALID_PARAM', `Token already exists: ${token}`);
    this.#tokens.set(token, {token, uses_allowed, pending: 0, completed: 0, expiry_time});
    return this.#get(token);
  }

  #update(name: string, limits: Partial<StoredToken>): Answer {
    const token = this.#tokens.get(name);
    if (token) this.#tokens.set(name, {...token, ...limits});
    return this.#get(name);
  }

  #validity(name: string): Answer {
    if (++this.#checked > VALIDITY_BURST) {
      const body = {errcode: 'M_LIMIT_EXCEEDED', error: 'Too Many Requests', retry_after_ms: 10_000};
      return {status: 429, body};
    }

    const token = this.#tokens.get(name);
    if (!token || (token.expiry_time !== null && token.expiry_time < Date.now())) return ok({valid: false});
    const {uses_allowed, completed, pending} = token;
    return ok({valid: !uses_allowed || completed + pending < uses_allowed});
  }
}

function noSuchToken(name: string): Answer {
  return refusal(404, 'M_NOT_FOUND', `No such registration token: ${name}`);
}

/** Serve on a free loopback port. @param latency milliseconds before each answer. @returns the URL. */
async function serve(stub: Stub, latency: number): Promise<string> {
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await text(request);
    const url = new URL(request.url ?? '/', 'http://stub.test');
    let answer = stub.answer(request.method ?? '', url, request.headers.authorization, body);
    switch (stub.fault) {
      case 'stall':
        return;
      case 'cut':
        request.socket.destroy();
        return;
      case 'rubbish':
        answer = ok('<html><body>It works!</body></html>');
        break;
      case 'error':
        answer = refusal(500, 'M_UNKNOWN', 'Internal server error');
        break;
      default:
    }

    const content = typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body);
    if (latency > 0) await sleep(latency);
    response.writeHead(answer.status, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(content),
    });
    response.end(content);
  };
  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : new Error(String(error)));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
}

if (process.argv[1] === import.meta.filename) {
  const {tokens, latency, servers, first, faults} = parseArgs({
    options: {
      tokens: {type: 'string', default: '100'},
      latency: {type: 'string', default: '0'},
      servers: {type: 'string'},
      // Where several processes share the many among them: the index of the first of this one.
      first: {type: 'string', default: '0'},
      faults: {type: 'boolean', default: false},
    },
  }).values;
  process.once('disconnect', () => process.exit());
  const urls: string[] = [];
  for (let index = Number(first); index < Number(first) + Number(servers ?? 1); index++) {
    const name = servers === undefined ? STUB_SERVER_NAME : stubServerName(index);
    const stub = new Stub(Number(tokens), name, faults ? stubFault(index) : undefined);
    urls.push(await serve(stub, Number(latency)));
  }

  if (process.send) process.send(urls);
  else console.log(urls.join('\n'));
}
