import {
  decodeToken,
  type FleetCluster,
  fleetKeys,
  type PeersRow,
  plainKeys,
  type RouteRow,
  type UpstreamRow,
} from "@sluice/contracts";
import type { GatewayState } from "./gateway-state.ts";

/** An import that only one cluster serves. */
export interface LastServed {
  /** `namespace/name` of the import. */
  readonly service: string;
  /** Hosts that lead to it, sorted; `*` where a route names none. */
  readonly hosts: readonly string[];
}

/**
 * Imports that nobody serves once this cluster is out: it has peers of them, and every other cluster that has some is
 * drained, unjoined or down. By what proxies are given, so that what an import leaves out does not count.
 */
export function lastServedBy(state: GatewayState, cluster: string): LastServed[] {
  const out = new Map<string, boolean>();
  const isOut = (fleet: string, of: string) => {
    const id = `${fleet} ${of}`;
    const known = out.get(id) ?? judgeOut(state, fleet, of);
    out.set(id, known);
    return known;
  };
  const serving = new Map<string, Set<string>>();
  for (const [key, row] of state.fleet) {
    const [fleet = "", kind] = key.split(".");
    if (kind !== "peers") continue;
    const { upstream, cluster: of, peers } = row as PeersRow;
    if (peers.length === 0 || (of !== cluster && isOut(fleet, of))) continue;
    const id = `${fleet} ${upstream}`;
    const clusters = serving.get(id);
    if (clusters === undefined) serving.set(id, new Set([of]));
    else clusters.add(of);
  }
  const alone = new Set(
    [...serving].filter(([, clusters]) => clusters.size === 1 && clusters.has(cluster)).map(([id]) => id),
  );
  if (alone.size === 0) return [];
  const hosts = hostsOf(state, alone);
  const found = new Map<string, Set<string>>();
  for (const id of alone) {
    const [fleet = "", upstream = ""] = id.split(" ");
    const row = state.fleet.get(`${fleet}.upstreams.${upstream}`) as UpstreamRow | undefined;
    if (row === undefined) continue;
    const service = `${row.namespace}/${row.service}`;
    found.set(service, new Set([...(found.get(service) ?? []), ...(hosts.get(id) ?? [])]));
  }
  return [...found]
    .map(([service, of]) => ({ service, hosts: [...of].sort() }))
    .sort((a, b) => (a.service < b.service ? -1 : 1));
}

function judgeOut(state: GatewayState, fleet: string, cluster: string): boolean {
  const ordered = ["drain", "unjoin"].some((verb) => state.intents.has(plainKeys.intent(verb, cluster)));
  if (ordered) return true;
  const row = state.fleet.get(fleetKeys.cluster(decodeToken(fleet) ?? fleet, cluster));
  return (row as FleetCluster | undefined)?.state === "down";
}

/** @param upstreams `<fleet> <upstream>` */
function hostsOf(state: GatewayState, upstreams: ReadonlySet<string>): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const [key, row] of state.fleet) {
    const [fleet = "", kind] = key.split(".");
    if (kind !== "routes") continue;
    const { host, paths } = row as RouteRow;
    for (const each of paths.flatMap(({ upstream, spare }) => [upstream, spare])) {
      const id = `${fleet} ${each}`;
      if (!upstreams.has(id)) continue;
      const hosts = found.get(id);
      if (hosts === undefined) found.set(id, [host === "" ? "*" : host]);
      else hosts.push(host === "" ? "*" : host);
    }
  }
  return found;
}
