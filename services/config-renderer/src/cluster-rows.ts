import { type ClusterRecord, type FleetCluster, parseCidr } from "@sluice/contracts";

/** Without a heartbeat, or with its API unreachable, for longer than this a cluster counts as stale, ms. */
export const STALE_AFTER_MS = 30_000;
/** A loopback range of a person's must be this narrow: it is a trial's. */
const LOOPBACK_MIN_BITS = 16;

/** What is known of one cluster, told by local time, so that a member's clock need not agree with ours. */
export interface ClusterSeen {
  readonly record: ClusterRecord;
  /** When its last heartbeat came in, ms since 1970. */
  readonly heardAt: number;
}

/** @param before what was known of the cluster, or undefined: then its own clock has to do */
export function sawCluster(before: ClusterSeen | undefined, record: ClusterRecord, now: number): ClusterSeen {
  if (before === undefined) return { record, heardAt: Math.min(now, record.heartbeatAt) };
  return { record, heardAt: before.record.heartbeatAt === record.heartbeatAt ? before.heardAt : now };
}

export function isStale({ record, heardAt }: ClusterSeen, now: number): boolean {
  if (now - heardAt > STALE_AFTER_MS) return true;
  if (record.api.reachable) return false;
  return record.heartbeatAt - record.api.since + (now - heardAt) > STALE_AFTER_MS;
}

/** Ranges as the proxies hold a cluster's peers to them: those of its Nodes but loopback, and those of a person. */
export function allowedCidrs(fromNodes: readonly string[], fromFlags: readonly string[]): string[] {
  const allowed = new Set<string>();
  for (const text of fromNodes) {
    const cidr = parseCidr(text);
    if (cidr !== null && cidr[0].range() !== "loopback") allowed.add(text);
  }
  for (const text of fromFlags) {
    const cidr = parseCidr(text);
    if (cidr === null) continue;
    if (cidr[0].range() !== "loopback" || cidr[1] >= LOOPBACK_MIN_BITS) allowed.add(text);
  }
  return [...allowed].sort();
}

/** `seen` undefined: known by `--peers` alone so far. */
export function clusterRow(
  cluster: string,
  seen: ClusterSeen | undefined,
  fromFlags: readonly string[],
  now: number,
): FleetCluster {
  return {
    cluster,
    state: seen !== undefined && isStale(seen, now) ? "stale" : "ok",
    allowed: allowedCidrs(seen?.record.nodeCidrs ?? [], fromFlags),
  };
}
