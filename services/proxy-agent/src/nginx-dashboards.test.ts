// What dashboards of ingress-nginx's users read, from real requests to the text of /metrics.
import assert from "node:assert/strict";
import { readFile, stat } from "node:fs/promises";
import { type TestContext, test } from "node:test";
import { MemoryServer } from "@sluice/bus/testing";
import { fleetKeys } from "@sluice/contracts";
import { accessLogPathOf } from "./access-log.ts";
import { nginxObservation } from "./nginx-observation.ts";
import { observeNginx } from "./observe-nginx.ts";
import { RouteTraffic } from "./route-traffic.ts";
import { testAgent, testFleet } from "./testing/agent-world.ts";
import { all, chosen, dashboardQueries, type Sample, scraped, select } from "./testing/dashboard-queries.ts";
import { peersRow, routeRow, type TestNginx, testNginx, testPod } from "./testing/proxy-world.ts";

/** Labels that Prometheus has from Kubernetes. */
const TARGET = { namespace: "sluice-system", pod: "proxy1", instance: "10.0.0.9:9090", job: "proxies" };

const soon = { timeout: 60_000, interval: 100 };

/** Lines of Prometheus' text format; what is none of them fails. */
function parse(text: string): Sample[] {
  const line =
    /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\["\\n])*",?)*)\})? (\S+)$/;
  const samples: Sample[] = [];
  const types = new Set<string>();
  for (const each of text.split("\n")) {
    if (each === "" || each.startsWith("# HELP ")) continue;
    const type = /^# TYPE (\S+) (counter|gauge|histogram|summary)$/.exec(each);
    if (type !== null) {
      assert.ok(!types.has(type[1]!), `${type[1]} is told of twice`);
      types.add(type[1]!);
      continue;
    }
    const [, name = "", labels = "", value] =
      line.exec(each) ?? assert.fail(`no line of Prometheus: ${each}`);
    const pairs = [...labels.matchAll(/([a-zA-Z0-9_]+)="((?:[^"\\]|\\["\\n])*)"/g)];
    samples.push({
      name,
      labels: Object.fromEntries(pairs.map(([, label, text]) => [label, text])),
      value: value === "NaN" ? Number.NaN : Number(value),
    });
  }
  return samples;
}

async function served(t: TestContext, nginx: TestNginx) {
  const server = new MemoryServer();
  const fleet = testFleet(t, server);
  const pod = await testPod(t, "127.25.72.1", "web");
  fleet.upstream("web", { member1: [pod] });
  fleet.set(fleetKeys.secret("default", "shop-web-tls"), {
    id: "shop-web-tls",
    namespace: "shop",
    name: "web-tls",
    notAfter: 1_900_000_000_000,
  });
  fleet.set(fleetKeys.route("default", "shop.example.test"), {
    host: "shop.example.test",
    certificate: "shop-web-tls",
    paths: ["/", "/cart"].map((path) => ({
      type: "Prefix",
      path,
      upstream: "web",
      service: "web",
      profile: "default",
      source: { kind: "MultiClusterIngress", namespace: "shop", name: "front" },
    })),
  });
  const agent = testAgent(nginx, server, { member1: ["127.25.0.0/16"] }, { observed: true });
  await t.waitFor(async () => assert.equal((await nginx.get("/ready")).status, 200), soon);
  return { agent, pod, fleet };
}

test("every query of ingress-nginx's dashboards finds series after some requests, with their variables at All and chosen", async (t) => {
  process.env["POD_NAMESPACE"] = TARGET.namespace;
  t.after(() => {
    delete process.env["POD_NAMESPACE"];
  });
  const nginx = await testNginx(t, { workers: 2 });
  const { agent, pod, fleet } = await served(t, nginx);
  for (let i = 0; i < 20; i++) await nginx.get("/cart/x", { fresh: true });
  await nginx.get("/cart/y", { method: "POST", body: "12345" });
  await nginx.get("/", { host: "other.example.test" });
  fleet.upstream("web", { member1: [] });
  await t.waitFor(
    async () => assert.equal((await nginx.get("/cart/z", { method: "PUT" })).status, 503),
    soon,
  );
  let samples: Sample[] = [];
  const of = (name: string, labels: Sample["labels"]) =>
    samples.filter(
      (each) =>
        each.name === name && Object.entries(labels).every(([key, value]) => each.labels[key] === value),
    );
  const value = (name: string, labels: Sample["labels"] = {}) =>
    of(`nginx_ingress_controller_${name}`, labels).reduce((sum, each) => sum + each.value, 0);
  const cart = { path: "/cart", method: "GET", status: "200" };
  await t.waitFor(async () => {
    samples = parse(await agent.kit.metrics.text());
    assert.equal(value("requests", cart), 20);
    assert.ok(value("requests", { method: "PUT", status: "503" }) > 0);
    assert.ok(value("nginx_process_resident_memory_bytes") > 1e6);
  }, soon);
  const found = scraped(samples, TARGET);
  for (const variables of [all, chosen(found)]) {
    for (const { selector, by = [], atAllAlone } of dashboardQueries) {
      if (atAllAlone === true && variables !== all) continue;
      const there = select(found, selector, variables);
      assert.ok(there.length > 0, `${selector} finds nothing`);
      assert.ok(
        there.every((each) => Number.isFinite(each.value)),
        selector,
      );
      for (const label of by) assert.ok(label in there[0]!.labels, `${selector} cannot be told by ${label}`);
    }
  }
  // What is looked for is looked for as Prometheus does: another value of a variable finds nothing.
  assert.deepEqual(select(found, "requests{ingress=~$ingress}", { ingress: "back" }), []);
  assert.deepEqual(of("nginx_ingress_controller_requests", cart)[0]?.labels, {
    canary: "",
    controller_class: "default",
    controller_namespace: TARGET.namespace,
    controller_pod: "proxy1",
    host: "shop.example.test",
    ingress: "front",
    method: "GET",
    namespace: "shop",
    path: "/cart",
    service: "web",
    status: "200",
  });
  assert.equal(value("requests", { method: "POST" }), 1);
  // A host that nobody serves is nobody's, as in ingress-nginx: whoever asks would make series.
  assert.equal(value("requests", { status: "404" }), 0);
  for (const histogram of [
    "request_duration_seconds",
    "response_duration_seconds",
    "header_duration_seconds",
    "connect_duration_seconds",
    "request_size",
    "response_size",
  ]) {
    assert.equal(value(`${histogram}_count`, cart), 20, histogram);
    assert.equal(value(`${histogram}_bucket`, { ...cart, le: "+Inf" }), 20, histogram);
    const buckets = of(`nginx_ingress_controller_${histogram}_bucket`, cart).map((each) => each.value);
    assert.deepEqual(
      buckets,
      buckets.toSorted((a, b) => a - b),
      histogram,
    );
  }
  assert.ok(value("response_size_sum", cart) > 20 * "web".length);
  assert.equal(value("config_last_reload_successful"), 1);
  assert.ok(value("config_hash") > 0);
  assert.equal(value("ssl_expire_time_seconds", { host: "shop.example.test" }), 1_900_000_000);
  assert.ok(value("nginx_process_connections", { state: "active" }) > 0);
  assert.ok(value("nginx_process_num_procs") >= 3);
  await pod.close();
});

test("docs/reference/proxy-metrics.md names every one of them and no other", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const { agent } = await served(t, nginx);
  const page = await readFile(new URL("../../../docs/reference/proxy-metrics.md", import.meta.url), "utf8");
  const told = [...page.matchAll(/^\| `(nginx_ingress_controller_\w+)` \| (\w+) \|/gm)].map(([, ...parts]) =>
    parts.join(" "),
  );
  await t.waitFor(async () => {
    const text = await agent.kit.metrics.text();
    const there = [...text.matchAll(/^# TYPE (nginx_\w+) (\w+)$/gm)].map(([, ...parts]) => parts.join(" "));
    assert.deepEqual(there.sort(), told.sort());
  }, soon);
});

test("what a worker has counted is not lost at a reload, and what nobody fetched waits", async (t) => {
  const nginx = await testNginx(t, { workers: 2 });
  const pod = await testPod(t, "127.25.73.1", "web");
  await nginx.apply(peersRow("web", "member1", pod), routeRow("shop.example.test", "web"));
  for (let i = 0; i < 30; i++) await nginx.get(`/${i}`, { fresh: true });
  process.kill(nginx.process.pid, "SIGHUP");
  let counted = 0;
  await t.waitFor(async () => {
    for (const batch of await nginx.client.traffic(t.signal)) {
      for (const { values } of batch) counted += values[0] ?? 0;
    }
    assert.equal(counted, 30);
  }, soon);
});

test("of many requests a second each is counted, and some stand for others in times and sizes", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const pod = await testPod(t, "127.25.74.1", "web");
  await nginx.apply(peersRow("web", "member1", pod), routeRow("shop.example.test", "web"));
  for (let i = 0; i < 400; i++) await nginx.get("/");
  let requests = 0;
  let timed = 0;
  let sized = 0;
  await t.waitFor(async () => {
    for (const batch of await nginx.client.traffic(t.signal)) {
      for (const { values } of batch) {
        const sum = (from: number, to: number) => values.slice(from, to).reduce((a, b) => a + b, 0);
        requests += values[0] ?? 0;
        // The buckets of the first histogram of times, and of the last one of sizes.
        timed += sum(1, 13);
        sized += sum(-12, -1);
      }
    }
    assert.equal(requests, 400);
  }, soon);
  assert.deepEqual({ timed, sized }, { timed: 400, sized: 400 });
});

test("requests that a canary takes are counted under its upstream, beside those of the path", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const web = await testPod(t, "127.25.74.1", "web");
  const fresh = await testPod(t, "127.25.74.2", "fresh");
  const canary = { upstream: "fresh", header: { name: "x_fresh" } };
  await nginx.apply(peersRow("web", "member1", web), peersRow("fresh", "member1", fresh), {
    k: "route",
    host: "shop.example.test",
    paths: [["P", "/", "web", "default", { canary }]],
    sources: [["shop", "front", "web"]],
    of: [1],
  });
  for (const take of ["always", "never", "always"]) {
    const { body } = await nginx.get("/", { headers: { "x-fresh": take } });
    assert.equal(body, take === "always" ? "fresh" : "web");
  }
  const counts: Record<string, number> = {};
  await t.waitFor(async () => {
    for (const batch of await nginx.client.traffic(t.signal)) {
      for (const { labels, values } of batch) {
        const of = `${labels.service} ${labels.canary}`;
        counts[of] = (counts[of] ?? 0) + (values[0] ?? 0);
      }
    }
    assert.deepEqual(counts, { "web fresh": 2, "web ": 1 });
  }, soon);
});

test("above its bound of series the rest counts as other, by class of status, and nothing is lost", () => {
  const traffic = new RouteTraffic(10, { controller_class: "default" });
  const values = Array.from({ length: 77 }, (_, i) => (i === 0 ? 1 : 0));
  const answer = (host: string, status: number) => [
    [
      {
        labels: {
          host,
          path: '/"\\',
          namespace: "shop",
          ingress: "front",
          service: "web",
          canary: "",
          method: "GET",
          status,
        },
        values,
      },
    ],
  ];
  for (let i = 0; i < 500; i++) traffic.add(answer(`h${i}.example.test`, i % 2 === 0 ? 200 : 404), i);
  assert.ok(traffic.size <= 10 + 5);
  const requests = () => parse(traffic.text("x_")).filter(({ name }) => name === "x_requests");
  assert.equal(
    requests().reduce((sum, { value }) => sum + value, 0),
    500,
  );
  assert.deepEqual(
    requests()
      .filter(({ labels }) => labels["host"] === "other")
      .map(({ labels, value }) => [labels["status"], value]),
    [
      ["2xx", 245],
      ["4xx", 245],
    ],
  );
  // An hour later there is room again.
  traffic.add(answer("new.example.test", 200), 3_700_000);
  assert.ok(requests().some(({ labels }) => labels["host"] === "new.example.test"));
});

test("a log that has grown above its bound is begun anew, and the one before stays", async (t) => {
  const nginx = await testNginx(t, { workers: 1, accessLog: "file" });
  const path = accessLogPathOf(nginx.options.dir);
  const { kit } = testAgent(nginx, null);
  const { ProxyMetrics } = await import("./proxy-metrics.ts");
  const metrics = new ProxyMetrics(kit.metrics, { fleet: "default", proxy: "other" }, kit.clock);
  const ports = { ...nginxObservation(nginx.client, nginx.options.dir), mostLogBytes: 2000 };
  const stopping = new AbortController();
  const done = observeNginx(ports, metrics, { ...kit, signal: stopping.signal });
  nginx.users.defer(async () => {
    stopping.abort();
    await done;
  });
  const sizeOf = async (file: string) => (await stat(file).catch(() => null))?.size ?? 0;
  let i = 0;
  await t.waitFor(async () => {
    await nginx.get(`/${i++}`);
    assert.ok((await sizeOf(`${path}.1`)) > 2000);
  }, soon);
  const mark = `/after-${i}`;
  await t.waitFor(async () => {
    await nginx.get(mark);
    assert.match(await readFile(path, "utf8"), new RegExp(mark));
  }, soon);
});
