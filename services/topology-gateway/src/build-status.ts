import {
  CLUSTER_STALE_AFTER_MS,
  type ClusterRecord,
  type ClusterSeen,
  decodeToken,
  type Finding,
  type FleetCluster,
  fleetKeys,
  type IntentRecord,
  orderOf,
  type ProxyRecord,
  type RouteRow,
  roles,
  type Status,
  type StatusCluster,
  type StatusComponent,
  type StatusOrder,
  type StatusProxy,
  type StatusRouteProblem,
  type StatusService,
  saidBy,
  type TopologyPeers,
  type UpstreamRow,
  unreachableFor,
} from "@sluice/contracts";
import type { GatewayState } from "./gateway-state.ts";
import { proxyFindings } from "./proxy-findings.ts";
import { rolloutsOf } from "./rollout-status.ts";
import { MEMBER_LIVE_MS, memberFindings, orderFindings } from "./state-findings.ts";
import { workFindings, workOf } from "./work-status.ts";

/** Characters of somebody else's error that a line of status shows. */
const MAX_ERROR = 120;
/** Behind a route that leads to a service for some of its requests. */
const CANARY = " (canary)";
/** A proxy writes its record at most once a second, and at least every few. */
const PROXY_SILENT_MS = 15_000;

export interface StatusOptions {
  /** Roles that should have a live process. */
  readonly expectedRoles: readonly string[];
}

/** Same state and time in, same status out: what is wrong, and everything sorted worst first. */
export function buildStatus(state: GatewayState, options: StatusOptions, now: number): Status {
  const components = componentsOf(state, options, now);
  const work = workOf(state, now);
  const clusters = clustersOf(state, now);
  const orders = ordersOf(state);
  const { routes, routesOf } = routesIn(state);
  const services = servicesOf(state, routesOf);
  const proxies = proxiesOf(state, now);
  const missing = components.filter((c) => c.state === "missing").map((c) => c.role);
  if (!state.connected) missing.unshift("nats");
  if (proxies.some((p) => p.state === "down")) missing.push("nginx");
  const status = {
    at: now,
    missing,
    bus: { connected: state.connected },
    components,
    work,
    clusters,
    orders,
    services,
    routes,
    proxies,
    rollouts: rolloutsOf(state),
  };
  const others = [
    ...proxyFindings(state, proxies),
    ...memberFindings(state, now),
    ...orderFindings(state, now),
    ...workFindings(work),
  ];
  return { ...status, findings: worstFirst([...findingsOf(status), ...others]) };
}

function componentsOf(state: GatewayState, options: StatusOptions, now: number): StatusComponent[] {
  const live = new Map<string, number>();
  for (const { record, heardAt } of state.members.values()) {
    if (now - heardAt <= MEMBER_LIVE_MS) live.set(record.role, (live.get(record.role) ?? 0) + 1);
  }
  const known = new Set([...options.expectedRoles, ...live.keys()]);
  const order = (role: string) => (roles as readonly string[]).indexOf(role);
  return [...known]
    .sort((a, b) => order(a) - order(b) || compare(a, b))
    .map((role) => {
      const count = live.get(role) ?? 0;
      // With the bus away nobody can say that he lives; nor where it takes no heartbeat, not even this process's.
      const silent = state.connected && live.size > 0 ? "missing" : "unknown";
      return { role, live: count, state: count > 0 ? "ok" : silent };
    });
}

function clustersOf(state: GatewayState, now: number): StatusCluster[] {
  const addresses = new Map<string, number>();
  for (const record of state.peers.values()) {
    addresses.set(record.cluster, (addresses.get(record.cluster) ?? 0) + countPeers(record).peers);
  }
  const allowed = new Map<string, readonly string[]>();
  const down = new Map<string, string>();
  for (const [key, row] of state.fleet) {
    if (key.split(".")[1] !== "clusters") continue;
    const { cluster, allowed: cidrs, state: said, reason } = row as FleetCluster;
    allowed.set(cluster, cidrs);
    if (said === "down") down.set(cluster, reason ?? "no peer of it answers");
  }
  const clusters = [...state.clusters.values()].map((seen): StatusCluster => {
    const { record } = seen;
    const drain = orderOf(state.intents, "drain", record.cluster);
    const dead = down.get(record.cluster);
    const judged: Pick<StatusCluster, "state" | "reason"> =
      drain !== undefined
        ? { state: "drained", reason: whyDrained(drain) }
        : dead !== undefined
          ? { state: "down", reason: dead }
          : judgeCluster(seen, state.awaySince, now);
    return {
      cluster: record.cluster,
      ...judged,
      heardMsAgo: Math.max(0, Math.round(now - seen.heardAt)),
      ...(record.kubernetesVersion === undefined ? {} : { kubernetesVersion: record.kubernetesVersion }),
      // Of an API that does not answer this is the consequence, one error a kind.
      waiting: judged.state === "unreachable" ? [] : [...record.waiting],
      exports: record.exports,
      ...(record.held === undefined ? {} : { held: heldOf(record.held) }),
      peers: addresses.get(record.cluster) ?? 0,
      allowed: allowed.has(record.cluster) ? [...(allowed.get(record.cluster) ?? [])] : null,
    };
  });
  const worst = { down: 0, unreachable: 1, stale: 2, drained: 3, ok: 4 };
  return clusters.sort(
    (a, b) =>
      worst[a.state] - worst[b.state] ||
      Number(b.waiting.length > 0) - Number(a.waiting.length > 0) ||
      compare(a.cluster, b.cluster),
  );
}

function whyDrained(drain: IntentRecord): string {
  return `${saidBy(drain)}, since ${new Date(drain.at).toISOString()}${drain.force === true ? ", forced" : ""}`;
}

function heldOf({
  peers,
  of,
  until,
}: NonNullable<ClusterRecord["held"]>): NonNullable<StatusCluster["held"]> {
  return { peers, of, until };
}

function judgeCluster(
  seen: ClusterSeen,
  awaySince: number | null,
  now: number,
): Pick<StatusCluster, "state" | "reason"> {
  // While the bus is away silence says nothing: judged as of the moment when it went.
  const silentMs = (awaySince ?? now) - seen.heardAt;
  if (silentMs > CLUSTER_STALE_AFTER_MS) {
    return { state: "stale", reason: `nothing heard from its member-watcher for ${seconds(silentMs)}` };
  }
  const unreachableMs = unreachableFor(seen, now);
  if (unreachableMs === null) return { state: "ok" };
  const why = seen.record.api.error === undefined ? "" : `: ${seen.record.api.error.slice(0, MAX_ERROR)}`;
  return { state: "unreachable", reason: `its API does not answer for ${seconds(unreachableMs)}${why}` };
}

function countPeers(record: TopologyPeers): { peers: number; draining: number } {
  const draining = new Map<string, boolean>();
  for (const peers of Object.values(record.ports)) {
    for (const peer of peers) {
      draining.set(peer.address, (draining.get(peer.address) ?? true) && peer.draining === true);
    }
  }
  return { peers: draining.size, draining: [...draining.values()].filter(Boolean).length };
}

function servicesOf(state: GatewayState, routesOf: ReadonlyMap<string, string[]>): StatusService[] {
  const clusters = new Map<string, StatusService["clusters"]>();
  for (const record of state.peers.values()) {
    const service = `${record.namespace}/${record.service}`;
    const listed = clusters.get(service) ?? [];
    listed.push({ cluster: record.cluster, ...countPeers(record) });
    clusters.set(service, listed);
  }
  const services = [...state.services.values()].map((service): StatusService => {
    const { namespace, service: name, ports, conflicts } = service;
    const listed = clusters.get(`${namespace}/${name}`) ?? [];
    // A cluster that exports and has no peer is what a person looks for first.
    for (const cluster of service.clusters) {
      if (!listed.some((c) => c.cluster === cluster)) listed.push({ cluster, peers: 0, draining: 0 });
    }
    return {
      namespace,
      service: name,
      derived: `derived-${name}`,
      ports: ports.map((port) => ({ name: port.name, port: port.port, protocol: port.protocol })),
      clusters: listed.sort((a, b) => compare(a.cluster, b.cluster)),
      peers: listed.reduce((sum, c) => sum + c.peers, 0),
      conflicts: [...conflicts],
      routes: (routesOf.get(`${namespace}/${name}`) ?? []).sort(),
    };
  });
  const badness = (s: StatusService) => (s.peers === 0 ? 0 : s.conflicts.length > 0 ? 1 : 2);
  return services.sort(
    (a, b) => badness(a) - badness(b) || compare(a.namespace, b.namespace) || compare(a.service, b.service),
  );
}

function routesIn(state: GatewayState): {
  routes: Status["routes"];
  routesOf: ReadonlyMap<string, string[]>;
} {
  const problems: StatusRouteProblem[] = [];
  const routesOf = new Map<string, string[]>();
  let hosts = 0;
  let paths = 0;
  for (const [key, row] of state.fleet) {
    const [fleet = "", kind] = key.split(".");
    if (kind !== "routes") continue;
    hosts += 1;
    const { host, paths: listed } = row as RouteRow;
    for (const path of listed) {
      paths += 1;
      if (path.problem !== undefined) {
        const { namespace, name, kind: source } = path.source;
        problems.push({
          fleet: decodeToken(fleet) ?? fleet,
          host,
          path: path.path,
          problem: path.problem,
          source: { kind: source, namespace, name },
        });
      }
      const leads = (id: string | null | undefined, how: string) => {
        if (id == null) return;
        const upstream = state.fleet.get(fleetKeys.upstream(decodeToken(fleet) ?? fleet, id));
        if (upstream === undefined) return;
        const { namespace, service } = upstream as UpstreamRow;
        const found = routesOf.get(`${namespace}/${service}`) ?? [];
        found.push(`${host === "" ? "*" : host} ${path.path}${how}`);
        routesOf.set(`${namespace}/${service}`, found);
      };
      leads(path.upstream, "");
      leads(path.canary?.upstream, CANARY);
    }
  }
  problems.sort((a, b) => compare(a.fleet, b.fleet) || compare(a.host, b.host) || compare(a.path, b.path));
  return { routes: { hosts, paths, problems }, routesOf };
}

function proxiesOf(state: GatewayState, now: number): StatusProxy[] {
  const proxies = [...state.proxies.values()].map(({ record, heardAt }): StatusProxy => {
    // A proxy also counts claims, which are no rows.
    const fleetRevision = Math.max(state.fleetRevisions.get(record.fleet) ?? 0, record.revision);
    const lag = Math.max(0, fleetRevision - record.revision);
    const silent = (state.awaySince ?? now) - heardAt > PROXY_SILENT_MS;
    return {
      fleet: record.fleet,
      proxy: record.proxy,
      state: silent ? "silent" : !record.nginx.up ? "down" : lag > 0 ? "behind" : "ok",
      heardMsAgo: Math.max(0, Math.round(now - heardAt)),
      source: record.source,
      revision: record.revision,
      fleetRevision,
      lag,
      reloads: record.nginx.reloads,
      ...reloadsOf(record, now),
      ...(record.nginx.error === undefined ? {} : { error: record.nginx.error }),
      ...(record.httpAddress === undefined ? {} : { httpAddress: record.httpAddress }),
      ...(record.httpsAddress === undefined ? {} : { httpsAddress: record.httpsAddress }),
      ...(record.httpsAddress === undefined ? {} : { httpsAddress: record.httpsAddress }),
      ...(record.nginx.version === undefined ? {} : { nginxVersion: record.nginx.version }),
      problems: [...record.problems],
      ejected: [...record.ejected],
      ...(record.clusters === undefined
        ? {}
        : {
            clusters: record.clusters.map(({ cluster, verdict, since }) => ({
              cluster,
              verdict,
              sinceMsAgo: msAgo(since, now),
            })),
          }),
      ...(record.rollout?.failed === undefined ? {} : { failed: record.rollout.failed.why }),
    };
  });
  const worst = { down: 0, silent: 1, behind: 2, ok: 3 };
  return proxies.sort(
    (a, b) =>
      worst[a.state] - worst[b.state] ||
      b.problems.length - a.problems.length ||
      compare(a.fleet, b.fleet) ||
      compare(a.proxy, b.proxy),
  );
}

function findingsOf(status: Omit<Status, "findings">): Finding[] {
  const found: Finding[] = [];
  const error = (about: string, message: string) => found.push({ severity: "error", about, message });
  const warning = (about: string, message: string) => found.push({ severity: "warning", about, message });
  if (!status.bus.connected) error("nats", "the bus does not answer; proxies serve their last state");
  for (const { role, state } of status.components) {
    if (state === "missing") error(role, "no live process of this role; what it has written stays in force");
  }
  for (const cluster of status.clusters) {
    // Drained is what somebody wanted.
    if (cluster.state !== "ok" && cluster.state !== "drained")
      error(`cluster ${cluster.cluster}`, cluster.reason ?? cluster.state);
    for (const what of cluster.waiting) warning(`cluster ${cluster.cluster}`, what);
    if (cluster.held !== undefined) {
      const { peers, of, until } = cluster.held;
      warning(
        `cluster ${cluster.cluster}`,
        `a list would take away ${peers} of its ${of} peers, which still answer; they stay until ${new Date(until).toISOString()}, unless you let it pass: sluice accept ${cluster.cluster}`,
      );
    }
    if (cluster.peers > 0 && cluster.allowed?.length === 0) {
      error(
        `cluster ${cluster.cluster}`,
        "no peer of it is accepted: give its ranges with --peers NAME=CIDR",
      );
    }
  }
  if (status.bus.connected && status.proxies.length === 0) error("proxies", "no proxy has said anything yet");
  for (const proxy of status.proxies) {
    const about = `proxy ${proxy.proxy}`;
    if (proxy.state === "down") error(about, `nginx does not run${proxy.error ? `: ${proxy.error}` : ""}`);
    if (proxy.state === "silent") error(about, `nothing heard for ${seconds(proxy.heardMsAgo)}`);
  }
  for (const { host, path, problem, source } of status.routes.problems) {
    const about = `route ${host === "" ? "*" : host}${path}`;
    warning(about, `answers 503 (${source.kind} ${source.namespace}/${source.name}): ${problem}`);
  }
  const drains = status.orders.filter(({ verb, force }) => verb === "drain" && force === true);
  const forced = new Set(drains.map(({ cluster }) => cluster));
  for (const service of status.services) {
    const about = `service ${service.namespace}/${service.service}`;
    if (service.peers === 0 && service.routes.length > 0)
      warning(about, "routed to, and no peer in any cluster");
    const out = service.clusters.filter(({ peers }) => peers > 0).map(({ cluster }) => cluster);
    const alone = service.routes.some((route) => !route.endsWith(CANARY));
    if (alone && out.length > 0 && out.every((cluster) => forced.has(cluster)))
      error(about, `answers 503: every cluster with peers of it is drained by force (${out.join(", ")})`);
    for (const { cluster, message } of service.conflicts) warning(about, `${cluster}: ${message}`);
  }
  return found;
}

function worstFirst(findings: readonly Finding[]): Finding[] {
  return findings.toSorted((a, b) => Number(b.severity === "error") - Number(a.severity === "error"));
}

function ordersOf(state: GatewayState): StatusOrder[] {
  const orders: StatusOrder[] = [];
  for (const { verb, cluster, by, at, reason, force, held } of state.intents.values()) {
    // One that let a list pass is done when no list is held any more.
    if (verb === "accept-list" && state.clusters.get(cluster)?.record.held?.since !== held) continue;
    orders.push({
      verb,
      cluster,
      by,
      at,
      ...(reason === undefined ? {} : { reason }),
      ...(force === undefined ? {} : { force }),
    });
  }
  return orders.sort((a, b) => compare(a.cluster, b.cluster) || compare(a.verb, b.verb));
}

function seconds(ms: number): string {
  return `${Math.max(0, Math.round(ms / 1000))} s`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function reloadsOf(
  { nginx: { takenBack, lastReload, recentReloads } }: Pick<ProxyRecord, "nginx">,
  now: number,
): Pick<StatusProxy, "takenBack" | "lastReload" | "recentReloads"> {
  const told = ({ at, ok, why }: { at: number; ok: boolean; why: string }) => ({
    msAgo: msAgo(at, now),
    ok,
    why,
  });
  return {
    ...(takenBack === undefined ? {} : { takenBack }),
    ...(lastReload === undefined ? {} : { lastReload: told(lastReload) }),
    ...(recentReloads === undefined ? {} : { recentReloads: recentReloads.map(told) }),
  };
}

function msAgo(at: number, now: number): number {
  return Math.max(0, Math.round(now - at));
}
