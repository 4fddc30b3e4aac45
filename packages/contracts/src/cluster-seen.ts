import type { ClusterRecord } from "./records.ts";

/** Without a heartbeat, or with its API unreachable, for longer than this a cluster counts as stale, ms. */
export const CLUSTER_STALE_AFTER_MS = 30_000;

/** What a reader knows of one cluster, told by the reader's own time: a member's clock need not agree with it. */
export interface ClusterSeen {
  readonly record: ClusterRecord;
  /** When its last heartbeat came in, ms since 1970. */
  readonly heardAt: number;
}

/**
 * @param before what was known of the cluster; undefined: another clock than the reader's has to do for once
 * @param storedAt when the bus's server took the record, by its own clock; without it the watcher's clock is asked
 */
export function sawCluster(
  before: ClusterSeen | undefined,
  heard: ClusterRecord,
  now: number,
  storedAt: number = heard.heartbeatAt,
): ClusterSeen {
  // A watcher that has not listed its Nodes yet does not take away what was known of them.
  const { nodeCidrs = before?.record.nodeCidrs } = heard;
  const record = nodeCidrs === undefined ? heard : { ...heard, nodeCidrs };
  if (before === undefined) return { record, heardAt: Math.min(now, storedAt) };
  return { record, heardAt: before.record.heartbeatAt === record.heartbeatAt ? before.heardAt : now };
}

/** For how long its API has been unreachable, ms; null: it is reachable, as far as is known. */
export function unreachableFor({ record, heardAt }: ClusterSeen, now: number): number | null {
  if (record.api.reachable) return null;
  return Math.max(0, record.heartbeatAt - record.api.since + (now - heardAt));
}

export function isClusterStale(seen: ClusterSeen, now: number): boolean {
  if (now - seen.heardAt > CLUSTER_STALE_AFTER_MS) return true;
  return (unreachableFor(seen, now) ?? 0) > CLUSTER_STALE_AFTER_MS;
}
