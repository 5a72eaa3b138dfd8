/** A monotonic clock that stands still until it is told to go on, so that nothing has to be waited for. */
export class FrozenTime {
  #now: number;

  constructor() {
    // A whole number, so that sums with it are exact.
    this.#now = Math.floor(performance.now());
    performance.now = () => this.#now;
  }

  advance(ms: number): void {
    this.#now += ms;
  }

  /** Let the real one run again. */
  restore(): void {
    Reflect.deleteProperty(performance, 'now');
  }
}

/** A `Date` header: whole seconds, as HTTP has it. */
export function dateHeader(time: number): {date: string} {
  return {date: new Date(time).toUTCString()};
}
