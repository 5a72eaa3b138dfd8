/** How far a long run has come: a bar on stderr, where that is a terminal. */

/** Drawn at most so often, milliseconds. */
const INTERVAL = 100;
/** Of the bar, in characters; one that is shorter than the least tells nothing. */
const WIDTH = 24;
const LEAST_WIDTH = 8;

/** The part of a terminal that is needed. */
export interface ProgressOutput {
  write(text: string): unknown;
  readonly columns?: number;
}

export class Progress {
  readonly #total: number;
  readonly #what: string;
  readonly #output: ProgressOutput;
  readonly #started = performance.now();
  #done = 0;
  #shown = false;
  #drawn = 0;

  /** It is shown at once, for the first answer may take its time. @param what is counted: `tokens`. */
  constructor(total: number, what: string, output: ProgressOutput = process.stderr) {
    this.#total = total;
    this.#what = what;
    this.#output = output;
    this.#draw();
  }

  /** One more is done. */
  tick(): void {
    this.#done++;
    if (!this.#shown || performance.now() - this.#drawn >= INTERVAL) this.#draw();
  }

  /** Make room for other output; the next tick draws it again. */
  clear(): void {
    if (!this.#shown) return;
    this.#shown = false;
    this.#output.write('\r\u001b[K');
  }

  #draw(): void {
    this.#shown = true;
    this.#drawn = performance.now();
    // The last column stays empty: some terminals go to the next line once it is written to.
    const room = (this.#output.columns || 80) - 1;
    const text = this.#text();
    const width = Math.min(WIDTH, room - text.length - 1);
    const line =
      width < LEAST_WIDTH ? text.slice(0, room) : `${bar(this.#done / this.#total, width)} ${text}`;
    this.#output.write(`\r${line}\u001b[K`);
  }

  #text(): string {
    const total = String(this.#total);
    const count = `${String(this.#done).padStart(total.length)}/${total} ${this.#what}`;
    const seconds = (this.#drawn - this.#started) / 1000;
    if (this.#done === 0 || seconds <= 0) return count;
    const rate = this.#done / seconds;
    const left = Math.ceil((this.#total - this.#done) / rate);
    return `${count}, ${rate < 10 ? rate.toFixed(1) : Math.round(rate)}/s, ${clock(left)} left`;
  }
}

function bar(part: number, width: number): string {
  const filled = Math.floor(width * Math.min(1, part));
  return '█'.repeat(filled) + '░'.repeat(width - filled);
}

/** Seconds as `1:05` or `1:00:05`. */
function clock(seconds: number): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const rest = `${two(minutes)}:${two(seconds % 60)}`;
  return hours > 0 ? `${hours}:${rest}` : rest.replace(/^0/, '');
}
