// What `sluice get` shows, of a gateway that answers what it is told to.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer } from "node:http";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type {
  FleetCluster,
  FleetValue,
  PeersRow,
  ProfileRow,
  RouteRow,
  SecretRow,
  Status,
  StatusProxy,
  UpstreamRow,
} from "@sluice/contracts";
import { trialCertificate } from "@sluice/native-tools/testing";
import { parse } from "yaml";
import { getCertificates } from "./get-certificates.ts";
import type { Getting, Got } from "./get-command.ts";
import { getPeers } from "./get-peers.ts";
import { getProxies } from "./get-proxies.ts";
import { getRoutes } from "./get-routes.ts";

const cli = fileURLToPath(new URL("main.ts", import.meta.url));
const now = 1_800_000_000_000;
const hour = 3_600_000;
const source = (name: string) => ({ kind: "MultiClusterIngress", namespace: "shop", name });

const upstream = (service: string, more: Partial<UpstreamRow> = {}): UpstreamRow => ({
  id: `shop-${service}`,
  namespace: "shop",
  service,
  port: "",
  balance: "round_robin",
  ...more,
});
const peersRow = (service: string, cluster: string, ...addresses: string[]): PeersRow => ({
  upstream: `shop-${service}`,
  cluster,
  peers: addresses.map((address) => ({ address, port: 8080 })),
});
const cluster = (name: string, state: FleetCluster["state"] = "ok"): FleetCluster => ({
  cluster: name,
  state,
  allowed: [],
});
const profile: ProfileRow = { hash: "slow", settings: { readTimeoutMs: 5000, guards: true } };
const certificate: Pick<SecretRow, "namespace"> = { namespace: "shop" };

const shop: RouteRow = {
  host: "shop.example.test",
  certificate: "shop-front-tls",
  paths: [
    {
      type: "Prefix",
      path: "/",
      upstream: "shop-web",
      profile: "slow",
      source: source("shop"),
      httpsOnly: true,
      access: { allow: ["10.0.0.0/8"], users: { secret: "shop-users-users", realm: "" } },
      canary: {
        upstream: "shop-next",
        header: { name: "x_canary" },
        weight: 20,
        source: source("next"),
      },
    },
    {
      type: "Exact",
      path: "/old",
      upstream: null,
      profile: "p",
      source: source("moved"),
      redirect: { code: 301, to: "https://example.test/" },
    },
    {
      type: "Prefix",
      path: "/cart",
      upstream: null,
      profile: "p",
      source: source("cart"),
      problem: "no ServiceImport cart",
    },
  ],
};

const fleet: Readonly<Record<string, FleetValue>> = {
  "routes.shop_example_test": shop,
  "upstreams.shop-web": upstream("web", {
    check: { kind: "http", path: "/healthz", intervalMs: 2000, timeoutMs: 500, misses: 2, passes: 2 },
  }),
  "upstreams.shop-next": upstream("next"),
  "profiles.slow": profile,
  "clusters.eu": cluster("eu"),
  "clusters.us": cluster("us", "drained"),
  "peers.shop-web.eu": peersRow("web", "eu", "10.1.0.1", "10.1.0.2", "fd00::1"),
  "peers.shop-web.us": peersRow("web", "us", "10.2.0.1"),
  "peers.shop-next.eu": peersRow("next", "eu", "10.1.0.2"),
  "secrets.shop-users-users": { id: "shop-users-users", ...certificate, name: "users" },
};

const topology = [
  ["web", "eu", ["10.1.0.1", "10.1.0.2"]],
  ["web", "us", ["10.2.0.1"]],
  ["next", "eu", ["10.1.0.2"]],
].map(([service, at, addresses]) => ({
  key: `shop.${service as string}.${at as string}`,
  value: {
    namespace: "shop",
    service,
    cluster: at,
    ports: { "": (addresses as string[]).map((address) => ({ address, port: 8080 })) },
  },
}));

const proxy = (name: string, more: Partial<StatusProxy> = {}): StatusProxy => ({
  fleet: "default",
  proxy: name,
  state: "ok",
  heardMsAgo: 400,
  source: "bus",
  revision: 9,
  fleetRevision: 9,
  lag: 0,
  reloads: 0,
  problems: [],
  ejected: [],
  ...more,
});

const status: Status = {
  at: now,
  findings: [],
  missing: [],
  bus: { connected: true },
  components: [],
  work: [],
  clusters: [],
  orders: [],
  services: [],
  routes: { hosts: 1, paths: 3, problems: [] },
  proxies: [],
  rollouts: [],
};

interface Answers {
  readonly rows?: Readonly<Record<string, FleetValue>>;
  readonly status?: Partial<Status>;
}

/** A gateway that knows these; only what was asked for of a fleet is answered. */
async function gateway(t: TestContext, answers: Answers = {}): Promise<Getting> {
  const rows = Object.entries({ ...fleet, ...answers.rows }).map(([key, value]) => ({
    key: `default.${key}`,
    value,
  }));
  const server = createServer(({ url = "" }, response) => {
    const { pathname, searchParams } = new URL(url, "http://gateway");
    const kinds = searchParams.get("kinds")?.split(",");
    const asked = rows.filter(({ key }) => kinds?.includes(key.split(".")[1] ?? "") === true);
    const found: Record<string, object> = {
      "/api/v1/topology": { at: now, rows: topology },
      "/api/v1/fleet": { at: now, fleets: [{ fleet: "default", revision: 9, rows: asked }] },
      "/api/v1/status": { ...status, ...answers.status },
    };
    response.setHeader("content-type", "application/json").end(JSON.stringify(found[pathname]));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return { gateway: `http://127.0.0.1:${address.port}`, name: undefined, at: undefined, wide: false };
}

/** Cells of a table without their head; by title, else the first one. */
function cellsOf(got: Got, title?: string): (readonly string[])[] {
  const table = got.tables.find((each) => each.title === title);
  assert.ok(table !== undefined, `no table ${title ?? "at the top"}`);
  return table.rows.slice(1);
}

test("a route is shown with its service, its peers by cluster, what its cluster is, and its policies", async (t) => {
  const asked = await gateway(t);
  const [web] = cellsOf(await getRoutes(asked));
  assert.deepEqual(web, [
    "default",
    "shop.example.test",
    "Prefix",
    "/",
    "shop/web",
    "eu:2 us:1 (drained)",
    "httpsOnly access readTimeoutMs",
  ]);
});

test("wide says whose it is, which certificate is shown, and what each policy says", async (t) => {
  const rows = { "secrets.shop-front-tls": await secretRow(72) };
  const asked = await gateway(t, { rows });
  const [web] = cellsOf(await getRoutes({ ...asked, wide: true }));
  assert.deepEqual(web?.slice(6), [
    "shop/shop",
    "shop/front",
    "https only; allow 10.0.0.0/8, password of Secret shop/users; read timeout 5000 ms",
  ]);
});

test("a canary stands below its path, with its object and which requests it takes", async (t) => {
  const asked = await gateway(t);
  const [, canary] = cellsOf(await getRoutes({ ...asked, wide: true }));
  assert.deepEqual(canary, [
    "",
    "",
    "canary",
    "header x-canary: always, 20 of 100 others",
    "shop/next",
    "eu:1",
    "shop/next",
    "",
    "",
  ]);
});

test("a redirect is shown with where it leads, and a path that answers 503 with why", async (t) => {
  const asked = await gateway(t);
  const [, , moved, cart] = cellsOf(await getRoutes(asked));
  assert.deepEqual(moved?.slice(3), ["/old", "301: https://example.test/", "", ""]);
  assert.deepEqual(cart?.slice(3), ["/cart", "503", "", "no ServiceImport cart"]);
});

test("peers are shown worst first, with what their cluster is, their check, and who holds them out", async (t) => {
  const held = { upstream: "shop-web", cluster: "eu", peer: "[fd00::1]:8080" };
  const asked = await gateway(t, {
    status: {
      proxies: [
        proxy("a", { ejected: [{ ...held, until: now + 4000, by: "checks" }] }),
        proxy("b", {
          ejected: [
            { ...held, until: now + 4000 },
            { ...held, peer: "10.1.0.1:8080", until: now + 4000 },
          ],
        }),
      ],
    },
  });
  const shown = cellsOf(await getPeers(asked)).map((row) => row.slice(1));
  const check = "http /healthz every 2000 ms";
  const both = "out at a (misses its checks), b (requests failed; tried again in 4 s)";
  assert.deepEqual(shown, [
    ["shop/web", "eu", "[fd00::1]:8080", "out", check, both],
    ["shop/web", "us", "10.2.0.1:8080", "drained", check, ""],
    ["shop/web", "eu", "10.1.0.1:8080", "ok", check, "out at b (requests failed; tried again in 4 s)"],
    ["shop/next", "eu", "10.1.0.2:8080", "ok", "", ""],
    ["shop/web", "eu", "10.1.0.2:8080", "ok", check, ""],
  ]);
});

test("peers of which none is sound are shown as asked all the same", async (t) => {
  const ejected = ["10.1.0.1:8080", "10.1.0.2:8080", "[fd00::1]:8080"].map((peer) => {
    return { upstream: "shop-web", cluster: "eu", peer, until: now + 4000, by: "checks" as const };
  });
  const status = { proxies: [proxy("a", { ejected })] };
  const notes = async (rows: Answers["rows"]) => {
    const asked = await gateway(t, { status, rows: { ...rows } });
    const shown = cellsOf(await getPeers({ ...asked, name: "shop/web" }));
    return shown.filter(([, , cluster]) => cluster === "eu").map((row) => row.at(-1));
  };
  const out = "out at a (misses its checks)";
  // The drained peers of us are sound.
  assert.deepEqual(await notes({}), [out, out, out]);
  const all = `asked all the same, for none is sound; ${out}`;
  assert.deepEqual(await notes({ "clusters.us": cluster("us", "down") }), [all, all, all]);
});

test("a peer that is out for one service is not out for another", async (t) => {
  const ejected = [{ upstream: "shop-next", cluster: "eu", peer: "10.1.0.2:8080", until: now + 1 }];
  const asked = await gateway(t, { status: { proxies: [proxy("a", { ejected })] } });
  const out = cellsOf(await getPeers(asked)).filter(([, , , , state]) => state === "out");
  assert.deepEqual(
    out.map(([, service]) => service),
    ["shop/next"],
  );
});

test("what each proxy makes of a cluster is shown with since when", async (t) => {
  const clusters = [{ cluster: "eu", verdict: "dead" as const, sinceMsAgo: 180_000 }];
  const asked = await gateway(t, { status: { proxies: [proxy("a", { clusters })] } });
  const found = cellsOf(await getPeers(asked), "What proxies find of clusters");
  assert.deepEqual(found, [["default", "a", "eu", "dead", "3 min ago"]]);
});

test("proxies are shown with each of their reloads, and why one was taken back", async (t) => {
  const recentReloads = [
    { msAgo: 3000, ok: false, why: "nginx: [emerg] no" },
    { msAgo: 7 * hour, ok: true, why: "profiles: 1 new (MultiClusterIngress shop/shop), 0 gone" },
  ];
  const one = proxy("a", { reloads: 2, takenBack: 1, recentReloads, nginxVersion: "1.22.1" });
  const asked = await gateway(t, { status: { proxies: [one] } });
  const got = await getProxies(asked);
  assert.deepEqual(cellsOf(got)[0]?.slice(4, 7), ["9 of 9", "1.22.1", "2, 1 taken back"]);
  assert.deepEqual(cellsOf(got, "Reloads of nginx, the newest first"), [
    ["default", "a", "3 s ago", "taken back", "nginx: [emerg] no"],
    ["default", "a", "7 h ago", "ok", "profiles: 1 new (MultiClusterIngress shop/shop), 0 gone"],
  ]);
});

test("a rollout is shown with who was let try it, and a refused profile with what it asks for, by whom and why", async (t) => {
  const why = "nginx: [emerg] no";
  const asked = await gateway(t, {
    status: {
      proxies: [proxy("a", { failed: why })],
      findings: [
        {
          severity: "warning",
          about: "MultiClusterIngress shop/shop",
          message: `ProfileRefused: metadata.annotations: proxy a could not run with these settings (${why})`,
        },
      ],
      rollouts: [
        {
          fleet: "default",
          state: "trying",
          profiles: 4,
          fresh: 1,
          admitted: ["a", "b"],
          running: ["b"],
          refused: [{ profile: "slow", settings: profile.settings, proxy: "a", why }],
          refusedSettings: [{ setting: "tlsCiphers", value: "NONE", proxy: "b", why: "no cipher" }],
        },
      ],
    },
  });
  const got = await getProxies(asked);
  assert.equal(cellsOf(got)[0]?.at(-1), `would not run: ${why}`);
  assert.deepEqual(cellsOf(got, "Rollouts"), [["default", "trying", "4", "1 new", "a b", "b"]]);
  assert.deepEqual(cellsOf(got, "Refused: served without, or not at all"), [
    ["default", "a", "read timeout 5000 ms", "MultiClusterIngress shop/shop", why],
    ["default", "b", "tlsCiphers: NONE", "", "no cipher"],
  ]);
});

test("a proxy that nobody has heard of is named, with those that are known", async (t) => {
  const asked = await gateway(t, { status: { proxies: [proxy("a"), proxy("b")] } });
  await assert.rejects(getProxies({ ...asked, name: "c" }), /no proxy c has been heard of; known: a, b/);
});

/** One that ends so many hours from the time of `status`. */
async function secretRow(hours: number): Promise<SecretRow> {
  const { cert: chain } = await trialCertificate({
    names: ["shop.example.test", "*.shop.example.test"],
    commonName: "trial",
    notBefore: new Date(now - 100 * hour),
    notAfter: new Date(now + hours * hour),
  });
  return { id: "shop-front-tls", namespace: "shop", name: "front", chain };
}

test("a certificate is shown with its Secret, the hosts that show it, its names and when it ends", async (t) => {
  const asked = await gateway(t, { rows: { "secrets.shop-front-tls": await secretRow(72) } });
  const names = "shop.example.test *.shop.example.test";
  const ends = "2027-01-18T08:00:00Z (in 3 d)";
  assert.deepEqual(cellsOf(await getCertificates(asked)), [
    ["default", "shop/front", "shop.example.test", names, ends, ""],
  ]);
  const [wide] = cellsOf(await getCertificates({ ...asked, wide: true }));
  assert.deepEqual(wide?.slice(4, 7), ["EC prime256v1", "trial", "2027-01-11T04:00:00Z (4 d ago)"]);
});

test("what is wrong with a certificate is said: ended, missing, not taken by a proxy", async (t) => {
  const problems = [
    { key: "default.secrets.shop-front-tls", problem: "sealed for another key: --fleet-key" },
  ];
  const asked = await gateway(t, {
    rows: { "secrets.shop-front-tls": await secretRow(-2) },
    status: { proxies: [proxy("a", { problems }), proxy("b")] },
  });
  const said = "it has ended, and is shown all the same; proxy a: sealed for another key: --fleet-key";
  assert.equal(cellsOf(await getCertificates(asked))[0]?.at(-1), said);
  const missing = await getCertificates(await gateway(t));
  assert.deepEqual(cellsOf(missing)[0]?.slice(1), [
    "(shop-front-tls)",
    "shop.example.test",
    "",
    "",
    "its Secret is not there, or is none; the default certificate is shown",
  ]);
});

test("as JSON and YAML an answer is one object, with its moment; a table's columns are aligned", async (t) => {
  const { gateway: address } = await gateway(t);
  const get = async (...args: string[]) => {
    const found = await promisify(execFile)(process.execPath, [cli, "get", ...args, "--gateway", address]);
    return found.stdout;
  };
  const [json, yaml, table] = await Promise.all([
    get("routes", "-o", "json"),
    get("routes", "-o", "yaml"),
    get("routes", "shop.example.test"),
  ]);
  const parsed = JSON.parse(json) as { at: { at: number }; routes: { path: string }[] };
  assert.equal(parsed.at.at, now);
  assert.deepEqual(
    parsed.routes.map(({ path }) => path),
    ["/", "/old", "/cart"],
  );
  assert.deepEqual(parse(yaml), parsed);
  const lines = table.trimEnd().split("\n");
  const column = lines[0]?.indexOf("SERVICE");
  assert.equal(lines[1]?.indexOf("shop/web"), column);
  assert.equal(lines[2]?.indexOf("shop/next"), column);
});

test("what cannot be had is said with what can: an unknown kind, an unknown format, a past that no log holds", async (t) => {
  const { gateway: address } = await gateway(t);
  const refused = (args: readonly string[]) =>
    promisify(execFile)(process.execPath, [cli, "get", ...args, "--gateway", address]).then(
      () => assert.fail("it succeeded"),
      ({ code, stderr }: { code: number; stderr: string }) => `${code} ${stderr.trim()}`,
    );
  const said = await Promise.all([
    refused(["nonsense"]),
    refused(["routes", "-o", "xml"]),
    refused(["proxies", "--at", "5m"]),
  ]);
  assert.deepEqual(said, [
    "64 sluice: get nonsense: write services, routes, peers, proxies or certificates [SLUICE_CONFIG]",
    "64 sluice: -o xml: write table or wide or json or yaml [SLUICE_CONFIG]",
    "64 sluice: get proxies --at: the log holds services and routes alone; leave --at out [SLUICE_CONFIG]",
  ]);
});
