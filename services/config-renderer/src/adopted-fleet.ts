import {
  type FleetValue,
  fleetKeys,
  type PeersRow,
  type TopologyPeers,
  type UpstreamRow,
} from "@sluice/contracts";
import { buildPeers, type ClusterPlace } from "@sluice/ingress";

interface Adopted {
  readonly row: UpstreamRow;
  /** Clusters that have a peers row, and what that says of them. */
  readonly clusters: Map<string, ClusterPlace>;
}

/**
 * The fleet as the table has it, for a renderer that starts while the hub is away: peers of upstreams that exist go on
 * being current. It adds no cluster to an upstream, because only the import says whose exports count.
 */
export class AdoptedFleet {
  readonly #fleet: string;
  readonly #upstreams = new Map<string, Adopted>();
  readonly #ofService = new Map<string, Set<string>>();
  /** Peers rows whose upstream has not been delivered yet. */
  readonly #orphans = new Map<string, Map<string, ClusterPlace>>();

  constructor(fleet: string) {
    this.#fleet = fleet;
  }

  /** @returns the service whose peers are to be built again, or null */
  note(key: string, row: FleetValue | undefined): string | null {
    const kind = key.split(".")[1];
    if (row === undefined) return null; // what is removed meanwhile is not ours to bring back; `forget` follows
    if (kind === "upstreams") {
      const upstream = row as UpstreamRow;
      const clusters =
        this.#upstreams.get(upstream.id)?.clusters ?? this.#orphans.get(upstream.id) ?? new Map();
      this.#orphans.delete(upstream.id);
      this.#upstreams.set(upstream.id, { row: upstream, clusters });
      const service = `${upstream.namespace}/${upstream.service}`;
      this.#ofService.set(service, (this.#ofService.get(service) ?? new Set()).add(upstream.id));
      return service;
    }
    if (kind !== "peers") return null;
    const { upstream: id, cluster, share, rank } = row as PeersRow;
    const place = { ...(share === undefined ? {} : { share }), ...(rank === undefined ? {} : { rank }) };
    const adopted = this.#upstreams.get(id);
    if (adopted === undefined) {
      this.#orphans.set(id, (this.#orphans.get(id) ?? new Map()).set(cluster, place));
      return null;
    }
    const known = adopted.clusters.has(cluster);
    adopted.clusters.set(cluster, place);
    if (known) return null;
    return `${adopted.row.namespace}/${adopted.row.service}`;
  }

  *peerRows(record: TopologyPeers): IterableIterator<[string, PeersRow]> {
    for (const id of this.#ofService.get(`${record.namespace}/${record.service}`) ?? []) {
      const adopted = this.#upstreams.get(id);
      const place = adopted?.clusters.get(record.cluster);
      if (adopted === undefined || place === undefined) continue;
      yield [fleetKeys.peers(this.#fleet, id, record.cluster), buildPeers(adopted.row, record, place)];
    }
  }

  forget(): void {
    this.#upstreams.clear();
    this.#ofService.clear();
    this.#orphans.clear();
  }
}
