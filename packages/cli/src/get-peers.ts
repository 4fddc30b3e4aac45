import type { FleetCluster, Peer, StatusProxy, UpstreamRow } from "@sluice/contracts";
import { ago, type Getting, type Got } from "./get-command.ts";
import { holdWords } from "./hold-words.ts";
import { serviceQuery } from "./past-options.ts";
import { checkWords } from "./policy-words.ts";
import { shortened } from "./shortened.ts";
import { fetchStatus } from "./status-command.ts";
import { askFleets, type FleetRows } from "./table-rows.ts";

interface PeerLine {
  readonly fleet: string;
  readonly namespace: string;
  readonly service: string;
  readonly port: string;
  readonly cluster: string;
  readonly peer: string;
  /** out: every proxy that says so holds it; of several it may be out at some. */
  readonly state: "ok" | "draining" | "out" | FleetCluster["state"];
  /** Proxies that hold it out, why, and until when they do, ms since 1970. */
  readonly out: readonly {
    readonly proxy: string;
    readonly by: "checks" | "requests";
    readonly until: number;
  }[];
  /** How it is asked whether it serves; absent: nobody asks. */
  readonly check?: string;
}

/** Peers as proxies find them. @param name `namespace/service`, or a service in any namespace */
export async function getPeers({ gateway, name, wide }: Getting): Promise<Got> {
  const { namespace, service } = serviceQuery(name);
  const { told, fleets } = await askFleets(gateway, undefined, ["upstreams", "peers", "clusters"]);
  const status = await fetchStatus(gateway);
  const lines = fleets
    .flatMap((rows) => peersOf(rows, status.proxies))
    .filter((line) => namespace === undefined || line.namespace === namespace)
    .filter((line) => service === undefined || line.service === service);
  const tables = [
    { rows: cells(lines, told.at, wide) },
    { title: "What proxies find of clusters", rows: verdictCells(status.proxies) },
  ];
  return { told, gaps: [], answer: { peers: lines }, tables };
}

export function peersOf(rows: FleetRows, proxies: readonly StatusProxy[]): PeerLine[] {
  const states = new Map(rows.all("clusters").map(({ cluster, state }) => [cluster, state]));
  const upstreams = new Map(rows.all("upstreams").map((row) => [row.id, row]));
  const holds = holdsOf(proxies.filter(({ fleet }) => fleet === rows.fleet));
  const count = proxies.filter(({ fleet, state }) => fleet === rows.fleet && state !== "silent").length;
  return rows.all("peers").flatMap(({ upstream, cluster, peers }) => {
    const of = upstreams.get(upstream);
    if (of === undefined) return [];
    return peers.map((peer) => {
      const address = addressOf(peer);
      const out = [upstream, ""].flatMap((id) =>
        [address, "*"].flatMap((each) => holds.get(keyOf(id, cluster, each)) ?? []),
      );
      return lineOf(of, { fleet: rows.fleet, cluster, peer, address, out, count, of: states.get(cluster) });
    });
  });
}

interface Found {
  readonly fleet: string;
  readonly cluster: string;
  readonly peer: Peer;
  readonly address: string;
  readonly out: PeerLine["out"];
  /** Proxies that are heard of. */
  readonly count: number;
  /** What the fleet makes of its cluster. */
  readonly of: FleetCluster["state"] | undefined;
}

function lineOf({ namespace, service, port, check }: UpstreamRow, found: Found): PeerLine {
  const { fleet, cluster, peer, address, out, count, of } = found;
  const everywhere = out.length > 0 && new Set(out.map(({ proxy }) => proxy)).size >= count;
  const own = everywhere ? "out" : peer.draining === true ? "draining" : "ok";
  return {
    fleet,
    namespace,
    service,
    port,
    cluster,
    peer: address,
    state: of === undefined || of === "ok" || of === "stale" ? own : of,
    out,
    ...(check === undefined ? {} : { check: checkWords(check) }),
  };
}

const keyOf = (...names: readonly string[]) => JSON.stringify(names);

/** What proxies hold out, by upstream, cluster and peer. Older ones do not name the upstream. */
function holdsOf(proxies: readonly StatusProxy[]): Map<string, PeerLine["out"][number][]> {
  const found = new Map<string, PeerLine["out"][number][]>();
  for (const { proxy, ejected } of proxies) {
    for (const { upstream, cluster, peer, until, by = "requests" } of ejected) {
      const key = keyOf(upstream ?? "", cluster, peer);
      found.set(key, [...(found.get(key) ?? []), { proxy, by, until }]);
    }
  }
  return found;
}

/** As nginx writes it. */
function addressOf({ address, port }: Peer): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

const order = ["down", "out", "drained", "draining", "stale", "ok"];

/** Services, by fleet, of which no peer is sound: no failure empties an upstream, so proxies ask them all. */
function inPanic(lines: readonly PeerLine[]): ReadonlySet<string> {
  const sound = new Set(lines.filter(({ state }) => state !== "out" && state !== "down").map(upstreamOf));
  return new Set(lines.map(upstreamOf).filter((name) => !sound.has(name)));
}

function upstreamOf({ fleet, namespace, service, port }: PeerLine): string {
  return keyOf(fleet, namespace, service, port);
}

function cells(lines: readonly PeerLine[], now: number, wide: boolean): string[][] {
  const panic = inPanic(lines);
  const rank = ({ state, out }: PeerLine) => order.indexOf(state) - (out.length > 0 ? 0.5 : 0);
  const named = (line: PeerLine) => `${line.fleet} ${line.namespace}/${line.service} ${line.cluster}`;
  const sorted = lines.toSorted(
    (a, b) => rank(a) - rank(b) || (named(a) < named(b) ? -1 : named(a) > named(b) ? 1 : 0),
  );
  return [
    ["FLEET", "SERVICE", "CLUSTER", "PEER", "STATE", "CHECK", "NOTE"],
    ...sorted.map((line) => [
      line.fleet,
      `${line.namespace}/${line.service}${line.port === "" ? "" : `:${line.port}`}`,
      line.cluster,
      line.peer,
      line.state,
      line.check ?? "",
      [
        panic.has(upstreamOf(line)) ? "asked all the same, for none is sound" : "",
        outWords(line.out, now, wide),
      ]
        .filter((words) => words !== "")
        .join("; "),
    ]),
  ];
}

const MOST_PROXIES = 3;

/** `out at a (misses its checks), b (requests failed; tried again in 4 s)` */
function outWords(out: PeerLine["out"], now: number, wide: boolean): string {
  if (out.length === 0) return "";
  const words = out.map(({ proxy, by, until }) => {
    const hold = holdWords(by, until, now);
    return `${proxy} (${by === "checks" ? hold.because : `${hold.because}; ${hold.until}`})`;
  });
  return `out at ${shortened(words, wide ? words.length : MOST_PROXIES, ", ")}`;
}

function verdictCells(proxies: readonly StatusProxy[]): string[][] {
  const rows = proxies.flatMap(({ fleet, proxy, clusters = [] }) =>
    clusters.map(({ cluster, verdict, sinceMsAgo }) => [fleet, proxy, cluster, verdict, ago(sinceMsAgo)]),
  );
  return [["FLEET", "PROXY", "CLUSTER", "VERDICT", "SINCE"], ...rows];
}
