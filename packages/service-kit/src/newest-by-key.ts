import { FairQueue, type Urgency } from "./fair-queue.ts";

interface NewestByKeyOptions<K> {
  /** Who shares a turn with whom, e.g. the cluster of a key; default: all keys are one group. */
  groupOf?(key: K): string;
}

/**
 * A queue that keeps the newest value of each key: memory is bounded by keys, not by events. Values of one key are
 * never taken by two workers at once; groups of keys take turns, and keys of a group come out in the order in which
 * they first became dirty, live ones before the backlog.
 */
export class NewestByKey<K, V> {
  readonly #queue: FairQueue<K, V>;
  #wake: () => void = () => {};
  #idle: (() => void)[] = [];

  constructor(options: NewestByKeyOptions<K> = {}) {
    this.#queue = new FairQueue(options.groupOf);
  }

  set(key: K, value: V, urgency: Urgency = "live"): void {
    this.#queue.set(key, value, urgency);
    this.#wake();
  }

  get size(): number {
    return this.#queue.size;
  }

  /** Resolves when nothing waits and nothing is being worked on. */
  async idle(): Promise<void> {
    if (this.#queue.idle) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /**
   * Runs `work` on each key with at most `workers` at a time, until the signal aborts; then resolves once the work in
   * hand is done. `work` must not throw: an error ends the loop and rejects.
   */
  async run(workers: number, signal: AbortSignal, work: (key: K, value: V) => Promise<void>): Promise<void> {
    let inFlight = 0;
    const failures: unknown[] = [];
    const wake = () => this.#wake();
    const woken = () =>
      new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    const one = async (key: K, value: V): Promise<void> => {
      try {
        await work(key, value);
      } catch (error) {
        failures.push(error);
      }
      inFlight--;
      this.#queue.release(key);
      this.#wake();
      if (this.#queue.idle) this.#tellIdle();
    };
    signal.addEventListener("abort", wake, { once: true });
    try {
      while (!signal.aborted && failures.length === 0) {
        const next = inFlight < workers ? this.#queue.take() : undefined;
        if (next === undefined) {
          await woken();
          continue;
        }
        inFlight++;
        void one(...next);
      }
    } finally {
      signal.removeEventListener("abort", wake);
      while (inFlight > 0) await woken();
      this.#tellIdle();
    }
    if (failures.length > 0) throw failures[0];
  }

  #tellIdle(): void {
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
