import { readSaid } from "./import-annotations.ts";
import type { ClusterPlace } from "./peers.ts";

export const CLUSTER = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

export const CLUSTER_WEIGHTS = "sluice.dev/cluster-weights";
export const FAILOVER = "sluice.dev/failover";
export const LOCALITY = "sluice.dev/locality";

/** As a PeersRow says it, and a proxy sorts by it. */
const MAX_SHARE = 1000;
const MAX_RANK = 15;

/** Which clusters of an import get how much, and which are asked first. */
export interface ClusterOrder {
  /** null: each peer counts, whatever its cluster. */
  readonly shares: ReadonlyMap<string, number> | null;
  /** Lowest first; null: all alike. */
  readonly ranks: ReadonlyMap<string, number> | null;
  /** Where `ranks` says nothing the fleet's own order holds: near clusters first. */
  readonly near: boolean;
}

/** What is of another shape is told and left out as a whole: half of an order is another order. */
export function readClusterOrder(
  annotations: ReadonlyMap<string, string>,
  warn: (message: string) => void,
): ClusterOrder {
  const read = <T>(name: keyof typeof clusterOrderShapes, of: (text: string) => T | null) =>
    readSaid(annotations, name, of, clusterOrderShapes[name], warn);
  return {
    shares: read(CLUSTER_WEIGHTS, sharesOf),
    ranks: read(FAILOVER, clusterGroups),
    near: read(LOCALITY, (text) => (text === "prefer" || text === "off" ? text : null)) === "prefer",
  };
}

export const clusterOrderShapes = {
  [CLUSTER_WEIGHTS]: `cluster=weight with commas between, each cluster once, weights from 0 to ${MAX_SHARE}`,
  [FAILOVER]: `up to ${MAX_RANK} groups of clusters with > between, the clusters of a group with commas, each once`,
  [LOCALITY]: "prefer or off",
} as const;

function sharesOf(text: string): Map<string, number> | null {
  const shares = new Map<string, number>();
  for (const item of text.split(",")) {
    const [, cluster = "", weight = ""] = /^\s*([^=\s]+)\s*=\s*([0-9]{1,4})\s*$/.exec(item) ?? [];
    if (!CLUSTER.test(cluster) || shares.has(cluster) || Number(weight) > MAX_SHARE) return null;
    shares.set(cluster, Number(weight));
  }
  return shares;
}

/** Groups of clusters with > between, as ranks, lowest first; null: it is none. */
export function clusterGroups(text: string): Map<string, number> | null {
  const ranks = new Map<string, number>();
  const groups = text.split(">");
  if (groups.length > MAX_RANK) return null;
  for (const [rank, group] of groups.entries()) {
    for (const item of group.split(",")) {
      const cluster = item.trim();
      if (!CLUSTER.test(cluster) || ranks.has(cluster)) return null;
      ranks.set(cluster, rank);
    }
  }
  return ranks;
}

/**
 * What a cluster's row says: one that weights do not name gets nothing while another has peers, one that no group names is
 * last.
 * @param locality the fleet's own order, of clusters that are near
 */
export function placeOf(
  cluster: string,
  { shares, ranks, near }: ClusterOrder,
  locality: ReadonlyMap<string, number> | null = null,
): ClusterPlace {
  const order = ranks ?? (near ? locality : null);
  const last = order === null ? 0 : Math.max(...order.values()) + 1;
  const rank = order?.get(cluster) ?? last;
  return {
    ...(shares === null ? {} : { share: shares.get(cluster) ?? 0 }),
    ...(rank === 0 ? {} : { rank }),
  };
}
