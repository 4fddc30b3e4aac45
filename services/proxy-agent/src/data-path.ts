import type { ProxyRecord } from "@sluice/contracts";
import type { NginxHold } from "./nginx-client.ts";
import type { PeerEntry } from "./nginx-row.ts";

export type ClusterVerdict = NonNullable<ProxyRecord["clusters"]>[number];

/** The peers that nginx has of one cluster, one entry an upstream. */
export type ClusterPeers = Iterable<{ readonly upstream: string; readonly peers: readonly PeerEntry[] }>;

/**
 * What this proxy has learnt of each cluster by sending requests there: dead once every peer of it that may be asked
 * is on hold, alive again once one has answered. A hold whose time is over still counts: nobody has answered yet.
 */
export class DataPath {
  #verdicts = new Map<string, ClusterVerdict>();

  get verdicts(): ClusterVerdict[] {
    return [...this.#verdicts.values()];
  }

  /**
   * @param now ms since 1970
   * @returns verdicts that are other than before; that a cluster which was not known lives is none
   */
  judge(
    peersOf: ReadonlyMap<string, ClusterPeers>,
    holds: readonly NginxHold[],
    now: number,
  ): ClusterVerdict[] {
    const held = new Map<string, Set<string>>();
    for (const { cluster, upstream, peer } of holds) {
      const names = held.get(cluster) ?? new Set();
      held.set(cluster, names.add(`${upstream}|${peer}`));
    }
    const before = this.#verdicts;
    this.#verdicts = new Map();
    for (const [cluster, lists] of peersOf) {
      const names = held.get(cluster);
      const verdict = names !== undefined && allHeld(lists, names) ? "dead" : "alive";
      const known = before.get(cluster);
      const same = known !== undefined && known.verdict === verdict;
      this.#verdicts.set(cluster, same ? known : { cluster, verdict, since: now });
    }
    return this.verdicts.filter(
      ({ cluster, verdict }) => (before.get(cluster)?.verdict ?? "alive") !== verdict,
    );
  }
}

/** Ends at the first peer that is not: a cluster that lives costs one look. */
function allHeld(lists: ClusterPeers, held: ReadonlySet<string>): boolean {
  let asked = 0;
  for (const { upstream, peers } of lists) {
    const whole = held.has(`${upstream}|`);
    for (const [address, port, , draining] of peers) {
      // Nothing new is sent to one that drains, so nothing is learnt of it.
      if (draining === 1) continue;
      asked += 1;
      const host = address.includes(":") ? `[${address}]` : address;
      if (!whole && !held.has(`${upstream}|${host}:${port}`)) return false;
    }
  }
  return asked > 0;
}
