/** Wall time for timestamps. Timers of the API server (bookmarks, timeoutSeconds) stay on the machine's clock. */
export interface Clock {
  now(): Date;
}

export const systemClock: Clock = { now: () => new Date() };

/** metav1.Time: seconds, UTC. */
export function kubeTime(clock: Clock): string {
  return `${clock.now().toISOString().slice(0, 19)}Z`;
}
