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
  // Not node:timers/promises: each sleep that is cut short, and most that limit a call are, would make an error with
  // its stack there.
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      // Whoever only lets others have their turn waits for no timer, whose least is a millisecond.
      if (ms === 0) return void setImmediate(() => (signal.aborted ? reject(signal.reason) : resolve()));
      const cut = () => {
        clearTimeout(timer);
        reject(signal.reason);
      };
      const timer = setTimeout(() => {
        signal.removeEventListener("abort", cut);
        resolve();
      }, ms);
      signal.addEventListener("abort", cut, { once: true });
    }),
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
