import type { PeersRow, TopologyPeers, UpstreamRow } from "@sluice/contracts";

/**
 * One cluster's peers of one upstream: O(that service in that cluster). The row stays, empty, while the cluster has
 * a topology record: it goes only when that record goes or the import does not accept the cluster.
 */
export function buildPeers(upstream: UpstreamRow, record: TopologyPeers): PeersRow {
  return { upstream: upstream.id, cluster: record.cluster, peers: record.ports[upstream.port] ?? [] };
}
