import { setTimeout as delay } from "node:timers/promises";

/** Time as a parameter, so that a test or a simulation can own it. */
export interface Clock {
  /** Milliseconds since 1970, with fractions; comparable between processes of one machine. */
  now(): number;
  /** Milliseconds that never jump. */
  monotonic(): number;
  /** Rejects with the signal's reason when it aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => performance.timeOrigin + performance.now(),
  monotonic: () => performance.now(),
  async sleep(ms, signal) {
    // node:timers rejects with an AbortError of its own; callers ask `signal.aborted`, never the error's name.
    await delay(ms, undefined, { signal });
  },
};

/** Sleeps; true when the time is over, false when the signal aborted first. */
export async function slept(clock: Clock, ms: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return false;
  try {
    await clock.sleep(ms, signal);
    return true;
  } catch (error) {
    if (signal.aborted) return false;
    throw error;
  }
}
