import type { PeersRow, TopologyPeers, UpstreamRow } from "@sluice/contracts";

/** What a cluster is among those of its import. */
export type ClusterPlace = Pick<PeersRow, "share" | "rank">;

/**
 * One cluster's peers of one upstream: O(that service in that cluster). The row stays, empty, while the cluster has
 * a topology record: it goes only when that record goes or the import does not accept the cluster.
 */
export function buildPeers(
  upstream: UpstreamRow,
  { cluster, ports }: TopologyPeers,
  place: ClusterPlace,
): PeersRow {
  // A port may be called as something that every object has, such as constructor.
  const peers = Object.hasOwn(ports, upstream.port) ? (ports[upstream.port] ?? []) : [];
  return { upstream: upstream.id, cluster, ...place, peers };
}
