import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type ClusterRecord,
  type ClusterSeen,
  decode,
  type FleetValue,
  type IntentRecord,
  type MemberRecord,
  type ProxyRecord,
  plainKeys,
  type RolloutRow,
  type RouteRow,
  roles,
  Status,
  type TopologyPeers,
  type TopologyService,
  type UpstreamRow,
} from "@sluice/contracts";
import { buildStatus } from "./build-status.ts";
import type { GatewayState, Heard } from "./gateway-state.ts";

const now = 1_800_000_000_000;
const options = { expectedRoles: roles };

function seen(cluster: string, agoMs = 0, more: Partial<ClusterRecord> = {}): [string, ClusterSeen] {
  const record: ClusterRecord = {
    cluster,
    heartbeatAt: now - agoMs,
    api: { reachable: true, since: 0 },
    labels: {},
    nodeCidrs: [],
    waiting: [],
    exports: 1,
    watcher: "w",
    ...more,
  };
  return [cluster, { record, heardAt: now - agoMs }];
}

function member(role: string, agoMs = 0): [string, Heard<MemberRecord>] {
  const record = { role, process: "p", pid: 1, startedAt: 0, at: now };
  return [`${role}.p`, { record, heardAt: now - agoMs }];
}

function proxy(name: string, more: Partial<ProxyRecord> = {}, agoMs = 0): [string, Heard<ProxyRecord>] {
  const record: ProxyRecord = {
    fleet: "default",
    proxy: name,
    at: now,
    revision: 10,
    source: "bus",
    nginx: { up: true, reloads: 1 },
    rows: { routes: 1, upstreams: 1, peers: 1, profiles: 1 },
    problems: [],
    ejected: [],
    ...more,
  };
  return [`default.${name}`, { record, heardAt: now - agoMs }];
}

function peers(cluster: string, addresses: readonly string[], service = "web"): [string, TopologyPeers] {
  const ports = { http: addresses.map((address) => ({ address, port: 8080 })) };
  return [`shop.${service}.${cluster}`, { namespace: "shop", service, cluster, ports }];
}

function service(
  name: string,
  clusters: string[],
  more: Partial<TopologyService> = {},
): [string, TopologyService] {
  const ports = [{ name: "http", port: 80, protocol: "TCP" as const }];
  const record = {
    namespace: "shop",
    service: name,
    type: "ClusterSetIP" as const,
    ports,
    clusters,
    conflicts: [],
  };
  return [`shop.${name}._service`, { ...record, ...more }];
}

const source = { kind: "MultiClusterIngress", namespace: "shop", name: "shop" };
const fleet: [string, FleetValue][] = [
  [
    "default.upstreams.shop-web-http",
    { id: "shop-web-http", namespace: "shop", service: "web", port: "http", balance: "round_robin" },
  ],
  [
    "default.routes.shop_example_test",
    {
      host: "shop.example.test",
      paths: [
        { type: "Prefix", path: "/", upstream: "shop-web-http", profile: "p", source },
        {
          type: "Prefix",
          path: "/cart",
          upstream: null,
          profile: "p",
          problem: "no ServiceImport cart",
          source,
        },
      ],
    },
  ],
  ["default.clusters.member1", { cluster: "member1", state: "ok", allowed: ["10.1.0.0/16"] }],
];

const well: GatewayState = {
  connected: true,
  awaySince: null,
  members: new Map(roles.map((role) => member(role))),
  clusters: new Map([seen("member1")]),
  services: new Map([service("web", ["member1"])]),
  peers: new Map([peers("member1", ["10.1.0.1", "10.1.0.2"])]),
  fleet: new Map(fleet),
  fleetRevisions: new Map([["default", 10]]),
  proxies: new Map([proxy("a")]),
  intents: new Map(),
};
const status = (change: Partial<GatewayState> = {}) => buildStatus({ ...well, ...change }, options, now);

test("what a live renderer finds wrong with objects is a finding each, and how many more there are one more", () => {
  const [key, heard] = member("config-renderer");
  const objects = {
    findings: [
      { object: "MultiClusterIngress shop/web", reason: "AnnotationInvalid", message: "proxy-body-size: …" },
    ],
    more: 3,
  };
  const said = (agoMs: number) => {
    const record = { ...heard.record, objects };
    const members = new Map([...well.members, [key, { record, heardAt: now - agoMs }]]);
    const found = status({ members }).findings.filter(({ about }) => !about.startsWith("route "));
    return found.map(({ severity, about, message }) => `${severity} ${about}: ${message}`);
  };
  assert.deepEqual(said(0), [
    "warning MultiClusterIngress shop/web: AnnotationInvalid: proxy-body-size: …",
    "warning objects: 3 more things are wrong with objects, by config-renderer.p; each is an Event on its object",
  ]);
  assert.ok(
    !said(60_000).some((line) => line.includes("AnnotationInvalid")),
    "a dead renderer's word is old",
  );
});

test("a bus that takes no heartbeat, not even the gateway's, is one finding instead of a missing component each", () => {
  const silent = new Map(roles.map((role) => member(role, 40_000)));
  const { components, findings, missing } = status({ members: silent });
  assert.deepEqual(missing, []);
  assert.deepEqual(new Set(components.map(({ state }) => state)), new Set(["unknown"]));
  const [finding] = findings.filter(({ about }) => about === "bus");
  assert.equal(finding?.severity, "error");
  assert.match(finding?.message ?? "", /^no heartbeat has come through for 40 s, .*members have a leader\?$/);
  assert.deepEqual(
    status({ members: well.members }).findings.filter(({ about }) => about === "bus"),
    [],
  );
});

test("a status fits its schema", () => {
  decode(Status, status(), "status");
});

test("nothing is missing when every role has a live process", () => {
  assert.deepEqual(status().missing, []);
});

for (const role of roles) {
  test(`a status names the ${role} when none lives`, () => {
    const members = new Map([...well.members].filter(([key]) => !key.startsWith(role)));
    members.set(`${role}.old`, member(role, 60_000)[1]);
    const { missing, findings } = status({ members });
    assert.deepEqual(missing, [role]);
    assert.equal(findings[0]?.about, role);
  });
}

test("with the bus away it names nats, and does not guess at who lives", () => {
  const { missing, components, clusters } = status({
    connected: false,
    awaySince: now - 60_000,
    members: new Map(),
    clusters: new Map([seen("member1", 61_000)]),
  });
  assert.deepEqual(missing, ["nats"]);
  assert.ok(components.every((c) => c.state === "unknown"));
  assert.equal(clusters[0]?.state, "ok");
});

test("with a proxy whose nginx does not run it names nginx", () => {
  const proxies = new Map([proxy("a", { nginx: { up: false, reloads: 0, error: "exit 1" } })]);
  const { missing, findings } = status({ proxies });
  assert.deepEqual(missing, ["nginx"]);
  assert.match(findings[0]?.message ?? "", /nginx does not run: exit 1/);
});

test("clusters come worst first", () => {
  const unreachable = { api: { reachable: false, since: now - 40_000, error: "refused" } };
  const { clusters } = status({
    clusters: new Map([
      seen("a"),
      seen("b", 0, { waiting: ["ServiceExport CRD"] }),
      seen("c", 45_000),
      seen("d", 0, unreachable),
    ]),
  });
  assert.deepEqual(
    clusters.map((c) => `${c.cluster} ${c.state}`),
    ["d unreachable", "c stale", "b ok", "a ok"],
  );
  assert.match(clusters[0]?.reason ?? "", /does not answer for 40 s: refused/);
});

test("a service shows its peers by cluster, clusters without any, conflicts, and the routes that lead to it", () => {
  const conflicts = [{ cluster: "member2", field: "ports", message: "port 80 differs" }];
  const { services } = status({
    services: new Map([service("web", ["member1", "member2"], { conflicts })]),
    peers: new Map([peers("member1", ["10.1.0.1", "10.1.0.2"])]),
  });
  assert.deepEqual(services, [
    {
      namespace: "shop",
      service: "web",
      derived: "derived-web",
      ports: [{ name: "http", port: 80, protocol: "TCP" }],
      clusters: [
        { cluster: "member1", peers: 2, draining: 0 },
        { cluster: "member2", peers: 0, draining: 0 },
      ],
      peers: 2,
      conflicts,
      routes: ["shop.example.test /"],
    },
  ]);
});

test("a pod that drains on all its ports is counted as draining, and once", () => {
  const record: TopologyPeers = {
    namespace: "shop",
    service: "web",
    cluster: "member1",
    ports: {
      http: [{ address: "10.1.0.1", port: 8080, draining: true }],
      admin: [{ address: "10.1.0.1", port: 9090, draining: true }],
    },
  };
  const { services } = status({ peers: new Map([["shop.web.member1", record]]) });
  assert.deepEqual(services[0]?.clusters, [{ cluster: "member1", peers: 1, draining: 1 }]);
});

test("services without a peer come first, and one that is routed to is a finding", () => {
  const { services, findings } = status({
    services: new Map([service("web", ["member1"]), service("zoo", ["member1"])]),
    peers: new Map([peers("member1", ["10.1.0.1"], "zoo")]),
  });
  assert.deepEqual(
    services.map((s) => s.service),
    ["web", "zoo"],
  );
  assert.ok(findings.some((f) => f.about === "service shop/web" && /no peer in any cluster/.test(f.message)));
});

test("a route with a problem says which object asked for it", () => {
  const { routes, findings } = status();
  assert.equal(routes.paths, 2);
  assert.equal(routes.problems[0]?.problem, "no ServiceImport cart");
  const finding = findings.find((f) => f.about === "route shop.example.test/cart");
  assert.match(
    finding?.message ?? "",
    /answers 503 \(MultiClusterIngress shop\/shop\): no ServiceImport cart/,
  );
});

test("proxies come worst first, with how far they are behind", () => {
  const { proxies } = status({
    proxies: new Map([
      proxy("a"),
      proxy("b", { revision: 7 }),
      proxy("c", {}, 60_000),
      proxy("d", { nginx: { up: false, reloads: 0 } }),
    ]),
  });
  assert.deepEqual(
    proxies.map((p) => `${p.proxy} ${p.state} ${p.lag}`),
    ["d down 0", "c silent 0", "b behind 3", "a ok 0"],
  );
});

test("a proxy is shown with where clients come in, by TLS too", () => {
  const addresses = { httpAddress: "192.0.2.1:80", httpsAddress: "192.0.2.1:443" };
  const { proxies } = status({ proxies: new Map([proxy("a", addresses), proxy("b")]) });
  const shown = (at: number) => [proxies[at]?.httpAddress, proxies[at]?.httpsAddress];
  assert.deepEqual(
    [shown(0), shown(1)],
    [
      ["192.0.2.1:80", "192.0.2.1:443"],
      [undefined, undefined],
    ],
  );
});

test("a cluster with peers and no allowed range is told with the flag that gives one", () => {
  const bare = new Map(fleet);
  bare.set("default.clusters.member1", { cluster: "member1", state: "ok", allowed: [] });
  const finding = status({ fleet: bare }).findings.find((f) => f.about === "cluster member1");
  assert.match(finding?.message ?? "", /--peers NAME=CIDR/);
});

function orders(
  ...intents: (Partial<IntentRecord> & Pick<IntentRecord, "verb">)[]
): Map<string, IntentRecord> {
  return new Map(
    intents.map((intent) => {
      const whole = { cluster: "member1", at: now - 60_000, by: "ada", ...intent };
      return [plainKeys.intent(whole.verb, whole.cluster), whole];
    }),
  );
}

test("a service whose only peers are in clusters that are drained by force answers 503, and that is an error", () => {
  const about = (intents: ReadonlyMap<string, IntentRecord>, more: readonly string[] = []) => {
    const known = new Map([
      peers("member1", ["10.1.0.1"]),
      ...more.map((cluster) => peers(cluster, ["10.2.0.1"])),
    ]);
    const { findings } = status({ intents, peers: known });
    return findings.filter((f) => f.about === "service shop/web").map((f) => `${f.severity}: ${f.message}`);
  };
  const forced = orders({ verb: "drain", force: true });
  assert.deepEqual(about(forced), [
    "error: answers 503: every cluster with peers of it is drained by force (member1)",
  ]);
  assert.deepEqual(about(forced, ["member2"]), []);
  assert.deepEqual(about(orders({ verb: "drain" })), [], "without force the last cluster goes on serving");
});

test("a drained cluster says who ordered it, and is no finding", () => {
  const intents = orders({ verb: "drain", reason: "kernel update", force: true });
  const {
    clusters,
    findings,
    orders: standing,
  } = status({ intents, clusters: new Map([seen("member1", 90_000)]) });
  assert.equal(clusters[0]?.state, "drained");
  const since = new Date(now - 60_000).toISOString();
  assert.equal(clusters[0]?.reason, `by ada: kernel update, since ${since}, forced`);
  assert.deepEqual(
    findings.filter((f) => f.about.startsWith("cluster")),
    [],
  );
  assert.deepEqual(standing, [
    { verb: "drain", cluster: "member1", by: "ada", at: now - 60_000, reason: "kernel update", force: true },
  ]);
});

test("a cluster that is dead to the proxies is down, with how many say so", () => {
  const reason = "no peer answers to 2 of 3 proxies";
  const rows = new Map(fleet);
  rows.set("default.clusters.member1", {
    cluster: "member1",
    state: "down",
    reason,
    allowed: ["10.1.0.0/16"],
  });
  const { clusters, findings } = status({ fleet: rows });
  assert.deepEqual([clusters[0]?.state, clusters[0]?.reason], ["down", reason]);
  assert.ok(findings.some((f) => f.severity === "error" && f.message === reason));
});

test("a held list is told with the command that lets it pass, and that order vanishes with it", () => {
  const held = { peers: 40, of: 60, since: now - 5000, until: now + 25_000 };
  const intents = orders({ verb: "accept-list", held: now - 5000 });
  const during = status({ clusters: new Map([seen("member1", 0, { held })]), intents });
  assert.deepEqual(during.clusters[0]?.held, { peers: 40, of: 60, until: now + 25_000 });
  const [finding] = during.findings.filter((f) => f.about === "cluster member1");
  assert.match(finding?.message ?? "", /40 of its 60 peers.*sluice accept member1/);
  assert.equal(during.orders.length, 1);
  assert.deepEqual(status({ intents }).orders, []);
});

test("an unjoined cluster that somebody could still watch is told, and so are records of it that stay", () => {
  const intents = orders({ verb: "unjoin" });
  const watcher = member("member-watcher");
  const watching: [string, Heard<MemberRecord>] = [
    watcher[0],
    { ...watcher[1], record: { ...watcher[1].record, serves: ["member1"] } },
  ];
  const members = new Map([...well.members, watching]);
  const messages = (change: Partial<GatewayState>) =>
    status({ intents, ...change })
      .findings.filter((f) => f.about === "cluster member1")
      .map((f) => f.message);
  const gone = { clusters: new Map(), peers: new Map() };
  assert.match(
    messages({ members, ...gone })[0] ?? "",
    /member-watcher\.p could watch it .* sluice join member1/,
  );
  assert.deepEqual(messages(gone), []);
  assert.match(messages({})[0] ?? "", /its records are still there/);
});

test("a clock that is an hour off is told with its process, one that is a little off is not", () => {
  const [key, heard] = member("member-watcher");
  const about = (aheadMs: number) =>
    status({ members: new Map([...well.members, [key, { ...heard, aheadMs }]]) }).findings.filter(
      (f) => f.about === "process member-watcher.p",
    );
  assert.match(about(3_600_000)[0]?.message ?? "", /3600 s ahead of/);
  assert.match(about(-3_600_000)[0]?.message ?? "", /3600 s behind/);
  assert.deepEqual(about(-10_000), []);
});

test("records that processes leave out are told once a subject, with who left them out", () => {
  const problems = [
    { subject: "slices/member1.shop.web.x", reason: "field /endpoints must be array", count: 3 },
  ];
  const members = new Map(well.members);
  for (const role of ["aggregator", "topology-gateway"]) {
    const [key, heard] = member(role);
    members.set(key, { ...heard, record: { ...heard.record, problems } });
  }
  const found = status({ members }).findings.filter((f) => f.about.startsWith("record"));
  assert.deepEqual(found, [
    {
      severity: "warning",
      about: "record slices/member1.shop.web.x",
      message: "left out by aggregator, topology-gateway, 3 times: field /endpoints must be array",
    },
  ]);
});

test("a peer on hold is told once with the proxies that hold it and why, and a row once with those that refuse it", () => {
  const held = { upstream: "shop-web-http", cluster: "member1", peer: "10.1.0.1:8080", until: now + 1 };
  const problems = [{ key: "default.secrets.shop-web-tls", problem: "sealed for another key" }];
  const names = ["a", "b", "c", "d"];
  const proxies = new Map(
    names.map((name) =>
      proxy(name, {
        problems,
        ejected: [{ ...held, by: "checks" }, ...(name === "a" ? [{ ...held, peer: "*" }] : [])],
      }),
    ),
  );
  const found = status({ proxies }).findings.filter(({ about }) => !about.startsWith("route"));
  assert.deepEqual(
    found.map(({ about, message }) => `${about}: ${message}`),
    [
      "proxies a, b, c and 1 more: default.secrets.shop-web-tls: sealed for another key",
      "peer 10.1.0.1:8080 of member1: shop/web: out at proxies a, b, c and 1 more, for it misses its checks",
      "cluster member1: shop/web: out at proxy a, since requests failed there",
    ],
  );
});

test("of many peers on hold twenty are named, and how many more there are", () => {
  const ejected = Array.from({ length: 50 }, (_, n) => ({
    cluster: "member1",
    peer: `10.1.0.${n}:80`,
    until: now,
  }));
  const { findings } = status({ proxies: new Map([proxy("a", { ejected })]) });
  const found = findings.filter(({ about }) => about.startsWith("peer"));
  assert.equal(found.length, 21);
  assert.match(found.at(-1)?.message ?? "", /^30 more /);
});

test("a service that gets requests as a canary names its routes", () => {
  const rows = new Map(well.fleet);
  const [key, route] = fleet[1] as [string, RouteRow];
  const canary = { upstream: "shop-next", weight: 20 };
  const paths = route.paths.map((path) => (path.path === "/" ? { ...path, canary } : path));
  rows.set(key, { ...route, paths });
  rows.set("default.upstreams.shop-next", { ...(fleet[0]?.[1] as UpstreamRow), service: "next" });
  const { services, findings } = status({
    fleet: rows,
    services: new Map([service("web", ["member1"]), service("next", ["member1"])]),
  });
  const next = services.find((each) => each.service === "next");
  assert.deepEqual(next?.routes, ["shop.example.test / (canary)"]);
  assert.ok(
    findings.some(({ about }) => about === "service shop/next"),
    "it has no peers",
  );
});

test("a rollout is told with who was let try it, who runs it, and what was refused", () => {
  const profile = (hash: string) => ({ hash, settings: { readTimeoutMs: 5 } });
  const target = { id: "b".repeat(16), profiles: [profile("new"), profile("old")] };
  const rollout: RolloutRow = {
    n: 3,
    order: "3.x",
    proven: { id: "a".repeat(16), profiles: [profile("old")] },
    target,
    admitted: ["a", "b"],
    refused: [{ hash: "bad", proxy: "a", why: "nginx: [emerg] no" }],
    atOnce: 1,
  };
  const rows = new Map(well.fleet).set("default.rollout", rollout);
  rows.set("default.profiles.bad", profile("bad"));
  const proxies = new Map([
    proxy("a", { rollout: { order: "3.x", runs: "" } }),
    proxy("b", { rollout: { order: "3.x", runs: target.id } }),
  ]);
  assert.deepEqual(status({ fleet: rows, proxies }).rollouts, [
    {
      fleet: "default",
      state: "trying",
      profiles: 1,
      fresh: 1,
      admitted: ["a", "b"],
      running: ["b"],
      refused: [{ profile: "bad", settings: { readTimeoutMs: 5 }, proxy: "a", why: "nginx: [emerg] no" }],
      refusedSettings: [],
    },
  ]);
});
