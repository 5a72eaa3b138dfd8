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

import {leavesOpen, MxtokError, toMxtokError, usageError} from '../errors.ts';
import {CONCURRENCY} from '../settle.ts';
import {MAX_TOKEN_LENGTH, maskToken, type RegistrationToken} from '../registration-token.ts';
import type {ServerClock} from './clock.ts';
import {matrixError, readMatrixError, shapeError} from './errors.ts';
import type {DisabledToken, DisableOptions, Homeserver, Outcome, TokenLimits} from './homeserver.ts';
import type {Answer, HttpClient, RequestOptions} from './http.ts';
import {isPastExpiry, TokenCloser} from './synapse-disable.ts';

const BASE = '/_synapse/admin/v1/registration_tokens';

/** From so many named tokens on, the whole list is one request instead of one each. */
const LIST_FROM = 20;
/** When to ask again whether a token was made whose creation had no answer: it may be under way still. Milliseconds. */
const SETTLE_DELAYS = [500, 1000, 2000];

// z.array() would go through the elements, which readToken does.
const TokenList = z.object({registration_tokens: z.custom<unknown[]>(Array.isArray)});

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

  disable(tokens: readonly RegistrationToken[], options?: DisableOptions): Promise<Outcome<DisabledToken>[]> {
    return new TokenCloser(this, this.#http).disable(tokens, options);
  }

  /** By setting the expiry once more: Synapse refuses a time that is past, and changes nothing else. */
  async isPast({token, expiry_time}: RegistrationToken): Promise<boolean> {
    if (expiry_time === null) return false;
    try {
      await this.update(token, {expiry_time});
      return false;
    } catch (error) {
      if (isPastExpiry(error)) return true;
      throw error;
    }
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
