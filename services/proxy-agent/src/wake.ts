/** Something is to be done: wakes one loop, and is remembered when that loop is not waiting. */
export class Wake {
  #set = false;
  #resolve: (() => void) | null = null;

  notify(): void {
    this.#set = true;
    this.#resolve?.();
  }

  /** Resolves at once when it was notified since the last time, else at the next; also when the signal aborts. */
  async wait(signal: AbortSignal): Promise<void> {
    if (!this.#set && !signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#resolve = resolve;
      signal.addEventListener("abort", resolve as () => void, { once: true });
      try {
        await promise;
      } finally {
        signal.removeEventListener("abort", resolve as () => void);
        this.#resolve = null;
      }
    }
    this.#set = false;
  }
}
