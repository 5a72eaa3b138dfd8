/** Closing tokens on Synapse, where `uses_allowed: 0` alone opens them; see synapse.ts. */
import {setTimeout as sleep} from 'node:timers/promises';

import {interruptedError, MxtokError} from '../errors.ts';
import type {RegistrationToken} from '../registration-token.ts';
import {settleEach} from '../settle.ts';
import {checkValidity} from './client-api.ts';
import type {Confirmation, DisabledToken, DisableOptions, Homeserver, Outcome} from './homeserver.ts';
import type {HttpClient} from './http.ts';

/** How often to try again with a later expiry when the homeserver's clock has passed the one we sent. */
const EXPIRY_ATTEMPTS = 10;
/** How long all tokens together wait for expiries that are past by the Date header to be past, milliseconds. */
const PROOF_PATIENCE = 60_000;
const PROOF_INTERVAL = 250;

/** Closes tokens for one homeserver. */
export class TokenCloser {
  readonly #synapse: Pick<Homeserver, 'clock' | 'get' | 'update' | 'isPast' | 'accepts'>;
  readonly #http: HttpClient;

  constructor(
    synapse: Pick<Homeserver, 'clock' | 'get' | 'update' | 'isPast' | 'accepts'>,
    http: HttpClient,
  ) {
    this.#synapse = synapse;
    this.#http = http;
  }

  /**
   * In two steps, because `uses_allowed: 0` alone opens a token:
   *
   * 1. As few uses as it can have (those it had, or one) and an expiry at the next second. With any use behind it the
   *    token is dead at once; else one registration at most can slip in during that second, where before any
   *    number could. The API refuses an expiry in the past.
   * 2. Once that second is over, by Synapse's own word: `uses_allowed: 0`, by which every other tool knows it as
   *    disabled. The expiry stays.
   *
   * A crash in between leaves an expired token. One whose expiry has passed goes straight to step 2: a new expiry
   * would open it for a moment.
   */
  async disable(
    tokens: readonly RegistrationToken[],
    options: DisableOptions = {},
  ): Promise<Outcome<DisabledToken>[]> {
    const closed = await settleEach(tokens, (token) => this.#close(token));
    const last = closed.reduce((time, one) => Math.max(time, one.ok ? (one.value.expiry_time ?? 0) : 0), 0);
    await this.#waitUntil(last, options);
    // One for all: a clock that is so far behind for the first of them is so for each.
    const patientUntil = performance.now() + PROOF_PATIENCE;
    const markings = await settleEach(
      closed.flatMap((one) => (one.ok ? [one.value] : [])),
      (token) => this.#markDisabled(token, patientUntil, options),
    );
    const marked = closed.map((one): Outcome<RegistrationToken> => {
      const marking = one.ok ? markings.shift() : one;
      // One that step 1 has closed is not as it was, whether or not step 2 came to it.
      return marking?.ok === false && one.ok
        ? {ok: false, error: marking.error, partly: true}
        : (marking ?? one);
    });
    return this.#confirm(marked, options);
  }

  /** Step 1. @returns the token, its expiry at most a few seconds ahead, or past. */
  async #close(token: RegistrationToken): Promise<RegistrationToken> {
    const used = Math.max(1, token.completed + token.pending);
    const uses_allowed = token.uses_allowed ? Math.min(token.uses_allowed, used) : used;
    for (let attempt = 0; ; attempt++) {
      const now = this.#synapse.clock.now();
      if (token.expiry_time !== null && token.expiry_time <= now) return token;
      // A whole second, so that the first answer whose Date has reached it tells that it is over.
      const soon = Math.ceil((now + 100) / 1000) * 1000 + (attempt === 0 ? 0 : 1000 * 2 ** (attempt - 1));
      const expiry_time = token.expiry_time === null ? soon : Math.min(token.expiry_time, soon);
      try {
        return await this.#synapse.update(token.token, {uses_allowed, expiry_time});
      } catch (error) {
        if (!isPastExpiry(error) || attempt === EXPIRY_ATTEMPTS) throw error;
        // The second was over when the request came in. Its answer has told the time anew; the token may have
        // expired by itself meanwhile.
        token = await this.#synapse.get(token.token);
        // Its own expiry was refused as past, so it is over, though by whole seconds we cannot tell yet.
        if (token.expiry_time === expiry_time) return token;
      }
    }
  }

  async #waitUntil(time: number, {signal, onWait}: DisableOptions): Promise<void> {
    let told = false;
    for (;;) {
      const ms = time - this.#synapse.clock.now();
      if (ms <= 0) return;
      if (!told) onWait?.(ms);
      told = true;
      await pause(Math.min(ms, 1000), signal);
    }
  }

  /** Step 2. */
  async #markDisabled(
    closed: RegistrationToken,
    patientUntil: number,
    options: DisableOptions,
  ): Promise<RegistrationToken> {
    for (let attempt = 0; attempt < 3; attempt++) {
      await this.#provePast(closed, patientUntil, options);
      // What was read before the wait may have been changed by somebody else since.
      let latest = await this.#synapse.get(closed.token);
      if (latest.expiry_time === closed.expiry_time) {
        latest = await this.#synapse.update(closed.token, {uses_allowed: 0});
        if (latest.expiry_time === closed.expiry_time) return latest;
      }

      closed = await this.#close(latest);
      await this.#waitUntil(closed.expiry_time ?? 0, options);
      // Its expiry is a later one than those of the others.
      patientUntil = performance.now() + PROOF_PATIENCE;
    }

    throw stillAccepted(closed.token);
  }

  /** @param patientUntil by `performance.now()`. */
  async #provePast(closed: RegistrationToken, patientUntil: number, {signal}: DisableOptions): Promise<void> {
    const {token} = closed;
    for (;;) {
      if (await this.#synapse.isPast(closed)) return;
      if (performance.now() >= patientUntil) {
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
      let accepted = this.#synapse.accepts(outcome.value);
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
export function isPastExpiry(error: unknown): boolean {
  return error instanceof MxtokError && error.code === 'refused' && error.errcode === 'M_INVALID_PARAM';
}

function stillAccepted(token: string): MxtokError {
  return new MxtokError('still_accepted', `the homeserver still accepts the token ${token}`, {
    token,
    hint: `Something else may be changing it at the same time. Run again, or delete it: mxtok delete -- ${token}`,
  });
}
