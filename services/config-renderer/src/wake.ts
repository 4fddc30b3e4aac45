import { type Clock, slept } from "@sluice/service-kit";

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

  /** The same, but at most for `ms`. */
  async within(ms: number, condition: () => boolean, clock: Clock, signal: AbortSignal): Promise<void> {
    let late = false;
    const over = new AbortController();
    const limit = slept(clock, ms, AbortSignal.any([signal, over.signal])).then(() => {
      late = true;
      this.notify();
    });
    try {
      await this.until(() => late || condition(), signal);
    } finally {
      over.abort();
      await limit;
    }
  }
}
