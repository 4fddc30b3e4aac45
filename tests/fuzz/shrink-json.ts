/** Runs that shrinking may cost. */
const TRIES = 400;

/** Values that are a step simpler, the simplest first. */
function* simpler(value: unknown): IterableIterator<unknown> {
  if (typeof value === "string") {
    if (value.length < 2) return;
    const half = Math.ceil(value.length / 2);
    yield value.slice(0, half);
    yield value.slice(half);
    if (value.length > 40) return;
    for (let i = 0; i < value.length; i++) yield value.slice(0, i) + value.slice(i + 1);
  } else if (Array.isArray(value)) {
    for (let size = Math.ceil(value.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      for (let at = 0; at < value.length; at += size)
        yield [...value.slice(0, at), ...value.slice(at + size)];
    }
    for (const [i, each] of value.slice(0, 20).entries()) {
      for (const less of simpler(each)) yield value.with(i, less);
    }
  } else if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value);
    for (const [key] of entries) yield Object.fromEntries(entries.filter(([other]) => other !== key));
    for (const [key, each] of entries) {
      for (const less of simpler(each))
        yield Object.fromEntries(entries.map(([k, v]) => [k, k === key ? less : v]));
    }
  }
}

/**
 * The smallest value that still fails, as far as a bounded search finds one. Its own lists and objects may become simpler and
 * do not go away: they are what it is made of.
 */
export async function shrinkJson<T extends object>(
  value: T,
  fails: (smaller: T) => Promise<boolean>,
): Promise<T> {
  let best = value;
  for (let tries = 0, found = true; found && tries < TRIES; ) {
    found = false;
    const keys = (Object.keys(best) as (keyof T)[]).filter((key) => typeof best[key] === "object");
    search: for (const key of keys) {
      for (const less of simpler(best[key])) {
        if (++tries > TRIES) break search;
        const smaller = { ...best, [key]: less };
        if (!(await fails(smaller))) continue;
        best = smaller;
        found = true;
        break search;
      }
    }
  }
  return best;
}
