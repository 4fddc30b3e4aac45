/** Of the time at most one part in so many goes into an answer that looks at everything. */
const SHARE = 20;

/**
 * What was made last, for as long as making it anew would take more than its share of the time: however many ask, and
 * however large the state is, somebody else's change is not kept waiting.
 * @param now ms
 */
export function sharedAnswer<T>(make: () => T, now: () => number): () => T {
  let made: { readonly value: T; readonly until: number } | null = null;
  return () => {
    const began = now();
    if (made !== null && began < made.until) return made.value;
    const value = make();
    const ended = now();
    made = { value, until: ended + (ended - began) * (SHARE - 1) };
    return value;
  };
}
