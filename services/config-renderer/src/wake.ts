/** Something may have changed: wakes everybody who waits, and they ask their own condition again. */
export class Wake {
  #waiters: (() => void)[] = [];

  notify(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }

  /** Resolves once `condition` holds; rejects with the signal's reason when it aborts first. */
  async until(condition: () => boolean, signal: AbortSignal): Promise<void> {
    const aborted = () => this.notify();
    signal.addEventListener("abort", aborted, { once: true });
    try {
      for (;;) {
        signal.throwIfAborted();
        if (condition()) return;
        await new Promise<void>((resolve) => this.#waiters.push(resolve));
      }
    } finally {
      signal.removeEventListener("abort", aborted);
    }
  }
}
