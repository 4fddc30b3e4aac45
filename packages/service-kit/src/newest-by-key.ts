/**
 * A queue that keeps the newest value of each key: memory is bounded by keys, not by events. Values of one key are
 * never taken by two workers at once, and keys come out in the order in which they first became dirty.
 */
export class NewestByKey<K, V> {
  readonly #newest = new Map<K, V>();
  readonly #busy = new Set<K>();
  #wake: () => void = () => {};
  #idle: (() => void)[] = [];

  set(key: K, value: V): void {
    this.#newest.set(key, value);
    this.#wake();
  }

  get size(): number {
    return this.#newest.size;
  }

  /** Resolves when nothing waits and nothing is being worked on. */
  async idle(): Promise<void> {
    if (this.#newest.size === 0 && this.#busy.size === 0) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /**
   * Runs `work` on each key with at most `workers` at a time, until the signal aborts; then resolves once the work in
   * hand is done. `work` must not throw: an error ends the loop and rejects.
   */
  async run(workers: number, signal: AbortSignal, work: (key: K, value: V) => Promise<void>): Promise<void> {
    const inFlight = new Set<Promise<void>>();
    const failures: unknown[] = [];
    const wake = () => this.#wake();
    signal.addEventListener("abort", wake, { once: true });
    try {
      while (!signal.aborted && failures.length === 0) {
        const next = inFlight.size < workers ? this.#takeFree() : undefined;
        if (next === undefined) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
          continue;
        }
        const [key, value] = next;
        this.#busy.add(key);
        const task = work(key, value)
          .catch((error: unknown) => {
            failures.push(error);
          })
          .finally(() => {
            this.#busy.delete(key);
            inFlight.delete(task);
            this.#wake();
            if (this.#newest.size === 0 && this.#busy.size === 0) {
              for (const resolve of this.#idle.splice(0)) resolve();
            }
          });
        inFlight.add(task);
      }
    } finally {
      signal.removeEventListener("abort", wake);
      await Promise.all(inFlight);
      for (const resolve of this.#idle.splice(0)) resolve();
    }
    if (failures.length > 0) throw failures[0];
  }

  #takeFree(): [K, V] | undefined {
    for (const [key, value] of this.#newest) {
      if (this.#busy.has(key)) continue;
      this.#newest.delete(key);
      return [key, value];
    }
    return undefined;
  }
}
