/** How far a long run has come: a bar on stderr, where that is a terminal. */

/** Drawn at most so often, milliseconds. */
const INTERVAL = 100;
const WIDTH = 24;

export class Progress {
  readonly #total: number;
  readonly #what: string;
  readonly #started = performance.now();
  #done = 0;
  #drawn = Number.NEGATIVE_INFINITY;

  /** @param what is counted: `tokens`. */
  constructor(total: number, what: string) {
    this.#total = total;
    this.#what = what;
  }

  /** One more is done. */
  tick(): void {
    this.#done++;
    const now = performance.now();
    if (now - this.#drawn < INTERVAL) return;
    this.#drawn = now;
    const seconds = (now - this.#started) / 1000;
    const rate = this.#done / Math.max(seconds, 0.001);
    const left = Math.ceil((this.#total - this.#done) / rate);
    const filled = Math.round((WIDTH * this.#done) / this.#total);
    const bar = '█'.repeat(filled) + '░'.repeat(WIDTH - filled);
    const text = `${bar} ${this.#done}/${this.#total} ${this.#what}, ${Math.round(rate)}/s, ${clock(left)} left`;
    process.stderr.write(`\r${text.slice(0, (process.stderr.columns || 80) - 1)}\u001b[K`);
  }

  /** Make room for other output; the next tick draws it again. */
  clear(): void {
    if (this.#drawn === Number.NEGATIVE_INFINITY) return;
    process.stderr.write('\r\u001b[K');
    this.#drawn = Number.NEGATIVE_INFINITY;
  }
}

/** Seconds as `1:05`. */
function clock(seconds: number): string {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}
