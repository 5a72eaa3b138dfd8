/** `setTimeout` whose time passes only as a test has it. */
export class HeldTimers {
  readonly #real = {setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout};
  readonly #timers = new Map<object, {at: number; ring: () => void}>();
  #now = 0;
  /** How long each timer was set for, milliseconds. */
  readonly limits: number[] = [];

  /** How many are set now. */
  get running(): number {
    return this.#timers.size;
  }

  hold(): void {
    this.#timers.clear();
    this.limits.length = 0;
    const setHeld = (ring: () => void, ms = 0): object => {
      const timer = {};
      this.limits.push(ms);
      this.#timers.set(timer, {at: this.#now + ms, ring});
      return timer;
    };
    const clearHeld = (timer?: object): void => {
      if (timer) this.#timers.delete(timer);
    };
    Object.assign(globalThis, {setTimeout: setHeld, clearTimeout: clearHeld});
  }

  /** Let the real ones run again. */
  release(): void {
    Object.assign(globalThis, this.#real);
  }

  /** Let time pass: timers that are over by then ring. */
  pass(ms: number): void {
    this.#now += ms;
    for (const [timer, {at, ring}] of [...this.#timers]) {
      if (at > this.#now) continue;
      this.#timers.delete(timer);
      ring();
    }
  }
}
