import { KubeStatusError } from "@sluice/contracts";
import { Backoff, type Clock, NewestByKey, slept } from "@sluice/service-kit";
import type { KubeLogger } from "./logger.ts";

export interface ReconcilerOptions {
  /** For logs, e.g. `endpoint slices`. */
  readonly name: string;
  readonly kit: { readonly log: KubeLogger; readonly clock: Clock; readonly signal: AbortSignal };
  /** Keys worked on at once; one key never twice at once. */
  readonly workers: number;
  /** Brings the world of one key to what it should be. What it throws is logged and tried again. */
  reconcile(key: string, signal: AbortSignal): Promise<void>;
  /** Called with each failure, before the wait. */
  onFailure?(key: string, error: unknown): void;
  /** Full jitter between tries of one key, milliseconds. Default 100 ms doubling to 10 s. */
  readonly backoff?: readonly [baseMs: number, capMs: number];
}

/** A queue of keys whose world may have changed: each is worked on soon, again after failures, and never lost. */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #queue = new NewestByKey<string, true>();
  readonly #failures = new Map<string, Backoff>();
  readonly #timers = new Set<Promise<void>>();
  readonly #due = new Map<string, number>();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  add(key: string): void {
    this.#queue.set(key, true);
  }

  /** Once more after `ms`; of several times for one key only the earliest counts. */
  addAfter(key: string, ms: number): void {
    const { clock, signal } = this.#options.kit;
    const due = clock.monotonic() + ms;
    if ((this.#due.get(key) ?? Number.POSITIVE_INFINITY) <= due) return;
    this.#due.set(key, due);
    const timer = slept(clock, ms, signal).then((over) => {
      this.#timers.delete(timer);
      if (this.#due.get(key) === due) this.#due.delete(key);
      if (over) this.add(key);
    });
    this.#timers.add(timer);
  }

  /** Resolves when nothing waits and nothing is being worked on; keys that wait for their next try don't count. */
  async idle(): Promise<void> {
    await this.#queue.idle();
  }

  /** Works until kit.signal aborts and the work in hand is done. */
  async run(): Promise<void> {
    const { kit, workers } = this.#options;
    await this.#queue.run(workers, kit.signal, (key) => this.#work(key));
    await Promise.all(this.#timers);
  }

  async #work(key: string): Promise<void> {
    const { name, kit, backoff = [100, 10_000] } = this.#options;
    try {
      await this.#options.reconcile(key, kit.signal);
      this.#failures.delete(key);
    } catch (error) {
      if (kit.signal.aborted) return;
      let failures = this.#failures.get(key);
      const first = failures === undefined;
      if (failures === undefined) {
        failures = new Backoff(...backoff);
        this.#failures.set(key, failures);
      }
      const retryInMs = failures.next();
      // A conflict, or nothing there to change: our view was a moment old.
      const stale = error instanceof KubeStatusError && (error.status === 409 || error.status === 404);
      if (stale || !first) kit.log.debug({ err: error, key, retryInMs }, `${name}: failed, trying again`);
      else kit.log.warn({ err: error, key, retryInMs }, `${name}: failed, trying again`);
      this.#options.onFailure?.(key, error);
      this.addAfter(key, retryInMs);
    }
  }
}
