/**
 * The homeserver's clock, told from the `Date` header of its answers.
 *
 * `Date` has whole seconds and is some unknown time old when it arrives, so one answer gives an interval, not a
 * point. Every further answer narrows it.
 */
export class ServerClock {
  /** Server time minus local monotonic time, milliseconds: at least, and at most. */
  #atLeast = Number.NEGATIVE_INFINITY;
  #atMost = Number.POSITIVE_INFINITY;

  /** Whether any answer has told the time; until then the local clock stands in. */
  get known(): boolean {
    return this.#atLeast !== Number.NEGATIVE_INFINITY;
  }

  /**
   * @param headers of an answer; lower-case names.
   * @param sent when the request went out, and
   * @param received when the answer's headers came in: milliseconds of `performance.now()`.
   */
  observe(headers: Record<string, string | string[] | undefined>, sent: number, received: number): void {
    // An answer out of a cache carries the time at which it was made (RFC 9111, section 5.1).
    if (typeof headers['date'] !== 'string' || Number(headers['age'] ?? 0) > 0) return;
    const date = Date.parse(headers['date']);
    if (Number.isNaN(date)) return;
    const atLeast = date - received;
    const atMost = date + 999 - sent;
    if (atLeast > this.#atMost || atMost < this.#atLeast) {
      // The two cannot both be right: a clock was set. The newer answer counts.
      this.#atLeast = atLeast;
      this.#atMost = atMost;
    } else {
      this.#atLeast = Math.max(this.#atLeast, atLeast);
      this.#atMost = Math.min(this.#atMost, atMost);
    }
  }

  /** The homeserver's time as far as it is certain to have come: Unix milliseconds, by which status is judged. */
  now(): number {
    return this.known ? Math.floor(performance.now() + this.#atLeast) : Date.now();
  }

  /** The latest that the homeserver's time can be: Unix milliseconds. */
  latest(): number {
    return this.known ? Math.ceil(performance.now() + this.#atMost) : Date.now();
  }

  /** How far the local clock is ahead of the homeserver's, milliseconds; 0 within what can be told apart. */
  skew(): number {
    if (!this.known) return 0;
    const local = Date.now();
    if (local < this.now()) return local - this.now();
    return Math.max(0, local - this.latest());
  }
}
