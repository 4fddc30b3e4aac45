import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import { MemoryServer, memoryBus } from "@sluice/bus/testing";
import {
  clustersTable,
  type FleetCluster,
  type IntentRecord,
  intentsTable,
  type ProxyRecord,
  plainKeys,
  proxiesTable,
} from "@sluice/contracts";
import { FakeHub } from "./testing/fake-hub.ts";
import { addImport, addIngress, FakeAggregator, startRenderer, watchFleet } from "./testing/world.ts";

const within = (t: TestContext, condition: () => void) =>
  t.waitFor(condition, { timeout: 60_000, interval: 10 });

type Verdict = NonNullable<ProxyRecord["clusters"]>[number]["verdict"];

/** Two members that are heard of, with a peer each, and what people and proxies may say of them. */
async function world(t: TestContext) {
  const server = new MemoryServer();
  const hub = new FakeHub();
  const aggregator = new FakeAggregator(server);
  const controller = new AbortController();
  const bus = memoryBus({ role: "test", signal: controller.signal, server });
  const intents = bus.writer(intentsTable);
  const clusters = bus.writer(clustersTable);
  const fleet = watchFleet(server, controller.signal);
  addImport(hub);
  addIngress(hub);
  aggregator.exports([{ name: "", port: 80, protocol: "TCP" }]);
  for (const n of [1, 2]) {
    aggregator.peers(`member${n}`, [`10.${n}.0.1`]);
    await aggregator.cluster({ cluster: `member${n}` });
  }
  t.after(async () => {
    controller.abort();
    await aggregator.stop();
  });
  const row = (cluster: string) => fleet.get(`default.clusters.${cluster}`) as FleetCluster | undefined;
  return {
    server,
    hub,
    aggregator,
    fleet,
    row,
    start(peers: Record<string, string[]> = {}) {
      const renderer = startRenderer(server, hub, { peers });
      t.after(() => renderer.stop());
      return renderer;
    },
    order(verb: IntentRecord["verb"], cluster: string, more: Partial<IntentRecord> = {}) {
      const intent: IntentRecord = { verb, cluster, at: Date.now(), by: "ada", ...more };
      intents.set(plainKeys.intent(verb, cluster), intent);
    },
    takeBack: (verb: IntentRecord["verb"], cluster: string) =>
      intents.remove(plainKeys.intent(verb, cluster)),
    forget: (cluster: string) => clusters.remove(plainKeys.cluster(cluster)),
    /** One record of a proxy with its verdict on member1. */
    async vote(proxy: string, verdict: Verdict, fleetName = "default") {
      await bus.publish(proxiesTable, plainKeys.proxy(fleetName, proxy), {
        fleet: fleetName,
        proxy,
        at: Date.now(),
        revision: 1,
        source: "bus",
        nginx: { up: true, reloads: 0 },
        rows: { routes: 1, upstreams: 1, peers: 1, profiles: 1 },
        problems: [],
        ejected: [],
        clusters: [{ cluster: "member1", verdict, since: 0 }],
      });
    },
    state: (cluster: string, expected: FleetCluster["state"] | undefined) =>
      within(t, () => assert.equal(row(cluster)?.state, expected)),
  };
}

suite("states of clusters", { concurrency: true }, () => {
  test("a drain is one row, whatever number of services the cluster has, and so is its end", async (t) => {
    const { fleet, row, start, order, takeBack, state } = await world(t);
    start();
    await state("member1", "ok");
    await within(t, () => assert.ok(fleet.settled));
    const before = fleet.order.length;
    order("drain", "member1", { reason: "kernel update", force: true });
    await state("member1", "drained");
    assert.equal(row("member1")?.reason, "drained by ada: kernel update");
    assert.equal(row("member1")?.forced, true);
    takeBack("drain", "member1");
    await state("member1", "ok");
    assert.equal(row("member1")?.forced, undefined);
    const changed = fleet.order.slice(before);
    assert.deepEqual(changed, ["default.clusters.member1", "default.clusters.member1"]);
  });

  test("an order that speaks of another cluster than its key orders nothing", async (t) => {
    const { start, order, server, state } = await world(t);
    const controller = new AbortController();
    t.after(() => controller.abort());
    const bus = memoryBus({ role: "test", signal: controller.signal, server });
    await bus.publish(intentsTable, plainKeys.intent("drain", "member2"), {
      verb: "drain",
      cluster: "member1",
      at: Date.now(),
      by: "ada",
    });
    start();
    order("drain", "member1");
    await state("member1", "drained");
    await state("member2", "ok");
  });

  test("a renderer that starts anew never lets a drained cluster back in for a moment", async (t) => {
    const { fleet, start, order, state } = await world(t);
    const first = start();
    order("drain", "member1");
    await state("member1", "drained");
    await first.stop();
    const before = fleet.order.length;
    start();
    await within(t, () => assert.ok(fleet.settled));
    order("drain", "member2");
    await state("member2", "drained");
    assert.ok(!fleet.order.slice(before).includes("default.clusters.member1"), fleet.order.join(" "));
  });

  test("a cluster that is dead to every proxy is down, and back once one has an answer", async (t) => {
    const { start, vote, row, state } = await world(t);
    start();
    await state("member1", "ok");
    await vote("a", "dead");
    await state("member1", "down");
    assert.equal(row("member1")?.reason, "no peer answers to 1 of 1 proxy");
    await vote("b", "alive");
    await state("member1", "ok");
    await vote("c", "dead");
    await state("member1", "down");
    await vote("c", "alive");
    await state("member1", "ok");
    assert.equal(row("member2")?.state, "ok");
  });

  test("another fleet's proxies have no vote", async (t) => {
    const { start, vote, row, state } = await world(t);
    start();
    await vote("a", "dead", "other");
    await vote("b", "alive");
    await state("member1", "ok");
    await vote("b", "dead");
    await state("member1", "down");
    assert.match(row("member1")?.reason ?? "", /1 of 1/);
  });

  test("an unjoined cluster's row goes, also when no renderer saw it happen, and comes back with the next word of it", async (t) => {
    const { fleet, start, order, takeBack, forget, state } = await world(t);
    const peers = { member1: ["10.1.0.0/16"] };
    const first = start(peers);
    await state("member1", "ok");
    await first.stop();
    order("unjoin", "member1");
    forget("member1");
    start(peers);
    await state("member1", undefined);
    await within(t, () => assert.ok(fleet.settled));
    assert.equal((fleet.get("default.clusters.member2") as FleetCluster).state, "ok");
    takeBack("unjoin", "member1");
    await state("member1", "ok");
  });

  test("an unjoined cluster's row goes with its last peers where its record was lost before it was removed", async (t) => {
    const { aggregator, fleet, start, order, state } = await world(t);
    start();
    await state("member1", "ok");
    await within(t, () => assert.ok(fleet.settled && fleet.rows.has("default.peers.shop-web.member1")));
    // Its record in `clusters` stays: nobody is told that it went with the bus.
    order("unjoin", "member1");
    aggregator.peers("member1", null);
    await state("member1", undefined);
    assert.equal((fleet.get("default.clusters.member2") as FleetCluster).state, "ok");
  });

  test("a cluster whose record is lost with its server, and that nobody unjoined, keeps its row", async (t) => {
    const { fleet, server, start, order, state } = await world(t);
    const first = start();
    await state("member1", "ok");
    await within(t, () => assert.ok(fleet.settled));
    await first.stop();
    const lost = server.get("clusters", "member1");
    assert.ok(lost !== null);
    server.removeMessage("clusters", lost.revision);
    start();
    order("drain", "member2");
    await state("member2", "drained");
    await state("member1", "ok");
  });
});
