import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import type { FleetCluster, PeersRow, RouteRow } from "@sluice/contracts";
import { type MultiClusterIngress, resources } from "@sluice/kube";
import { addImport, addIngress, shopWorld, startRenderer } from "./testing/world.ts";

const route = "default.routes.shop_example_test";
const upstream = "default.upstreams.shop-web";
const peers1 = "default.peers.shop-web.member1";
const peers2 = "default.peers.shop-web.member2";
const addresses = (row: unknown) => (row as PeersRow | undefined)?.peers.map((p) => p.address);

/** Generous, because the tests run side by side and the machine may be busy; a condition that holds ends it at once. */
const within = (t: TestContext, condition: () => void) =>
  t.waitFor(condition, { timeout: 60_000, interval: 10 });

/** The same with a renderer whose first rows are there. */
async function served(t: TestContext) {
  const given = shopWorld(t);
  const renderer = startRenderer(given.server, given.hub);
  t.after(() => renderer.stop());
  await within(t, () => assert.ok(given.fleet.settled && given.fleet.rows.has(route)));
  return { ...given, renderer };
}

/** The same with a peer in another cluster. */
async function servedByTwo(t: TestContext) {
  const given = shopWorld(t);
  given.aggregator.peers("member2", ["10.2.0.1"]);
  await given.aggregator.cluster({ cluster: "member2" });
  const renderer = startRenderer(given.server, given.hub);
  t.after(() => renderer.stop());
  await within(t, () => assert.ok(given.fleet.settled && given.fleet.rows.has(peers2)));
  return given;
}

/** The same with one peer, and the renderer has ended. */
async function servedBefore(t: TestContext) {
  const given = await served(t);
  await given.renderer.stop();
  return given;
}

// Side by side, because most of their time is spent waiting.
suite("config-renderer", { concurrency: true }, () => {
  test("an import, an MCI and one peer become upstream, peers and route, in that order", async (t) => {
    const { fleet } = await served(t);
    assert.deepEqual(addresses(fleet.get(peers1)), ["10.1.0.1"]);
    assert.equal((fleet.get(route) as RouteRow).paths[0]?.upstream, "shop-web");
    assert.ok(fleet.order.indexOf(upstream) < fleet.order.indexOf(peers1), fleet.order.join(" "));
    assert.ok(fleet.order.indexOf(peers1) < fleet.order.indexOf(route), fleet.order.join(" "));
  });

  test("an endpoint change becomes one row and nothing else", async (t) => {
    const { aggregator, fleet } = await served(t);
    const before = fleet.order.length;
    aggregator.peers("member1", ["10.1.0.2", "10.1.0.3"]);
    await within(t, () => assert.deepEqual(addresses(fleet.get(peers1)), ["10.1.0.2", "10.1.0.3"]));
    assert.deepEqual(fleet.order.slice(before), [peers1]);
  });

  test("a cluster whose record goes loses its peers, and the other keeps its own", async (t) => {
    const { aggregator, fleet } = await servedByTwo(t);
    aggregator.peers("member1", null);
    await within(t, () => assert.ok(!fleet.rows.has(peers1)));
    assert.deepEqual(addresses(fleet.get(peers2)), ["10.2.0.1"]);
  });

  test("a backend that changes is made before the old one is broken", async (t) => {
    const { hub, aggregator, fleet } = await served(t);
    const before = fleet.order.length;
    addImport(hub, "cart");
    aggregator.peers("member1", ["10.1.0.9"], "cart");
    addIngress(hub, "shop", "cart");
    await within(t, () => assert.ok(!fleet.rows.has(upstream)));
    const order = fleet.order.slice(before);
    const at = (key: string) => order.indexOf(key);
    assert.ok(at("default.upstreams.shop-cart") < at(route), order.join(" "));
    assert.ok(at("default.peers.shop-cart.member1") < at(route), order.join(" "));
    assert.ok(at(route) < at(`-${peers1}`) && at(`-${peers1}`) < at(`-${upstream}`), order.join(" "));
  });

  test("peers that go while their import is away for a moment do not come back with it", async (t) => {
    const { hub, aggregator, fleet } = await served(t);
    aggregator.peers("member2", ["10.2.0.1"]);
    await aggregator.cluster({ cluster: "member2" });
    await within(t, () => assert.ok(fleet.rows.has(peers2)));
    hub.remove(resources.serviceImport, "shop/web");
    await within(t, () => assert.equal((fleet.get(route) as RouteRow).paths[0]?.upstream, null));
    aggregator.peers("member1", null);
    // Another service's change came behind it.
    aggregator.peers("member2", ["10.2.0.2"]);
    addImport(hub);
    await within(t, () => assert.equal((fleet.get(route) as RouteRow).paths[0]?.upstream, "shop-web"));
    await within(t, () => assert.ok(!fleet.rows.has(peers1)));
    await within(t, () => assert.deepEqual(addresses(fleet.get(peers2)), ["10.2.0.2"]));
  });

  test("a renderer that starts while the hub is away removes nothing and keeps peers current", async (t) => {
    const { server, hub, aggregator, fleet } = await servedBefore(t);
    const before = fleet.order.length;
    hub.leave();
    const second = startRenderer(server, hub);
    t.after(() => second.stop());
    aggregator.peers("member1", ["10.1.0.7"]);
    await within(t, () => assert.deepEqual(addresses(fleet.get(peers1)), ["10.1.0.7"]));
    assert.ok(!fleet.order.slice(before).some((key) => key.startsWith("-")), fleet.order.join(" "));
    assert.ok(fleet.rows.has(route) && fleet.rows.has(upstream));
    // An observed removal needs no hub.
    aggregator.peers("member1", null);
    await within(t, () => assert.ok(!fleet.rows.has(peers1)));
    assert.ok(fleet.rows.has(route));
  });

  test("a hub that accepts and never answers holds endpoints up for a bounded time only", async (t) => {
    const { server, hub, aggregator, fleet } = await servedBefore(t);
    hub.frozen = true;
    const second = startRenderer(server, hub);
    t.after(() => second.stop());
    aggregator.peers("member1", ["10.1.0.7"]);
    await within(t, () => assert.deepEqual(addresses(fleet.get(peers1)), ["10.1.0.7"]));
    assert.ok(fleet.rows.has(route) && fleet.rows.has(upstream));
  });

  test("what went while no renderer ran is removed once the hub has been listed", async (t) => {
    const { server, hub, aggregator, fleet } = shopWorld(t);
    addIngress(hub, "other");
    const first = startRenderer(server, hub);
    await within(t, () => assert.ok(fleet.settled && fleet.rows.has("default.routes.other_example_test")));
    await first.stop();
    hub.leave();
    hub.remove(resources.multiClusterIngress, "shop/other");
    const second = startRenderer(server, hub);
    t.after(() => second.stop());
    aggregator.peers("member1", ["10.1.0.8"]);
    await within(t, () => assert.deepEqual(addresses(fleet.get(peers1)), ["10.1.0.8"]));
    assert.ok(fleet.rows.has("default.routes.other_example_test"));
    hub.away = false;
    await within(t, () => assert.ok(!fleet.rows.has("default.routes.other_example_test")));
    assert.ok(fleet.rows.has(route));
  });

  test("a renderer that starts again and finds everything right writes no record", async (t) => {
    const { server, hub, aggregator, fleet } = await servedBefore(t);
    const before = fleet.order.length;
    const second = startRenderer(server, hub);
    t.after(() => second.stop());
    // The first change that it writes comes after all that its start would write.
    aggregator.peers("member1", ["10.1.0.8"]);
    await within(t, () => assert.deepEqual(fleet.order.slice(before), [peers1]));
    assert.deepEqual(addresses(fleet.get(peers1)), ["10.1.0.8"]);
  });

  test("an MCI that comes before its import does not put a 503 where a route was", async (t) => {
    const { server, hub, aggregator, fleet } = await servedBefore(t);
    const before = fleet.order.length;
    hub.missing.add(resources.serviceImport.plural); // an API has its CRDs one after the other at a start
    const second = startRenderer(server, hub);
    t.after(() => second.stop());
    aggregator.peers("member1", ["10.1.0.8"]);
    await within(t, () => assert.deepEqual(fleet.order.slice(before), [peers1]));
    assert.equal((fleet.get(route) as RouteRow).paths[0]?.upstream, "shop-web");
  });

  test("kinds whose CRDs come late are waited for", async (t) => {
    const { server, hub, fleet } = shopWorld(t);
    hub.missing.add(resources.serviceImport.plural);
    hub.missing.add(resources.multiClusterIngress.plural);
    const renderer = startRenderer(server, hub);
    t.after(() => renderer.stop());
    await within(t, () => assert.ok(fleet.rows.has("default.clusters.member1")));
    assert.ok(!fleet.rows.has(route) && !fleet.settled);
    hub.missing.clear();
    await within(t, () => assert.ok(fleet.settled && fleet.rows.has(route)));
  });

  test("a fleet is not settled while nobody can tell what the hub holds", async (t) => {
    const { server, hub, fleet } = shopWorld(t);
    hub.leave();
    const renderer = startRenderer(server, hub);
    t.after(() => renderer.stop());
    await within(t, () => assert.ok(fleet.rows.has("default.clusters.member1")));
    assert.ok(!fleet.settled);
    hub.away = false;
    await within(t, () => assert.ok(fleet.settled && fleet.rows.has(route)));
  });

  test("of two renderers one writes; the other takes over without a list or a row", async (t) => {
    const { server, hub, aggregator, fleet, renderer } = await served(t);
    const other = startRenderer(server, hub);
    t.after(() => other.stop());
    const both = [renderer, other];
    await within(t, () => assert.deepEqual(both.map(({ rank }) => rank).sort(), [0, 1]));
    // The second may rank first: then it takes over now.
    await within(t, () => assert.ok(fleet.settled));
    addIngress(hub, "late");
    await within(t, () => assert.ok(fleet.rows.has("default.routes.late_example_test")));
    await within(t, () => assert.ok(hub.applied.length > 0 && hub.lists >= 6));
    const holder = renderer.rank === 0 ? renderer : other;
    const heir = holder === renderer ? other : renderer;
    const before = { rows: new Map(fleet.rows), told: fleet.order.length, lists: hub.lists };
    const claims = () => server.keys("fleet").filter((key) => key.includes("._meta.claim.")).length;
    const claimed = claims();
    await holder.stop();
    await within(t, () => assert.ok(claims() > claimed && fleet.settled && heir.rank === 0));
    assert.deepEqual(fleet.rows, before.rows);
    assert.equal(fleet.order.length, before.told);
    assert.equal(hub.lists, before.lists);
    aggregator.peers("member1", ["10.1.0.7"]);
    await within(t, () => assert.deepEqual(addresses(fleet.get(peers1)), ["10.1.0.7"]));
  });

  test("a wiped bus gets every row again", async (t) => {
    const { server, fleet } = await served(t);
    const rows = new Map(fleet.rows);
    server.restart({ wipe: true });
    await within(t, () => assert.ok(fleet.settled));
    await within(t, () => assert.deepEqual(new Map(fleet.rows), rows));
  });

  test("a cluster's row holds what its Nodes and a person allow, and says stale when its heartbeat is old", async (t) => {
    const { server, hub, aggregator, fleet } = shopWorld(t);
    const renderer = startRenderer(server, hub);
    t.after(() => renderer.stop());
    await aggregator.cluster({ cluster: "member1", nodeCidrs: ["10.9.0.0/24", "127.0.0.0/8"] });
    await aggregator.cluster({ cluster: "member2", heartbeatAt: Date.now() - 60_000 });
    const row = (name: string) => fleet.get(`default.clusters.${name}`) as FleetCluster | undefined;
    await within(t, () => assert.deepEqual(row("member1")?.allowed, ["10.1.0.0/16", "10.9.0.0/24"]));
    assert.equal(row("member1")?.state, "ok");
    await within(t, () => assert.equal(row("member2")?.state, "stale"));
  });

  test("a cluster whose Nodes nobody has listed yet takes no row away from the proxies that have one", async (t) => {
    const { server, hub, aggregator, fleet } = shopWorld(t);
    const first = startRenderer(server, hub);
    await aggregator.cluster({ cluster: "member2", nodeCidrs: ["10.2.0.0/16"] });
    const allowed = () => (fleet.get("default.clusters.member2") as FleetCluster | undefined)?.allowed;
    await within(t, () => assert.deepEqual(allowed(), ["10.2.0.0/16"]));
    await first.stop();
    await aggregator.cluster({ cluster: "member2" }, false);
    await aggregator.cluster({ cluster: "member3", nodeCidrs: ["10.3.0.0/16"] });
    const second = startRenderer(server, hub);
    t.after(() => second.stop());
    await within(t, () => assert.ok(fleet.rows.has("default.clusters.member3")));
    assert.deepEqual(allowed(), ["10.2.0.0/16"]);
    assert.equal(fleet.order.filter((key) => key === "default.clusters.member2").length, 1);
  });

  test("an MCI's status gets the fleet's address, under our field manager alone", async (t) => {
    const { server, hub } = shopWorld(t);
    addIngress(hub, "theirs", "web", "other");
    const renderer = startRenderer(server, hub);
    t.after(() => renderer.stop());
    await within(t, () => assert.equal(hub.applied.length, 1));
    assert.deepEqual(hub.applied[0], {
      object: {
        apiVersion: "networking.karmada.io/v1alpha1",
        kind: "MultiClusterIngress",
        metadata: { name: "shop", namespace: "shop" },
        status: { loadBalancer: { ingress: [{ ip: "192.0.2.10" }] } },
      },
      options: { fieldManager: "sluice-config-renderer", force: true, subresource: "status" },
    });
  });

  test("an MCI that leaves our classes loses the address that we gave it, and nobody else's", async (t) => {
    const { hub } = await served(t);
    const put = (name: string, manager: string) =>
      hub.put<MultiClusterIngress>(resources.multiClusterIngress, {
        metadata: { name, namespace: "shop", managedFields: [{ manager, subresource: "status" }] },
        spec: { ingressClassName: "nginx-of-others", rules: [] },
        status: { loadBalancer: { ingress: [{ ip: "192.0.2.10" }] } },
      });
    hub.applied.length = 0;
    put("theirs", "somebody");
    put("shop", "sluice-config-renderer");
    await within(t, () => assert.equal(hub.applied.length, 1));
    assert.equal(hub.applied[0]?.object.metadata.name, "shop");
    assert.ok(!("status" in (hub.applied[0]?.object ?? {})));
  });

  test("an MCI that names a missing service answers 503, and one Event on it says why", async (t) => {
    const { server, hub, fleet } = shopWorld(t);
    addIngress(hub, "broken", "nowhere");
    const renderer = startRenderer(server, hub);
    t.after(() => renderer.stop());
    await within(t, () => assert.equal(hub.events.length, 1));
    const [event] = hub.events;
    assert.equal(event?.reason, "ImportMissing");
    assert.match(event?.message ?? "", /namespace shop has no ServiceImport nowhere/);
    assert.deepEqual(
      { kind: event?.involvedObject.kind, name: event?.involvedObject.name, uid: event?.involvedObject.uid },
      { kind: "MultiClusterIngress", name: "broken", uid: "uid-shop/broken" },
    );
    await within(t, () => {
      const broken = fleet.get("default.routes.broken_example_test") as RouteRow | undefined;
      assert.equal(broken?.paths[0]?.upstream, null);
      assert.equal((fleet.get(route) as RouteRow | undefined)?.paths[0]?.upstream, "shop-web");
    });
  });

  test("an import whose port name no slice has is told so", async (t) => {
    const { server, hub, aggregator } = shopWorld(t);
    aggregator.exports([{ name: "http", port: 80, protocol: "TCP" }]);
    const renderer = startRenderer(server, hub);
    t.after(() => renderer.stop());
    await within(t, () => assert.equal(hub.events[0]?.reason, "PortMismatch"));
    assert.equal(hub.events[0]?.involvedObject.kind, "ServiceImport");
  });

  test("from-clusters that is narrowed takes the other clusters' peers out", async (t) => {
    const { hub, fleet } = await servedByTwo(t);
    addImport(hub, "web", { "sluice.dev/from-clusters": "member1" });
    await within(t, () => assert.ok(!fleet.rows.has(peers2)));
    assert.deepEqual(addresses(fleet.get(peers1)), ["10.1.0.1"]);
  });
});
