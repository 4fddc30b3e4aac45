import { type Clock, slept } from "./clock.ts";

/** What a step costs varies, so both bound a burst. */
const BURST_MS = 5;
const BURST_STEPS = 500;

/**
 * Cuts long work into bursts of some milliseconds, between which whatever else there is comes in its turn: ten thousand
 * objects of one cluster must not hold up a change of another.
 */
export class Bursts {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  #began: number;
  #steps = 0;

  constructor(clock: Clock, signal: AbortSignal) {
    this.#clock = clock;
    this.#signal = signal;
    this.#began = clock.monotonic();
  }

  /** Others have just had their turn. */
  begin(): void {
    this.#began = this.#clock.monotonic();
    this.#steps = 0;
  }

  /** To be asked after each step: whether it is time to `rest`. */
  over(): boolean {
    return ++this.#steps >= BURST_STEPS || this.#clock.monotonic() - this.#began >= BURST_MS;
  }

  /** Lets others have their turn. False: the signal has aborted. */
  async rest(): Promise<boolean> {
    const going = await slept(this.#clock, 0, this.#signal);
    this.begin();
    return going;
  }
}
