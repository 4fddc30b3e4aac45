import { type AddressVerdict, type ClusterRecord, peerFilter } from "@sluice/contracts";

type Filter = (address: string) => AddressVerdict;

/** Which addresses each cluster may have as peers: what its Nodes say and what a person gave with `--peers`. */
export class AllowedPeers {
  readonly #fromFlags: ReadonlyMap<string, readonly string[]>;
  readonly #refused: readonly string[];
  readonly #filters = new Map<string, Filter>();
  readonly #fromNodes = new Map<string, string>();

  constructor(fromFlags: ReadonlyMap<string, readonly string[]>, refused: readonly string[]) {
    this.#fromFlags = fromFlags;
    this.#refused = refused;
  }

  filter(cluster: string): Filter {
    let filter = this.#filters.get(cluster);
    if (filter === undefined) {
      filter = this.#compile(cluster, []);
      this.#filters.set(cluster, filter);
    }
    return filter;
  }

  /** Whether a cluster's rules are known: a person gave them, or its watcher has told of its Nodes, be there none. */
  knows(cluster: string): boolean {
    return this.#fromFlags.has(cluster) || this.#fromNodes.has(cluster);
  }

  /** @returns true when the cluster's rules are other than before; a watcher that does not know yet changes nothing */
  learn({ cluster, nodeCidrs }: Pick<ClusterRecord, "cluster" | "nodeCidrs">): boolean {
    if (nodeCidrs === undefined) return false;
    const nodes = nodeCidrs.join();
    if (this.#fromNodes.get(cluster) === nodes) return false;
    this.#fromNodes.set(cluster, nodes);
    this.#filters.set(cluster, this.#compile(cluster, nodeCidrs));
    return true;
  }

  #compile(cluster: string, fromNodes: readonly string[]): Filter {
    const fromFlags = this.#fromFlags.get(cluster) ?? [];
    return peerFilter({ fromNodes, fromFlags, refused: this.#refused });
  }
}
