import {
  ConfigError,
  decode,
  fleetTable,
  PastFleet,
  PastTopology,
  type Redirect,
  type RouteRow,
  type TopologyPeers,
  type TopologyService,
  topologyTable,
  type UpstreamRow,
} from "@sluice/contracts";
import { columns } from "./columns.ts";
import { askGateway, gatewayAddress } from "./gateway.ts";
import {
  describeGap,
  moment,
  outputFormat,
  PAST_ANSWER_MS,
  place,
  serviceQuery,
  warn,
} from "./past-options.ts";

export interface GetOptions {
  readonly gateway?: string;
  readonly at?: string;
  readonly output: string;
}

const MOST_PEERS = 6;

/** `sluice get services|routes [NAME]`: what there is, or was at a moment. */
export async function getCommand(
  what: string,
  name: string | undefined,
  options: GetOptions,
): Promise<number> {
  const format = outputFormat(options.output, ["table", "json"]);
  if (what !== "services" && what !== "routes")
    throw new ConfigError(`get ${what}: write services or routes`);
  const gateway = gatewayAddress(options.gateway);
  const at = moment(options.at ?? "now") ?? "now";
  const topology = await askTopology(gateway, at, what === "services" ? name : undefined);
  for (const gap of topology.gaps) warn(describeGap(gap));
  if (options.at !== undefined) warn(`as of ${place(topology.place)}`);
  if (what === "services")
    return show(format, { at: topology.place, services: servicesOf(topology) }, serviceCells);
  // The same sequence: routes and peers of one moment.
  const fleet = await askFleet(gateway, `#${topology.place.seq}`);
  for (const gap of fleet.gaps) warn(describeGap(gap));
  const routes = routesOf(fleet, topology).filter(({ host }) => name === undefined || host === name);
  return show(format, { at: fleet.place, routes }, routeCells);
}

function askTopology(gateway: string, at: string, name: string | undefined): Promise<PastTopology> {
  const read = (answer: unknown, subject: string) => decode(PastTopology, answer, subject);
  const query = { at, ...serviceQuery(name) };
  return askGateway(gateway, read, { path: "/api/v1/topology", query, answerMs: PAST_ANSWER_MS });
}

function askFleet(gateway: string, at: string): Promise<PastFleet> {
  const read = (answer: unknown, subject: string) => decode(PastFleet, answer, subject);
  return askGateway(gateway, read, { path: "/api/v1/fleet", query: { at }, answerMs: PAST_ANSWER_MS });
}

interface ServiceLine {
  readonly namespace: string;
  readonly service: string;
  readonly ports: TopologyService["ports"];
  readonly clusters: Record<string, TopologyPeers["ports"]>;
}

function servicesOf({ rows }: PastTopology): ServiceLine[] {
  const found = new Map<string, { -readonly [K in keyof ServiceLine]: ServiceLine[K] }>();
  for (const { key, value } of rows) {
    const row = decode(topologyTable.schemaOf(key)!, value, key) as TopologyService | TopologyPeers;
    const { namespace, service } = row;
    const id = `${namespace}/${service}`;
    const line = found.get(id) ?? { namespace, service, ports: [], clusters: {} };
    if ("cluster" in row) line.clusters[row.cluster] = row.ports;
    else line.ports = row.ports;
    found.set(id, line);
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, line]) => line);
}

interface RouteLine {
  readonly fleet: string;
  readonly host: string;
  readonly type: string;
  readonly path: string;
  /** It is a regular expression. */
  readonly regex?: true;
  /** What peers are asked for instead. */
  readonly rewrite?: string;
  /** `<namespace>/<service>:<port>`; null: it redirects, or answers 503. */
  readonly service: string | null;
  readonly redirect?: Redirect;
  readonly problem?: string;
  /** Addresses by cluster. */
  readonly peers: Record<string, number>;
}

function routesOf({ fleets }: PastFleet, { rows }: PastTopology): RouteLine[] {
  const peers = new Map<string, TopologyPeers[]>();
  for (const { key, value } of rows) {
    const row = decode(topologyTable.schemaOf(key)!, value, key) as TopologyService | TopologyPeers;
    if (!("cluster" in row)) continue;
    const id = `${row.namespace}/${row.service}`;
    peers.set(id, [...(peers.get(id) ?? []), row]);
  }
  return fleets.flatMap(({ fleet, rows: fleetRows }) => {
    const read = (kind: string) =>
      fleetRows
        .filter(({ key }) => key.split(".")[1] === kind)
        .map(({ key, value }) => decode(fleetTable.schemaOf(key)!, value, key));
    const upstreams = new Map((read("upstreams") as UpstreamRow[]).map((row) => [row.id, row]));
    return (read("routes") as RouteRow[]).flatMap(({ host, paths }) =>
      paths.map(({ type, path, regex, rewrite, upstream, redirect, problem }) => {
        const to = upstream === null ? undefined : upstreams.get(upstream);
        const serving = to === undefined ? [] : (peers.get(`${to.namespace}/${to.service}`) ?? []);
        return {
          fleet,
          host,
          type,
          path,
          ...(regex === undefined ? {} : { regex }),
          ...(rewrite === undefined ? {} : { rewrite }),
          service:
            to === undefined ? null : `${to.namespace}/${to.service}${to.port === "" ? "" : `:${to.port}`}`,
          ...(redirect === undefined ? {} : { redirect }),
          ...(problem === undefined ? {} : { problem }),
          peers: Object.fromEntries(
            serving.map(({ cluster, ports }) => [cluster, (ports[to?.port ?? ""] ?? []).length]),
          ),
        };
      }),
    );
  });
}

function serviceCells(lines: readonly ServiceLine[]): string[][] {
  const rows = lines.flatMap(({ namespace, service, ports, clusters }) => {
    const port = ports.map((p) => `${p.name === "" ? "" : `${p.name}:`}${p.port}/${p.protocol}`).join(",");
    const each = Object.entries(clusters).sort(([a], [b]) => (a < b ? -1 : 1));
    if (each.length === 0) return [[namespace, service, port, "", "0", ""]];
    return each.map(([cluster, byPort], i) => {
      const all = [...new Set(Object.values(byPort).flatMap((peers) => peers.map(({ address }) => address)))];
      const named = all.slice(0, MOST_PEERS).join(" ");
      const more = all.length > MOST_PEERS ? ` and ${all.length - MOST_PEERS} more` : "";
      const first = i === 0 ? [namespace, service, port] : ["", "", ""];
      return [...first, cluster, String(all.length), `${named}${more}`];
    });
  });
  return [["NAMESPACE", "NAME", "PORTS", "CLUSTER", "PEERS", "ADDRESSES"], ...rows];
}

function targetOf({ service, redirect, rewrite, problem }: RouteLine): string {
  if (redirect !== undefined) return `${redirect.code}: ${redirect.to}`;
  if (service === null) return `503: ${problem ?? "no backend"}`;
  return rewrite === undefined ? service : `${service} as ${rewrite}`;
}

function routeCells(lines: readonly RouteLine[]): string[][] {
  const rows = lines.map((line) => [
    line.fleet,
    line.host === "" ? "(any)" : line.host,
    line.regex === true ? "Regex" : line.type,
    line.path,
    targetOf(line),
    Object.entries(line.peers)
      .map(([cluster, count]) => `${cluster}:${count}`)
      .join(" "),
  ]);
  return [["FLEET", "HOST", "TYPE", "PATH", "SERVICE", "PEERS"], ...rows];
}

/** Prints the one list that an answer holds beside its moment. */
function show<L>(
  format: "table" | "json",
  answer: { readonly at: unknown } & Readonly<Record<string, unknown>>,
  cells: (lines: readonly L[]) => string[][],
): number {
  const lines = Object.values(answer).find(Array.isArray) as readonly L[];
  if (format === "json") process.stdout.write(`${JSON.stringify(answer, null, 2)}\n`);
  else if (lines.length === 0) warn("there is nothing");
  else for (const line of columns(cells(lines))) process.stdout.write(`${line}\n`);
  return 0;
}
