import { hash32, type Part } from "@sluice/contracts";

/** A live process of one role, as `members` shows it. */
export interface Candidate {
  readonly process: string;
  /** Scopes that it can hold parts of; undefined: all. */
  readonly serves?: ReadonlySet<string> | undefined;
  /** Parts that it could not read the source of in time. */
  readonly resigned?: ReadonlySet<string> | undefined;
}

/** A part of a table as one text, e.g. `slices/member1/0`; names hold no slash. */
export function partId(table: string, { scope, shard }: Part): string {
  return `${table}/${scope}/${shard}`;
}

/**
 * Who should hold a part, best first, by highest random weight (Thaler and Ravishankar, 1998): every process comes to
 * the same order from the same members, and one that comes or goes moves only the parts that it gains or had. Those
 * that have resigned from a part rank after all others: with all resigned, somebody must try again.
 */
export function rank(table: string, part: Part, candidates: Iterable<Candidate>): string[] {
  const id = partId(table, part);
  const able = [...candidates].filter(({ serves }) => serves === undefined || serves.has(part.scope));
  const weights = new Map(able.map(({ process }) => [process, weight(process, id)]));
  const order = (a: Candidate, b: Candidate) => {
    const resigned = Number(a.resigned?.has(id) ?? false) - Number(b.resigned?.has(id) ?? false);
    if (resigned !== 0) return resigned;
    const weighed = (weights.get(b.process) ?? 0) - (weights.get(a.process) ?? 0);
    return weighed !== 0 ? weighed : a.process < b.process ? -1 : 1;
  };
  return able.sort(order).map(({ process }) => process);
}

function weight(process: string, id: string): number {
  // FNV alone hardly mixes its last bytes into the high bits; this is the finalizer of MurmurHash3.
  let hash = hash32(`${process}|${id}`);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
