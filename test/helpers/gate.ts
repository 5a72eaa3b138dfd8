/** Holds work up until a test lets it go on, so that nothing depends on time. */
export class Gate {
  readonly #held: (() => void)[] = [];
  #watchers: {count: number; reached: () => void}[] = [];
  #open = false;

  /** How many are held now. */
  get held(): number {
    return this.#held.length;
  }

  /** Wait here. */
  async pass(): Promise<void> {
    if (this.#open) return;
    await new Promise<void>((go) => {
      this.#held.push(go);
      const reached = this.#watchers.filter(({count}) => count <= this.held);
      this.#watchers = this.#watchers.filter((watcher) => !reached.includes(watcher));
      for (const watcher of reached) watcher.reached();
    });
  }

  /** Until so many are held. */
  async reached(count: number): Promise<void> {
    if (this.held >= count) return;
    await new Promise<void>((reached) => this.#watchers.push({count, reached}));
  }

  /** Let those that are held go on, the last one first, and all that come later pass. */
  open(): void {
    this.#open = true;
    for (const go of this.#held.splice(0).reverse()) go();
  }
}
