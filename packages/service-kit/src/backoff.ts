/**
 * Full jitter: a random wait up to `baseMs`, doubling to `capMs` with each failure, so that many clients of one dead
 * server do not come back in step (AWS Architecture Blog, "Exponential Backoff And Jitter").
 */
export class Backoff {
  #failures = 0;
  readonly #baseMs: number;
  readonly #capMs: number;
  readonly #random: () => number;

  constructor(baseMs: number, capMs: number, random: () => number = Math.random) {
    this.#baseMs = baseMs;
    this.#capMs = capMs;
    this.#random = random;
  }

  /** Milliseconds to wait before the next try. */
  next(): number {
    const ceiling = Math.min(this.#capMs, this.#baseMs * 2 ** this.#failures);
    this.#failures = Math.min(this.#failures + 1, 30);
    return this.#random() * ceiling;
  }

  reset(): void {
    this.#failures = 0;
  }
}
