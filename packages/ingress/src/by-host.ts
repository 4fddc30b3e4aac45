import type { CompiledPath } from "./compile-ingress.ts";
import type { OtherName } from "./route-policy.ts";
import type { TlsEntry } from "./tls-spec.ts";

/** Shorter lists are looked through. */
const INDEXED_FROM = 16;

/**
 * Looks things of an object up by host. An object may have ten thousand hosts, and each is assembled by itself: to go
 * through all of its list for each of them would keep its reader busy for seconds.
 */
function byHost<T>(
  hostsOf: (item: T) => readonly string[],
): (list: readonly T[], host: string) => readonly T[] {
  const indexes = new WeakMap<readonly T[], ReadonlyMap<string, readonly T[]>>();
  return (list, host) => {
    if (list.length < INDEXED_FROM) return list.filter((item) => hostsOf(item).includes(host));
    let index = indexes.get(list);
    if (index === undefined) {
      index = indexOf(list, hostsOf);
      indexes.set(list, index);
    }
    return index.get(host) ?? [];
  };
}

function indexOf<T>(list: readonly T[], hostsOf: (item: T) => readonly string[]): Map<string, T[]> {
  const index = new Map<string, T[]>();
  for (const item of list) {
    for (const host of new Set(hostsOf(item))) {
      const there = index.get(host);
      if (there === undefined) index.set(host, [item]);
      else there.push(item);
    }
  }
  return index;
}

/** Paths under a host, in their order. */
export const pathsAt = byHost<CompiledPath>(({ host }) => [host]);
/** What a name is another name of. */
export const wishesFor = byHost<OtherName>(({ name }) => [name]);
/** Other names of a host. */
export const namesOf = byHost<OtherName>(({ of }) => [of]);
/** Entries of `spec.tls` that name a host. */
export const tlsEntriesAt = byHost<TlsEntry>(({ hosts }) => hosts);
