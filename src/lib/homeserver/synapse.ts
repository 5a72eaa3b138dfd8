/**
 * Registration tokens on Synapse, over its admin API (docs/admin_api/registration_tokens.md; the code is
 * synapse/rest/admin/registration_tokens.py and synapse/storage/databases/main/registration.py).
 *
 * What this file knows and nobody else needs to: `uses_allowed: 0` means *unlimited* at registration, although the
 * admin API lists such a token as invalid. The check is `if uses_allowed and pending + completed >= uses_allowed`,
 * and 0 is falsy. Seen on 1.160.0 and 1.163.2.
 */
import {setTimeout as sleep} from 'node:timers/promises';

import pMap from 'p-map';
import * as z from 'zod/mini';

import {interruptedError, leavesOpen, MxtokError, toMxtokError, usageError} from '../errors.ts';
import {MAX_TOKEN_LENGTH, maskToken, type RegistrationToken} from '../registration-token.ts';
import {checkValidity} from './client-api.ts';
import type {ServerClock} from './clock.ts';
import {matrixError, readMatrixError, shapeError} from './errors.ts';
import type {
  Confirmation,
  DisabledToken,
  DisableOptions,
  Homeserver,
  Outcome,
  TokenLimits,
} from './homeserver.ts';
import type {Answer, HttpClient, RequestOptions} from './http.ts';

const BASE = '/_synapse/admin/v1/registration_tokens';

/** Requests under way at once when there are many tokens. */
const CONCURRENCY = 8;
/** From so many named tokens on, the whole list is one request instead of one each. */
const LIST_FROM = 20;
/** How often to try again with a later expiry when the homeserver's clock has passed the one we sent. */
const EXPIRY_ATTEMPTS = 10;
/** How long to wait for an expiry that is past by the Date header to be past, milliseconds. */
const PROOF_PATIENCE = 60_000;
const PROOF_INTERVAL = 250;
/** When to ask again whether a token was made whose creation had no answer: it may be under way still. Milliseconds. */
const SETTLE_DELAYS = [500, 1000, 2000];

const TokenList = z.object({registration_tokens: z.array(z.unknown())});

/** By hand, for the list may have a hundred thousand of them, and zod would make two objects more of each. */
function readToken(body: unknown): RegistrationToken {
  const {token, uses_allowed, pending, completed, expiry_time} = (body ?? {}) as Record<string, unknown>;
  if (
    typeof token !== 'string' ||
    !isIntegerOrNull(uses_allowed) ||
    !Number.isSafeInteger(pending) ||
    !Number.isSafeInteger(completed) ||
    !isIntegerOrNull(expiry_time)
  ) {
    throw shapeError('of a registration token');
  }

  return {
    token,
    uses_allowed,
    pending: pending as number,
    completed: completed as number,
    expiry_time,
    disabled: uses_allowed === 0,
  };
}

function isIntegerOrNull(value: unknown): value is number | null {
  // Other tools have put times on tokens that are past what is exact (nanoseconds); they can be shown all the same.
  return value === null || Number.isInteger(value);
}

export class Synapse implements Homeserver {
  readonly #http: HttpClient;
  readonly #accessToken: string;
  readonly #settleDelays: readonly number[];

  /** @param settleDelays see {@link SETTLE_DELAYS}. */
  constructor(http: HttpClient, accessToken: string, settleDelays: readonly number[] = SETTLE_DELAYS) {
    this.#http = http;
    this.#accessToken = accessToken;
    this.#settleDelays = settleDelays;
  }

  get clock(): ServerClock {
    return this.#http.clock;
  }

  accepts(token: RegistrationToken, now: number = this.clock.now()): boolean {
    if (token.expiry_time !== null && token.expiry_time <= now) return false;
    return !token.uses_allowed || token.completed + token.pending < token.uses_allowed;
  }

  async verifyAccess(): Promise<void> {
    // Asking for a token that cannot be there is answered like any other, and is cheaper than the list.
    const {status, body} = await this.#request('GET', `${BASE}/${'~'.repeat(MAX_TOKEN_LENGTH + 1)}`);
    const error = status === 200 ? undefined : this.#error(status, body, '');
    if (error && error.code !== 'no_such_token') throw error;
  }

  async list(): Promise<RegistrationToken[]> {
    const {status, body} = await this.#request('GET', BASE);
    if (status !== 200) throw this.#error(status, body);
    const parsed = TokenList.safeParse(body);
    if (!parsed.success) throw shapeError('of the list of registration tokens');
    return parsed.data.registration_tokens.map(readToken);
  }

  async get(token: string): Promise<RegistrationToken> {
    if (isDots(token)) {
      const found = (await this.list()).find((candidate) => candidate.token === token);
      if (!found) throw noSuchToken(token);
      return found;
    }

    const {status, body} = await this.#request('GET', pathOf(token), {shownPath: shownPathOf(token)});
    if (status !== 200) throw this.#error(status, body, token);
    return readToken(body);
  }

  async getMany(tokens: readonly string[]): Promise<Map<string, RegistrationToken>> {
    if (tokens.length >= LIST_FROM) {
      const wanted = new Set(tokens);
      const all = await this.list();
      return new Map(all.filter(({token}) => wanted.has(token)).map((token) => [token.token, token]));
    }

    const found = await pMap(
      tokens,
      (token) =>
        this.get(token).catch((error: unknown) => {
          if (error instanceof MxtokError && error.code === 'no_such_token') return undefined;
          throw error;
        }),
      {concurrency: CONCURRENCY},
    );
    return new Map(found.filter((token) => token !== undefined).map((token) => [token.token, token]));
  }

  async create(token: string, limits: TokenLimits): Promise<RegistrationToken> {
    let answer: Answer;
    try {
      answer = await this.#request('POST', `${BASE}/new`, {json: {token, ...limits}});
    } catch (error) {
      return this.#settleCreate(token, limits, error);
    }

    const {status, body} = answer;
    if (status === 200) return readToken(body);
    if (isDuplicate(body)) throw alreadyExists(token, body);
    const error = this.#error(status, body);
    // A 500 also comes where two make the same token at once, or after the row was written.
    if (status >= 500) return this.#settleCreate(token, limits, error);
    throw error;
  }

  /**
   * No telling answer came: the token may or may not have been made. Its name is of our own making or choice, so
   * the homeserver can be asked; sending the request once more could only fail or do harm.
   */
  async #settleCreate(token: string, limits: TokenLimits, error: unknown): Promise<RegistrationToken> {
    const problem = toMxtokError(error);
    if (problem.code === 'interrupted') {
      throw new MxtokError('interrupted', `interrupted while the token ${token} was being created`, {
        token,
        hint: `It may exist: mxtok show -- ${token}`,
      });
    }

    if (!leavesOpen(problem)) throw problem;
    let found: RegistrationToken | undefined;
    try {
      found = await this.#appears(token);
    } catch {
      throw new MxtokError(
        problem.code,
        `${problem.message}; whether the token ${token} was created could not be found out`,
        {status: problem.status, token, hint: `Look when the homeserver is back: mxtok show -- ${token}`},
      );
    }

    if (!found) {
      throw new MxtokError(problem.code, `${problem.message}; the token ${token} was not created, so far`, {
        status: problem.status,
        errcode: problem.errcode,
        token,
        hint: `It may appear yet. To try again without making a second one: mxtok create --token ${token} …`,
      });
    }

    const asOrdered = found.uses_allowed === limits.uses_allowed && found.expiry_time === limits.expiry_time;
    const untouched = found.completed === 0 && found.pending === 0;
    if (asOrdered && untouched) return found;
    throw alreadyExists(token, undefined);
  }

  /** @returns the token, as soon as it is there; `undefined` where it does not appear for some seconds. */
  async #appears(token: string): Promise<RegistrationToken | undefined> {
    for (const delay of [0, ...this.#settleDelays]) {
      await sleep(delay);
      try {
        return await this.get(token);
      } catch (error) {
        if (!(error instanceof MxtokError && error.code === 'no_such_token')) throw error;
      }
    }

    return undefined;
  }

  async update(token: string, limits: Partial<TokenLimits>): Promise<RegistrationToken> {
    const {status, body} = await this.#request('PUT', changePathOf(token), {
      json: limits,
      shownPath: shownPathOf(token),
    });
    if (status !== 200) throw this.#error(status, body, token);
    return readToken(body);
  }

  async delete(token: string): Promise<void> {
    const {status, body} = await this.#request('DELETE', changePathOf(token), {
      shownPath: shownPathOf(token),
    });
    if (status !== 200) throw this.#error(status, body, token);
  }

  /**
   * In two steps, because `uses_allowed: 0` alone opens a token:
   *
   * 1. As few uses as it can have (those it had, or one) and an expiry at the next second. With any use behind it the
   *    token is dead at once; else one registration at most can slip in during that second, where before any
   *    number could. The API refuses an expiry in the past.
   * 2. Once that second is over, by Synapse's own word: `uses_allowed: 0`, by which every other tool knows it as disabled. The expiry stays.
   *
   * A crash in between leaves an expired token. One whose expiry has passed goes straight to step 2: a new expiry
   * would open it for a moment.
   */
  async disable(
    tokens: readonly RegistrationToken[],
    options: DisableOptions = {},
  ): Promise<Outcome<DisabledToken>[]> {
    const closed = await settleAll(tokens, (token) => this.#close(token));
    const last = closed.reduce((time, one) => Math.max(time, one.ok ? (one.value.expiry_time ?? 0) : 0), 0);
    await this.#waitUntil(last, options);
    const marked = await settleAll(closed, (one) => {
      if (!one.ok) throw one.error;
      return this.#markDisabled(one.value, options);
    });
    return this.#confirm(marked, options);
  }

  /** Step 1. @returns the token, its expiry at most a few seconds ahead, or past. */
  async #close(token: RegistrationToken): Promise<RegistrationToken> {
    const used = Math.max(1, token.completed + token.pending);
    const uses_allowed = token.uses_allowed ? Math.min(token.uses_allowed, used) : used;
    for (let attempt = 0; ; attempt++) {
      const now = this.clock.now();
      if (token.expiry_time !== null && token.expiry_time <= now) return token;
      // A whole second, so that the first answer whose Date has reached it tells that it is over.
      const soon = Math.ceil((now + 100) / 1000) * 1000 + (attempt === 0 ? 0 : 1000 * 2 ** (attempt - 1));
      const expiry_time = token.expiry_time === null ? soon : Math.min(token.expiry_time, soon);
      try {
        return await this.update(token.token, {uses_allowed, expiry_time});
      } catch (error) {
        if (!isPastExpiry(error) || attempt === EXPIRY_ATTEMPTS) throw error;
        // The second was over when the request came in. Its answer has told the time anew; the token may have
        // expired by itself meanwhile.
        token = await this.get(token.token);
        // Its own expiry was refused as past, so it is over, though by whole seconds we cannot tell yet.
        if (token.expiry_time === expiry_time) return token;
      }
    }
  }

  async #waitUntil(time: number, {signal, onWait}: DisableOptions): Promise<void> {
    let told = false;
    for (;;) {
      const ms = time - this.clock.now();
      if (ms <= 0) return;
      if (!told) onWait?.(ms);
      told = true;
      await pause(Math.min(ms, 1000), signal);
    }
  }

  /** Step 2. */
  async #markDisabled(closed: RegistrationToken, options: DisableOptions): Promise<RegistrationToken> {
    for (let attempt = 0; attempt < 3; attempt++) {
      await this.#provePast(closed, options);
      // What was read before the wait may have been changed by somebody else since.
      let latest = await this.get(closed.token);
      if (latest.expiry_time === closed.expiry_time) {
        latest = await this.update(closed.token, {uses_allowed: 0});
        if (latest.expiry_time === closed.expiry_time) return latest;
      }

      closed = await this.#close(latest);
      await this.#waitUntil(closed.expiry_time ?? 0, options);
    }

    throw stillAccepted(closed.token);
  }

  /**
   * Have Synapse itself say that the token's expiry is past, by setting it once more: it refuses a time that is past,
   * and changes nothing else. The Date header is not proof enough, for reverse proxies write their own.
   */
  async #provePast({token, expiry_time}: RegistrationToken, {signal}: DisableOptions): Promise<void> {
    for (let waited = 0; ; waited += PROOF_INTERVAL) {
      try {
        await this.update(token, {expiry_time});
      } catch (error) {
        if (isPastExpiry(error)) return;
        throw error;
      }

      if (waited >= PROOF_PATIENCE) {
        throw new MxtokError(
          'still_accepted',
          `the clock of the homeserver is behind the Date header of its answers, so ${token} is not over yet`,
          {token, hint: 'It expires by itself. Run disable again later, and set the clocks by NTP.'},
        );
      }

      await pause(PROOF_INTERVAL, signal);
    }
  }

  /** Ask as a registering person would, as long as the rate limit lets us; then judge by what the homeserver keeps. */
  async #confirm(
    outcomes: Outcome<RegistrationToken>[],
    {signal}: DisableOptions,
  ): Promise<Outcome<DisabledToken>[]> {
    let asking = true;
    const confirmed: Outcome<DisabledToken>[] = [];
    for (const outcome of outcomes) {
      if (!outcome.ok) {
        confirmed.push(outcome);
        continue;
      }

      let confirmed_by: Confirmation = 'expiry_time';
      let accepted = this.accepts(outcome.value);
      if (asking && !signal?.aborted) {
        try {
          const validity = await checkValidity(this.#http, outcome.value.token, 0);
          accepted ||= validity.accepted;
          if (validity.reason !== 'registration_disabled') confirmed_by = 'validity';
        } catch {
          // Rate limited, or not answered on this listener. Each further token would meet the same.
          asking = false;
        }
      }

      confirmed.push(
        accepted
          ? {ok: false, error: stillAccepted(outcome.value.token)}
          : {ok: true, value: {token: outcome.value, confirmed_by}},
      );
    }

    return confirmed;
  }

  #request(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    options: RequestOptions = {},
  ): Promise<Answer> {
    return this.#http.request(method, path, {...options, accessToken: this.#accessToken});
  }

  #error(status: number, body: unknown, token?: string): MxtokError {
    const errcode = readMatrixError(body)?.errcode;
    if (status === 404 && errcode === 'M_NOT_FOUND' && token !== undefined) return noSuchToken(token);
    if ((status === 404 || status === 405) && errcode === 'M_UNRECOGNIZED') {
      return new MxtokError('unsupported', 'this homeserver has no registration tokens at that address', {
        errcode,
        status,
        hint: 'It may be a worker, leave registration to the Matrix Authentication Service, or be no Synapse. mxtok server doctor NAME tells.',
      });
    }

    return matrixError(status, body);
  }
}

/** @throws {MxtokError} `interrupted` */
async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(ms, undefined, signal ? {signal} : undefined);
  } catch {
    throw interruptedError();
  }
}

/** `400 M_INVALID_PARAM expiry_time must not be in the past`, the only complaint there can be about our changes. */
function isPastExpiry(error: unknown): boolean {
  return error instanceof MxtokError && error.code === 'refused' && error.errcode === 'M_INVALID_PARAM';
}

async function settleAll<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<Outcome<R>[]> {
  return pMap(
    items,
    async (item): Promise<Outcome<R>> => {
      try {
        return {ok: true, value: await work(item)};
      } catch (error) {
        return {ok: false, error: toMxtokError(error)};
      }
    },
    {concurrency: CONCURRENCY},
  );
}

function isDots(token: string): boolean {
  return token === '.' || token === '..';
}

function pathOf(token: string): string {
  // The route of the create endpoint is matched on the raw path, so an escaped letter leads past it.
  return `${BASE}/${token === 'new' ? 'n%65w' : encodeURIComponent(token)}`;
}

/** @throws {MxtokError} for `.` and `..`: every URL parser on the way collapses them, and the parent path is not ours to change. */
function changePathOf(token: string): string {
  if (isDots(token)) {
    throw usageError(
      `a token named "${token}" cannot be changed: as a path it means another place in the admin API`,
      'It can only be removed in the homeserver’s database, or left to expire.',
    ).about(token);
  }

  return pathOf(token);
}

function shownPathOf(token: string): string {
  return `${BASE}/${maskToken(token)}`;
}

function isDuplicate(body: unknown): boolean {
  const error = readMatrixError(body);
  return error?.errcode === 'M_INVALID_PARAM' && error.error.startsWith('Token already exists');
}

function alreadyExists(token: string, body: unknown): MxtokError {
  return new MxtokError('already_exists', `there is a token ${token} already`, {
    token,
    ...(body !== undefined && {errcode: readMatrixError(body)?.errcode, status: 400}),
    hint: `See what it is: mxtok show -- ${token}`,
  });
}

function noSuchToken(token: string): MxtokError {
  return new MxtokError('no_such_token', `there is no registration token ${token}`, {
    token,
    errcode: 'M_NOT_FOUND',
    status: 404,
    hint: 'See which there are: mxtok list. Upper and lower case count.',
  });
}

function stillAccepted(token: string): MxtokError {
  return new MxtokError('still_accepted', `the homeserver still accepts the token ${token}`, {
    token,
    hint: `Something else may be changing it at the same time. Run again, or delete it: mxtok delete -- ${token}`,
  });
}
