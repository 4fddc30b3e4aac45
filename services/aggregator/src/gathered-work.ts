import { type Clock, FairQueue } from "@sluice/service-kit";

/** So much is done of what comes in at once before the rest has to wait for its turn, ms. */
const AT_ONCE_MS = 4;

/**
 * Work by key that is done at once, as long as there is little of it. In a burst what is left waits, once a key with
 * its newest value, and is done in turns of groups (clusters), a few milliseconds at a time: nobody's burst keeps the
 * process from reading on, and a key that changes ten thousand times is worked on a few times.
 */
export class GatheredWork<V> {
  readonly #queue: FairQueue<string, V>;
  readonly #waiting = new Set<string>();
  readonly #work: (value: V) => void;
  readonly #clock: Pick<Clock, "monotonic">;
  /** When the first piece of this turn of the event loop was begun; null: none was. */
  #begunAt: number | null = null;
  #scheduled = false;

  constructor(groupOf: (key: string) => string, work: (value: V) => void, clock: Pick<Clock, "monotonic">) {
    this.#queue = new FairQueue(groupOf);
    this.#work = work;
    this.#clock = clock;
  }

  /** Keys that wait. */
  get size(): number {
    return this.#queue.size;
  }

  /** Whether a key waits: what is known of it is not yet what was made of it. */
  has(key: string): boolean {
    return this.#waiting.has(key);
  }

  do(key: string, value: V, live: boolean): void {
    if (this.#queue.size === 0 && this.#hasTime()) return this.#work(value);
    this.#waiting.add(key);
    this.#queue.set(key, value, live ? "live" : "backlog");
    this.#schedule();
  }

  /** Does all that waits now. */
  flush(): void {
    while (this.#next());
  }

  #hasTime(): boolean {
    const now = this.#clock.monotonic();
    if (this.#begunAt === null) {
      this.#begunAt = now;
      setImmediate(() => {
        this.#begunAt = null;
      });
    }
    return now - this.#begunAt < AT_ONCE_MS;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      while (this.#hasTime() && this.#next());
      if (this.#queue.size > 0) this.#schedule();
    });
  }

  #next(): boolean {
    const next = this.#queue.take();
    if (next === undefined) return false;
    const [key, value] = next;
    this.#queue.release(key);
    this.#waiting.delete(key);
    this.#work(value);
    return true;
  }
}
