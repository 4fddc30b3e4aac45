import { type Clock, slept } from "./clock.ts";
import { LinkedAbort } from "./linked-abort.ts";

/** A signal that aborts with another one, or when its time is over; dispose of it when the work is done. */
export class TimeLimit implements Disposable {
  readonly #over: LinkedAbort;
  readonly #done: LinkedAbort;
  #expired = false;

  constructor(clock: Clock, ms: number, signal: AbortSignal) {
    this.#over = new LinkedAbort(signal);
    this.#done = new LinkedAbort(this.signal);
    void slept(clock, ms, this.#done.signal).then((late) => {
      if (!late) return;
      this.#expired = true;
      this.#over.abort(new DOMException(`not done within ${ms} ms`, "TimeoutError"));
    });
  }

  get signal(): AbortSignal {
    return this.#over.signal;
  }

  get expired(): boolean {
    return this.#expired;
  }

  [Symbol.dispose](): void {
    this.#over[Symbol.dispose]();
    this.#done.abort();
  }
}
