import type { TopologyPeers, TopologyService } from "@sluice/contracts";
import type { Getting, Got } from "./get-command.ts";
import { shortened } from "./shortened.ts";
import { askTopology, type TopologyRows } from "./table-rows.ts";

const MOST_PEERS = 6;

interface ServiceLine {
  readonly namespace: string;
  readonly service: string;
  readonly ports: TopologyService["ports"];
  readonly clusters: Record<string, TopologyPeers["ports"]>;
}

/** Services with their peers by cluster. */
export async function getServices({ gateway, at, name, wide }: Getting): Promise<Got> {
  const topology = await askTopology(gateway, at, name);
  const services = servicesOf(topology);
  return { ...topology, answer: { services }, tables: [{ rows: cells(services, wide) }] };
}

function servicesOf({ services, peers }: TopologyRows): ServiceLine[] {
  const found = new Map<string, { -readonly [K in keyof ServiceLine]: ServiceLine[K] }>();
  for (const row of [...services, ...peers]) {
    const { namespace, service } = row;
    const id = `${namespace}/${service}`;
    const line = found.get(id) ?? { namespace, service, ports: [], clusters: {} };
    if ("cluster" in row) line.clusters[row.cluster] = row.ports;
    else line.ports = row.ports;
    found.set(id, line);
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, line]) => line);
}

function cells(lines: readonly ServiceLine[], wide: boolean): string[][] {
  const rows = lines.flatMap(({ namespace, service, ports, clusters }) => {
    const port = ports.map((p) => `${p.name === "" ? "" : `${p.name}:`}${p.port}/${p.protocol}`).join(",");
    const each = Object.entries(clusters).sort(([a], [b]) => (a < b ? -1 : 1));
    if (each.length === 0) return [[namespace, service, port, "", "0", ""]];
    return each.map(([cluster, byPort], i) => {
      const all = [...new Set(Object.values(byPort).flatMap((peers) => peers.map(({ address }) => address)))];
      const addresses = shortened(all, wide ? all.length : MOST_PEERS, " ");
      const first = i === 0 ? [namespace, service, port] : ["", "", ""];
      return [...first, cluster, String(all.length), addresses];
    });
  });
  return [["NAMESPACE", "NAME", "PORTS", "CLUSTER", "PEERS", "ADDRESSES"], ...rows];
}
