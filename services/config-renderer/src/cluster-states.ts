import {
  type ClusterSeen,
  type FleetCluster,
  type IntentRecord,
  isClusterStale,
  isProxyLive,
  type ProxySeen,
  saidBy,
  unreachableFor,
} from "@sluice/contracts";

/** Characters of somebody else's error that a reason quotes. */
const MAX_ERROR = 120;
/** From so many live proxies on most of them decide; fewer must agree. */
const QUORUM_FROM = 3;

/** What the proxies of a fleet say of one cluster. */
export interface ProxyVotes {
  readonly live: number;
  /** Live proxies to which every peer of the cluster is dead. */
  readonly dead: number;
}

export type JudgedCluster = Pick<FleetCluster, "state" | "reason" | "forced">;

/**
 * The state of a cluster for a fleet, the strongest that holds: drained by order, down by the proxies' verdicts, stale
 * for want of news. The reason changes only with what it tells, never with time alone.
 */
export function judgeCluster(
  seen: ClusterSeen | undefined,
  drain: IntentRecord | undefined,
  { live, dead }: ProxyVotes,
  now: number,
): JudgedCluster {
  if (drain !== undefined) {
    const reason = `drained ${saidBy(drain)}`;
    return { state: "drained", reason, ...(drain.force === true ? { forced: true } : {}) };
  }
  if (isDown({ live, dead })) {
    return {
      state: "down",
      reason: `no peer answers to ${dead} of ${live} prox${live === 1 ? "y" : "ies"}`,
    };
  }
  if (seen !== undefined && isClusterStale(seen, now)) return { state: "stale", reason: whyStale(seen, now) };
  return { state: "ok" };
}

function isDown({ live, dead }: ProxyVotes): boolean {
  if (live >= QUORUM_FROM) return dead * 2 > live;
  return live > 0 && dead === live;
}

function whyStale(seen: ClusterSeen, now: number): string {
  const { record, heardAt } = seen;
  if (unreachableFor(seen, now) === null) {
    return `nothing heard from its member-watcher since ${iso(heardAt)}`;
  }
  const error = record.api.error === undefined ? "" : `: ${record.api.error.slice(0, MAX_ERROR)}`;
  return `its API does not answer since ${iso(record.api.since)}${error}`;
}

function iso(at: number): string {
  return new Date(at).toISOString();
}

/** Counts for each cluster that some live proxy calls dead; of any other no proxy does. */
export function countVotes(proxies: Iterable<ProxySeen>, now: number): (cluster: string) => ProxyVotes {
  const dead = new Map<string, number>();
  let live = 0;
  for (const proxy of proxies) {
    if (!isProxyLive(proxy, now)) continue;
    live += 1;
    for (const { cluster, verdict } of proxy.record.clusters ?? []) {
      if (verdict === "dead") dead.set(cluster, (dead.get(cluster) ?? 0) + 1);
    }
  }
  return (cluster) => ({ live, dead: dead.get(cluster) ?? 0 });
}
