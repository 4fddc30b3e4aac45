/** Proxies of a fleet that together ask a peer once an interval each; a larger fleet asks no more often than these do. */
const FULL_PACE = 10;
/** Checks a second by one proxy: what a tenth of a core can do. */
const MOST_PER_SECOND = 250;
/** Of the time between two checks, either way: what began together does not go on together. */
const JITTER = 0.1;

/**
 * How much longer than asked it is from one check of a peer to the next.
 * @param perSecond checks that this proxy would make
 */
export function stretch(perSecond: number): number {
  return Math.max(1, perSecond / MOST_PER_SECOND);
}

/**
 * Milliseconds from the beginning of a check to that of the next. Whoever doubts asks at full pace, however large the
 * fleet is: what a peer has to answer beyond its share is a few checks, once.
 * @param chance 0 to 1
 */
export function nextCheckMs(
  intervalMs: number,
  certain: boolean,
  proxies: number,
  stretched: number,
  chance: number,
): number {
  const shared = certain ? Math.max(1, proxies / FULL_PACE) : 1;
  return intervalMs * Math.max(shared, stretched) * (1 - JITTER + 2 * JITTER * chance);
}
