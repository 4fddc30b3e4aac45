import type { Canary, ProfileRow, RoutePath, RouteRow, TopologyPeers, UpstreamRow } from "@sluice/contracts";
import type { Getting, Got } from "./get-command.ts";
import { canaryWords, type Names, namesOf, policiesOf } from "./policy-words.ts";
import { askFleets, askTopology, type FleetRows, type TopologyRows } from "./table-rows.ts";

/** `<namespace>/<service>[:<port>]` and its addresses by cluster. */
interface Target {
  readonly service: string | null;
  readonly peers: Readonly<Record<string, number>>;
}

interface Owner {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

interface RouteLine extends Target {
  readonly fleet: string;
  readonly host: string;
  readonly type: string;
  readonly path: string;
  /** It is a regular expression. */
  readonly regex?: true;
  /** What peers are asked for instead. */
  readonly rewrite?: string;
  readonly redirect?: NonNullable<RoutePath["redirect"]>;
  readonly problem?: string;
  /** Who is asked where `service` has no peers. */
  readonly spare?: string;
  /** The object that asked for it. */
  readonly object: Owner;
  /** Another service that gets some of the requests. */
  readonly canary?: Target & { readonly takes: string; readonly object?: Owner };
  /** The Secret whose certificate the host is shown; null: the fleet's default one. */
  readonly certificate: string | null;
  /** Of each policy in force its name and what it says. */
  readonly policies: readonly { readonly key: string; readonly text: string }[];
}

/** Clusters by fleet that are not ok, and what they are. */
type States = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** Routes with what holds for their requests. @param name a host */
export async function getRoutes({ gateway, at, name, wide }: Getting): Promise<Got> {
  const topology = await askTopology(gateway, at);
  const { told } = topology;
  // The same sequence: routes and peers of one moment.
  const then = told.seq === undefined ? undefined : `#${told.seq}`;
  const asked = ["routes", "upstreams", "profiles", "clusters", "secrets"] as const;
  const { fleets, gaps } = await askFleets(gateway, then, asked);
  const routes = routesOf(fleets, topology).filter(({ host }) => name === undefined || host === name);
  const tables = [{ rows: cells(routes, statesOf(fleets), wide) }];
  return { told, gaps: [...topology.gaps, ...gaps], answer: { routes }, tables };
}

function statesOf(fleets: readonly FleetRows[]): States {
  return new Map(
    fleets.map((rows) => {
      const bad = rows.all("clusters").filter(({ state }) => state !== "ok");
      return [rows.fleet, new Map(bad.map(({ cluster, state }) => [cluster, state]))];
    }),
  );
}

export function routesOf(fleets: readonly FleetRows[], { peers }: TopologyRows): RouteLine[] {
  const serving = new Map<string, TopologyPeers[]>();
  for (const row of peers) {
    const id = `${row.namespace}/${row.service}`;
    serving.set(id, [...(serving.get(id) ?? []), row]);
  }
  return fleets.flatMap((rows) => new FleetRoutes(rows, serving).lines());
}

/** Rows of one fleet that a route refers to. */
class FleetRoutes {
  readonly #rows: FleetRows;
  readonly #serving: ReadonlyMap<string, readonly TopologyPeers[]>;
  readonly #upstreams: ReadonlyMap<string, UpstreamRow>;
  readonly #profiles: ReadonlyMap<string, ProfileRow>;
  readonly #names: Names;

  constructor(rows: FleetRows, serving: ReadonlyMap<string, readonly TopologyPeers[]>) {
    this.#rows = rows;
    this.#serving = serving;
    this.#upstreams = new Map(rows.all("upstreams").map((row) => [row.id, row]));
    this.#profiles = new Map(rows.all("profiles").map((row) => [row.hash, row]));
    this.#names = namesOf(rows.all("secrets"));
  }

  lines(): RouteLine[] {
    return this.#rows.all("routes").flatMap((row) => row.paths.map((path) => this.#line(row, path)));
  }

  #line({ host, certificate }: RouteRow, path: RoutePath): RouteLine {
    const { type, regex, rewrite, redirect, problem, spare, canary, source } = path;
    return {
      fleet: this.#rows.fleet,
      host,
      type,
      path: path.path,
      ...(regex === undefined ? {} : { regex }),
      ...(rewrite === undefined ? {} : { rewrite }),
      ...this.#target(path.upstream),
      ...(redirect === undefined ? {} : { redirect }),
      ...(problem === undefined ? {} : { problem }),
      ...(spare === undefined ? {} : { spare: this.#service(spare) }),
      object: source,
      ...(canary === undefined ? {} : { canary: this.#canary(canary) }),
      certificate: certificate === undefined ? null : this.#names.secret(certificate),
      policies: policiesOf(path, this.#profiles.get(path.profile), this.#names),
    };
  }

  #canary(canary: Canary): NonNullable<RouteLine["canary"]> {
    const { source: object } = canary;
    return {
      ...this.#target(canary.upstream),
      takes: canaryWords(canary),
      ...(object === undefined ? {} : { object }),
    };
  }

  #service(id: string): string {
    const to = this.#upstreams.get(id);
    return to === undefined ? id : `${to.namespace}/${to.service}${to.port === "" ? "" : `:${to.port}`}`;
  }

  #target(id: string | null): Target {
    const to = id === null ? undefined : this.#upstreams.get(id);
    if (id === null || to === undefined) return { service: null, peers: {} };
    const serving = this.#serving.get(`${to.namespace}/${to.service}`) ?? [];
    const counts = serving.map(({ cluster, ports }) => [cluster, (ports[to.port] ?? []).length] as const);
    return { service: this.#service(id), peers: Object.fromEntries(counts) };
  }
}

function targetOf({ service, redirect }: RouteLine): string {
  if (redirect !== undefined) return `${redirect.code}: ${redirect.to}`;
  return service ?? "503";
}

function cells(lines: readonly RouteLine[], states: States, wide: boolean): string[][] {
  const rows = lines.flatMap((line) => {
    const { fleet, host, canary, policies } = line;
    const peers = (of: Target) =>
      Object.entries(of.peers)
        .map(([cluster, count]) => {
          const state = states.get(fleet)?.get(cluster);
          return `${cluster}:${count}${state === undefined ? "" : ` (${state})`}`;
        })
        .join(" ");
    const own = [
      fleet,
      host === "" ? "(any)" : host,
      line.regex === true ? "Regex" : line.type,
      line.path,
      targetOf(line),
      peers(line),
    ];
    const all = wide ? policies.map(({ text }) => text).join("; ") : policies.map(({ key }) => key).join(" ");
    const { problem } = line;
    const held = [
      ...(wide ? [objectWords(line.object), line.certificate ?? ""] : []),
      problem === undefined ? all : `${problem}${all === "" ? "" : `; ${all}`}`,
    ];
    if (canary === undefined) return [[...own, ...held]];
    const side = ["", "", "canary", canary.takes, canary.service ?? "", peers(canary)];
    const whose = wide ? [canary.object === undefined ? "" : objectWords(canary.object), "", ""] : [""];
    return [
      [...own, ...held],
      [...side, ...whose],
    ];
  });
  const head = ["FLEET", "HOST", "TYPE", "PATH", "SERVICE", "PEERS"];
  return [[...head, ...(wide ? ["OBJECT", "CERTIFICATE"] : []), "POLICIES, PROBLEM"], ...rows];
}

function objectWords({ namespace, name }: Owner): string {
  return `${namespace}/${name}`;
}
