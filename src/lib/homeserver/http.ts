/**
 * HTTP to one homeserver: one base URL, kept-alive connections, time and size limits, patience with rate limits,
 * and errors that name a cause. Nothing here knows a Matrix endpoint.
 */
import {setMaxListeners} from 'node:events';
import {Agent as HttpAgent, type AgentOptions} from 'node:http';
import {Agent as HttpsAgent} from 'node:https';
import {connect} from 'node:net';
import type {ConnectionOptions} from 'node:tls';

import got, {type Got, type Method, type Response} from 'got';

import {interruptedError, MxtokError} from '../errors.ts';
import {ServerClock} from './clock.ts';
import {describeNetworkError, notJsonError, redirectError} from './errors.ts';
import {isLoopback, socketPathOf} from './address.ts';
import {ISSUER_UNKNOWN, readCaFile, systemRoots} from './tls.ts';

/** How long one request waits for rate limits in all, milliseconds. */
const PATIENCE = 60_000;
/** Attempts after the first, for faults that pass. */
const RETRIES = 2;
/** Answers larger than this are cut off, bytes: 100,000 tokens are 9 MB. */
const MAX_BODY = 256 * 1024 * 1024;

/**
 * Over a Unix socket Synapse takes us for a reverse proxy. Where it limits the rate by the client's address (login,
 * register, the validity check) it answers 500 unless one is named; without the second, it logs a warning each time.
 */
const SOCKET_HEADERS = {'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'https'};

export interface HttpOptions {
  /** A base URL with or without a path prefix, or `unix:PATH`. */
  baseUrl: string;
  /** PEM file of the only authorities to trust, instead of the system's. */
  caFile?: string | undefined;
  /** For one attempt at one request, from look-up to last byte, milliseconds. */
  timeout: number;
  userAgent: string;
  /** At most so many connections at once. */
  connections?: number;
  signal?: AbortSignal | undefined;
  /** Told before each wait: for how many milliseconds, and why. */
  onWait?: (ms: number, why: string) => void;
  /** Told after each answer: a line without secrets. */
  onDebug?: (line: string) => void;
}

export interface RequestOptions {
  /** Sent as `Authorization: Bearer …`, to this request's host alone. */
  accessToken?: string | undefined;
  /** The request's body. */
  json?: unknown;
  /** May be sent again after a fault that leaves open whether it took effect. Default: every method but POST. */
  idempotent?: boolean;
  /** Milliseconds to wait for rate limits; 0 returns the 429 at once. */
  patience?: number;
  /** The path as debug output may show it. */
  shownPath?: string;
  /** Only where no credential is sent. */
  followRedirects?: boolean;
}

/** A JSON answer of any status. */
export interface Answer {
  status: number;
  body: unknown;
}

/** What is known of one request under way; got carries it along as its context. */
interface AttemptState {
  idempotent: boolean;
  /** Milliseconds that may still be waited for rate limits. */
  patience: number;
  /** Times of `performance.now()`. */
  sent: number;
  received: number;
  tooLarge: boolean;
}

function stateOf(options: {context: Record<string, unknown>}): AttemptState {
  return options.context['state'] as AttemptState;
}

export class HttpClient {
  readonly clock = new ServerClock();
  readonly #options: HttpOptions;
  readonly #base: string;
  readonly #givenUp = new AbortController();
  /** Ends what is under way: an interruption, or that this client is given up. */
  readonly #signal: AbortSignal;
  #agent: HttpAgent | undefined;
  #client: Promise<Got> | undefined;
  #withSystemRoots = false;
  /** Host and port of the proxy in between. */
  #proxy: string | undefined;

  constructor(options: HttpOptions) {
    this.#options = options;
    const {signal: givenUp} = this.#givenUp;
    this.#signal = options.signal ? AbortSignal.any([options.signal, givenUp]) : givenUp;
    // Every request under way listens to it.
    setMaxListeners(0, this.#signal);
    this.#base =
      socketPathOf(options.baseUrl) === undefined ? options.baseUrl.replace(/\/+$/, '') : 'http://localhost';
  }

  /** The base URL as given, for messages. */
  get baseUrl(): string {
    return this.#options.baseUrl;
  }

  /** For one attempt at one request, milliseconds. */
  get timeout(): number {
    return this.#options.timeout;
  }

  /**
   * @param path begins with a slash; appended to the base URL's own path.
   * @throws {MxtokError} `unreachable`, `tls`, `timeout`, `not_matrix`, `interrupted`.
   */
  async request(method: Method, path: string, options: RequestOptions = {}): Promise<Answer> {
    const withSystemRoots = this.#withSystemRoots;
    try {
      return await this.#attempt(method, path, options);
    } catch (error) {
      const code = (error as {code?: string}).code ?? '';
      if (!ISSUER_UNKNOWN.has(code) || withSystemRoots || this.#options.caFile !== undefined) {
        throw this.#explain(error);
      }
    }

    // Reading the system's certificates takes longer than a whole request, so they are asked only where those
    // that come with Node do not do. The handshake failed: nothing has been sent.
    if (!this.#withSystemRoots) {
      this.#withSystemRoots = true;
      this.#client = undefined;
    }

    try {
      return await this.#attempt(method, path, options);
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /** End the connections; open ones would keep the process alive. A later request opens new ones. */
  close(): void {
    this.#agent?.destroy();
    this.#agent = undefined;
    this.#client = undefined;
  }

  /** {@link close}, end what is under way, and send nothing any more: nobody waits for an answer. */
  abandon(): void {
    this.#givenUp.abort();
    this.close();
  }

  #assertWanted(): void {
    if (this.#options.signal?.aborted) throw interruptedError();
    if (this.#givenUp.signal.aborted) throw givenUpError();
  }

  async #attempt(method: Method, path: string, options: RequestOptions): Promise<Answer> {
    const {accessToken, json, patience = PATIENCE, shownPath = path} = options;
    this.#assertWanted();
    this.#client ??= this.#makeClient();
    const client = await this.#client;
    this.#assertWanted();
    const state: AttemptState = {
      idempotent: options.idempotent ?? method !== 'POST',
      patience,
      sent: 0,
      received: 0,
      tooLarge: false,
    };
    const promise = client(`${this.#base}${path}`, {
      method,
      responseType: 'buffer',
      context: {state},
      followRedirect: options.followRedirects === true && accessToken === undefined,
      ...(accessToken !== undefined && {headers: {authorization: `Bearer ${accessToken}`}}),
      ...(json !== undefined && {json}),
    });
    void promise.on('response', () => {
      state.received = performance.now();
    });
    void promise.on('downloadProgress', ({transferred}) => {
      if (transferred > MAX_BODY) {
        state.tooLarge = true;
        promise.cancel();
      }
    });
    let response: Response<Buffer>;
    try {
      response = await promise;
    } catch (error) {
      if (state.tooLarge) {
        throw notJsonError(this.baseUrl, 0, `its answer has no end (over ${MAX_BODY / 1024 / 1024} MiB)`);
      }

      throw error;
    }

    this.clock.observe(response.headers, state.sent, state.received);
    this.#options.onDebug?.(
      `${method} ${this.#base}${shownPath} → ${response.statusCode}, ${Math.round(performance.now() - state.sent)} ms, ${response.body.length} bytes`,
    );
    return this.#read(response, accessToken);
  }

  /** What all requests have in common, put together once: got takes half a millisecond to do it. */
  async #makeClient(): Promise<Got> {
    const {timeout, userAgent, onWait} = this.#options;
    const agent = await this.#makeAgent();
    this.#agent = agent;
    return got.extend({
      headers: {
        'user-agent': userAgent,
        accept: 'application/json',
        ...(socketPathOf(this.baseUrl) !== undefined && SOCKET_HEADERS),
      },
      agent: {http: agent, https: agent as unknown as HttpsAgent},
      throwHttpErrors: false,
      timeout: {request: timeout},
      signal: this.#signal,
      retry: {
        limit: Number.POSITIVE_INFINITY,
        calculateDelay: ({attemptCount, error}) => {
          // Closed meanwhile: nobody waits for the answer any more.
          if (this.#agent !== agent) return 0;
          const state = stateOf(error.options);
          const delay = retryDelay(error, attemptCount, state.idempotent);
          if (delay === 0 || (delay.limited && delay.ms > state.patience)) return 0;
          if (delay.limited) state.patience -= delay.ms;
          onWait?.(delay.ms, delay.why);
          return delay.ms;
        },
      },
      hooks: {
        beforeRedirect: [
          ({url}) => {
            // What plain http says can be forged on the way.
            if (url instanceof URL && url.protocol !== 'https:') {
              throw redirectError(this.baseUrl, 302, url.href);
            }
          },
        ],
        beforeRequest: [
          (options) => {
            stateOf(options).sent = performance.now();
          },
        ],
      },
    });
  }

  #read(response: Response<Buffer>, accessToken: string | undefined): Answer {
    const status = response.statusCode;
    // A proxy that repeats what it was sent must not make us print it.
    const hide = (text: string): string =>
      accessToken === undefined ? text : text.replaceAll(accessToken, '…');
    if (status >= 300 && status < 400) {
      const {location} = response.headers;
      throw redirectError(this.baseUrl, status, location === undefined ? undefined : hide(location));
    }

    const text = status === 200 ? response.body.toString('utf8') : hide(response.body.toString('utf8'));
    try {
      return {status, body: JSON.parse(text) as unknown};
    } catch {
      throw notJsonError(this.baseUrl, status, describeBody(text));
    }
  }

  async #makeAgent(): Promise<HttpAgent> {
    const options: AgentOptions & ConnectionOptions = {
      keepAlive: true,
      // Also where NODE_TLS_REJECT_UNAUTHORIZED=0 lies about: an access token is at stake.
      rejectUnauthorized: true,
      maxSockets: this.#options.connections ?? 8,
    };
    const socketPath = socketPathOf(this.#options.baseUrl);
    if (socketPath !== undefined) {
      const agent = new HttpAgent(options);
      // A name that is no valid part of a URL (a colon, a space) is fine here, unlike in got's unix: URLs.
      (agent as unknown as {createConnection: () => unknown}).createConnection = () => connect(socketPath);
      return agent;
    }

    const url = new URL(this.#base);
    const {caFile} = this.#options;
    if (caFile !== undefined) options.ca = await readCaFile(caFile);
    else if (this.#withSystemRoots) options.ca = await systemRoots();

    // A proxy in between would be another host that sees what is sent over plain http to loopback.
    const proxied = Object.keys(process.env).some((name) => /^(?:https?|all)_proxy$/i.test(name));
    if (proxied && !isLoopback(url.hostname)) {
      const {getProxyForUrl} = await import('proxy-from-env');
      const proxy = getProxyForUrl(url.href);
      if (proxy) {
        // Without the user name and password that it may have in it.
        this.#proxy = URL.canParse(proxy) ? new URL(proxy).host : 'of the environment';
        const {HttpProxyAgent, HttpsProxyAgent} = await import('hpagent');
        return url.protocol === 'https:'
          ? new HttpsProxyAgent({...options, proxy})
          : new HttpProxyAgent({...options, proxy});
      }
    }

    return url.protocol === 'https:' ? new HttpsAgent(options) : new HttpAgent(options);
  }

  #explain(error: unknown): MxtokError {
    if (error instanceof MxtokError) return error;
    // What a hook throws comes wrapped in an error of got's.
    const {cause} = error as {cause?: unknown};
    if (cause instanceof MxtokError) return cause;
    if (this.#options.signal?.aborted) return interruptedError();
    if (this.#givenUp.signal.aborted) return givenUpError();
    return describeNetworkError(error, this.baseUrl, this.#options.timeout, this.#proxy);
  }
}

function givenUpError(): MxtokError {
  return new MxtokError('timeout', 'the homeserver was given up on');
}

interface Delay {
  ms: number;
  why: string;
  /** A rate limit, which has its own patience; else a fault that may pass. */
  limited: boolean;
}

/** @returns how long to wait before another attempt, or 0 for none. */
function retryDelay(
  error: {code?: string; response?: unknown},
  attempt: number,
  idempotent: boolean,
): Delay | 0 {
  const response = error.response as Response | undefined;
  if (response?.statusCode === 429) {
    return {
      ms: retryAfter(response) ?? 1000 * 2 ** (attempt - 1),
      why: 'the homeserver limits the rate',
      limited: true,
    };
  }

  const passing = response
    ? [502, 503, 504].includes(response.statusCode)
    : ['ECONNRESET', 'EPIPE', 'EAI_AGAIN'].includes(error.code ?? '');
  if (!passing || !idempotent || attempt > RETRIES) return 0;
  const fault = error.code === 'EAI_AGAIN' ? 'the name cannot be looked up' : 'the connection was cut';
  const why = response ? `the homeserver answered ${response.statusCode}` : fault;
  return {ms: 250 * attempt, why, limited: false};
}

/** Milliseconds that a 429 asks for: `Retry-After` (RFC 9110), or `retry_after_ms` of older Matrix servers. */
function retryAfter(response: Response): number | undefined {
  const header = response.headers['retry-after'];
  if (header !== undefined) {
    const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
    if (Number.isFinite(ms)) return Math.max(ms, 100);
  }

  const ms = /"retry_after_ms"\s*:\s*(\d{1,12})/.exec(String(response.rawBody))?.[1];
  return ms === undefined ? undefined : Math.max(Number(ms), 100);
}

function describeBody(text: string): string {
  if (text.trim() === '') return 'the answer is empty';
  if (/^\s*(?:<!doctype|<html|<\?xml|<)/i.test(text)) return 'the answer is a web page, not JSON';
  return 'the answer is not JSON';
}
