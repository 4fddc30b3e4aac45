import { parseCidr } from "@sluice/contracts";

/** Ranges of addresses as nginx searches them: first and last address of each, sorted and apart from each other; base64. */
export interface PackedRanges {
  readonly v4?: string;
  readonly v6?: string;
}

type Range = readonly [first: Buffer, last: Buffer];

/** @returns null when the text is no CIDR */
function rangeOf(cidr: string): Range | null {
  const parsed = parseCidr(cidr);
  if (parsed === null) return null;
  const [address, bits] = parsed;
  const first = Buffer.from(address.toByteArray());
  const last = Buffer.from(first);
  for (let i = 0; i < first.length; i++) {
    const kept = Math.min(8, Math.max(0, bits - 8 * i));
    const free = 0xff >> kept;
    first[i] = (first[i] ?? 0) & ~free;
    last[i] = (last[i] ?? 0) | free;
  }
  return [first, last];
}

function packed(ranges: readonly Range[]): string | undefined {
  const apart: [Buffer, Buffer][] = [];
  for (const [first, last] of ranges.toSorted(([a], [b]) => a.compare(b))) {
    const before = apart.at(-1);
    if (before === undefined || first.compare(before[1]) > 0) apart.push([first, last]);
    else if (last.compare(before[1]) > 0) before[1] = last;
  }
  return apart.length === 0 ? undefined : Buffer.concat(apart.flat()).toString("base64");
}

/** One list is packed once, however many paths have it and however often its row is built. */
const known = new WeakMap<readonly string[], PackedRanges>();

/** What is no CIDR is in no range: whoever wrote the row has judged it. */
export function packRanges(cidrs: readonly string[]): PackedRanges {
  const before = known.get(cidrs);
  if (before !== undefined) return before;
  const ranges = cidrs.map(rangeOf).filter((range) => range !== null);
  const v4 = packed(ranges.filter(([first]) => first.length === 4));
  const v6 = packed(ranges.filter(([first]) => first.length === 16));
  const pack = { ...(v4 === undefined ? {} : { v4 }), ...(v6 === undefined ? {} : { v6 }) };
  known.set(cidrs, pack);
  return pack;
}
