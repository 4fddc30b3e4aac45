import type { Clock } from "@sluice/service-kit";
import { SeededRandom } from "./seeded-random.ts";
import { BEGAN_AT } from "./virtual-globals.ts";
import type { Timer, VirtualTime } from "./virtual-time.ts";

/**
 * One life of one process: from its start to its end or its crash. Whatever reaches it from outside, time included,
 * comes through `deliver`: a frozen process gets it all at once when it wakes, a crashed one never.
 */
export class SimProcess {
  readonly name: string;
  readonly time: VirtualTime;
  readonly random: SeededRandom;
  readonly clock: Clock;
  readonly stop = new AbortController();
  #alive = true;
  #frozen = false;
  /** What its wall clock is off, ms. */
  #offsetMs: number;
  /** It runs again, and what it missed is not all done yet: what comes now is behind that, as on any connection. */
  #waking = false;
  #heldTimers: (() => void)[] = [];
  #heldMessages: (() => void)[] = [];
  readonly #sleepers = new WeakMap<AbortSignal, Set<() => void>>();

  constructor(name: string, seed: string, time: VirtualTime, offsetMs: number) {
    this.name = name;
    this.time = time;
    this.random = new SeededRandom(seed);
    this.#offsetMs = offsetMs;
    this.clock = {
      now: () => BEGAN_AT + time.now + this.#offsetMs,
      monotonic: () => time.now,
      sleep: (ms, signal) => this.#sleep(ms, signal),
    };
  }

  get alive(): boolean {
    return this.#alive;
  }

  get frozen(): boolean {
    return this.#frozen;
  }

  jump(ms: number): void {
    this.#offsetMs += ms;
  }

  freeze(): void {
    this.#frozen = true;
  }

  /** Everything that was due comes now: timers first, then what came over the network, as libuv has it. */
  thaw(): void {
    if (!this.#frozen) return;
    this.#frozen = false;
    if (this.#waking) return;
    this.#waking = true;
    this.#wake();
  }

  #wake(): void {
    this.time.after(0, () => {
      const next = this.#frozen ? undefined : (this.#heldTimers.shift() ?? this.#heldMessages.shift());
      if (next === undefined) {
        this.#waking = false;
        return;
      }
      this.#wake();
      next();
    });
  }

  /** From here on nothing reaches it any more. */
  crash(): void {
    this.#alive = false;
    this.#heldTimers = [];
    this.#heldMessages = [];
  }

  deliver(run: () => void): void {
    if (!this.#alive) return;
    if (this.#frozen || this.#waking) this.#heldMessages.push(run);
    else run();
  }

  /** A timer of this process. */
  after(ms: number, run: () => void): Timer {
    return this.time.after(ms, () => this.#due(run));
  }

  #due(run: () => void): void {
    if (!this.#alive) return;
    if (this.#frozen || this.#waking) this.#heldTimers.push(run);
    else run();
  }

  /** Who sleeps until this signal aborts, at the latest: one listener of a signal for all of them. */
  #sleepersOf(signal: AbortSignal): Set<() => void> {
    let sleepers = this.#sleepers.get(signal);
    if (sleepers === undefined) {
      const all = new Set<() => void>();
      sleepers = all;
      this.#sleepers.set(signal, all);
      const abort = () => {
        for (const wake of all) wake();
        all.clear();
      };
      signal.addEventListener("abort", abort, { once: true });
    }
    return sleepers;
  }

  #sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const sleepers = this.#sleepersOf(signal);
      // Node's timers count whole milliseconds, one at least.
      const timer = this.after(Math.max(1, Math.trunc(ms)), () => {
        if (sleepers.delete(wake)) resolve();
      });
      const wake = () => {
        timer.cancel();
        reject(signal.reason);
      };
      sleepers.add(wake);
    });
  }
}
