import { type Clock, slept } from "./clock.ts";

/** An abort without a reason makes one, with a stack; that a call is done in time is the rule. */
const DONE = new Error("done in time");

/** A signal that aborts with another one, or when its time is over; dispose of it when the work is done. */
export class TimeLimit implements Disposable {
  readonly signal: AbortSignal;
  readonly #over = new AbortController();
  readonly #done = new AbortController();

  constructor(clock: Clock, ms: number, signal: AbortSignal) {
    this.signal = AbortSignal.any([signal, this.#over.signal]);
    void slept(clock, ms, AbortSignal.any([signal, this.#done.signal])).then((late) => {
      if (late) this.#over.abort(new DOMException(`not done within ${ms} ms`, "TimeoutError"));
    });
  }

  get expired(): boolean {
    return this.#over.signal.aborted;
  }

  [Symbol.dispose](): void {
    this.#done.abort(DONE);
  }
}
