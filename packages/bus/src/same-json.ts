/**
 * Whether two values that came from JSON say the same; the order of an object's fields does not count. Cheaper than two
 * texts, and nobody has to keep one.
 */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length) return false;
    for (let i = 0; i < a.length; i++) if (!sameJson(a[i], b[i])) return false;
    return true;
  }
  if (Array.isArray(b)) return false;
  let fields = 0;
  for (const name in a) {
    const mine = (a as Record<string, unknown>)[name];
    // What JSON leaves out is not there.
    if (mine === undefined) continue;
    fields++;
    if (!Object.hasOwn(b, name) || !sameJson(mine, (b as Record<string, unknown>)[name])) return false;
  }
  for (const name in b) if ((b as Record<string, unknown>)[name] !== undefined) fields--;
  return fields === 0;
}
