import { type Clock, LinkedAbort, slept } from "@sluice/service-kit";

/** A signal that aborts with any of the given ones, or when nobody calls `touch` for `idleMs`. */
export class IdleBound {
  expired = false;
  readonly #ended = new LinkedAbort();
  readonly #bound: LinkedAbort;
  readonly #clock: Clock;
  readonly #idleMs: number;
  #touchedAt: number;

  constructor(clock: Clock, idleMs: number, signals: readonly AbortSignal[]) {
    this.#clock = clock;
    this.#idleMs = idleMs;
    this.#touchedAt = clock.monotonic();
    this.#bound = new LinkedAbort(...signals);
    void this.#wait();
  }

  get signal(): AbortSignal {
    return this.#bound.signal;
  }

  touch(): void {
    this.#touchedAt = this.#clock.monotonic();
  }

  end(): void {
    this.#bound[Symbol.dispose]();
    this.#ended.abort();
  }

  /** Never rejects: `slept` answers false once the watch has ended. */
  async #wait(): Promise<void> {
    for (;;) {
      const leftMs = this.#touchedAt + this.#idleMs - this.#clock.monotonic();
      if (leftMs <= 0) break;
      if (!(await slept(this.#clock, leftMs, this.#ended.signal))) return;
    }
    this.expired = true;
    this.#bound.abort();
  }
}
