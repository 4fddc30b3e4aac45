import type { Clock } from "./clock.ts";

/** Turns of the event loop in which what a moment begins comes to rest, as long as no I/O is in it. */
const TURNS = 8;

async function atRest(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** Time that passes when a test says so, from one sleeper's moment to the next: a slow machine changes nothing. */
export class ManualClock implements Clock {
  #now = 1_800_000_000_000;
  readonly #sleepers = new Set<{ readonly at: number; wake(): void }>();

  now = (): number => this.#now;

  monotonic = (): number => this.#now;

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const over = () => {
        this.#sleepers.delete(sleeper);
        signal.removeEventListener("abort", abort);
      };
      const abort = () => {
        over();
        reject(signal.reason);
      };
      const sleeper = {
        at: this.#now + ms,
        wake: () => {
          over();
          resolve();
        },
      };
      this.#sleepers.add(sleeper);
      signal.addEventListener("abort", abort, { once: true });
    });
  }

  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    await atRest();
    for (let next = this.#next(); next <= end; next = this.#next()) {
      this.#now = Math.max(this.#now, next);
      for (const sleeper of [...this.#sleepers]) if (sleeper.at <= this.#now) sleeper.wake();
      await atRest();
    }
    this.#now = end;
  }

  /**
   * Passes time until it holds; how long that took, ms, to ten of them.
   * @throws Error when ten minutes were not enough
   */
  async until(what: string, holds: () => boolean): Promise<number> {
    const began = this.#now;
    await atRest();
    while (!holds()) {
      if (this.#now - began > 600_000) throw new Error(`never came true: ${what}`);
      await this.pass(10);
    }
    return this.#now - began;
  }

  #next(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { at } of this.#sleepers) next = Math.min(next, at);
    return next;
  }
}
