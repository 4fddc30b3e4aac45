import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type EndpointSlice,
  type KubeEvent,
  type KubeObject,
  type ResourceType,
  resources,
  type Service,
  type ServiceImport,
} from "@sluice/kube";
import { eventually } from "./clusters.ts";
import { Stage } from "./stage.ts";

const timeout = 240_000;

async function staged(names = ["hub", "member1"]): Promise<Stage> {
  const stage = await Stage.start(names);
  for (const name of names.slice(1)) {
    await stage.exportCart(name);
    stage.watcher(name);
  }
  return stage;
}

function importCart(stage: Stage, spec: ServiceImport["spec"] = { ports: [{ port: 80 }] }, name = "cart") {
  return stage.apply<ServiceImport>("hub", {
    apiVersion: "multicluster.x-k8s.io/v1alpha1",
    kind: "ServiceImport",
    metadata: { name, namespace: "shop" },
    spec: { type: "ClusterSetIP", ...spec },
  });
}

function inHub<T extends KubeObject>(stage: Stage, type: ResourceType<T>, name: string): Promise<T | null> {
  return stage.client("hub").get(type, { namespace: "shop", name }, stage.signal);
}

async function remove(stage: Stage, type: ResourceType, name: string): Promise<void> {
  await stage.client("hub").delete(type, { namespace: "shop", name }, {}, stage.signal);
}

async function importedAddresses(stage: Stage, name = "imported-member1-cart-1"): Promise<string> {
  const slice = await inHub<EndpointSlice>(stage, resources.endpointSlice, name);
  return (slice?.endpoints ?? []).flatMap(({ addresses }) => addresses).join();
}

const imported = (stage: Stage, addresses: string) =>
  eventually(`imported: ${addresses}`, async () => (await importedAddresses(stage)) === addresses);

async function eventsOn(stage: Stage, name: string): Promise<string[]> {
  const { items } = await stage
    .client("hub")
    .list<KubeEvent>(resources.event, { namespace: "shop" }, stage.signal);
  return items.filter((event) => event.involvedObject.name === name).map((event) => event.reason ?? "");
}

async function statusOf(stage: Stage, name = "cart"): Promise<string> {
  const object = await inHub<ServiceImport>(stage, resources.serviceImport, name);
  return (object?.status?.clusters ?? []).map(({ cluster }) => cluster).join();
}

async function nothingIsLeft(stage: Stage): Promise<void> {
  await eventually("no slices", async () => (await importedAddresses(stage)) === "");
  await eventually(
    "no Service",
    async () => (await inHub(stage, resources.service, "derived-cart")) === null,
  );
}

test("an import gets its derived Service, slices and clusters, follows them, and leaves nothing when it goes", {
  timeout,
}, async () => {
  await using stage = await staged(["hub", "member1", "member2"]);
  stage.aggregator({ members: ["member1", "member2"] });
  await importCart(stage);
  await imported(stage, "10.1.0.1");
  await eventually("clusters", async () => (await statusOf(stage)) === "member1,member2");
  const derived = await inHub<Service>(stage, resources.service, "derived-cart");
  assert.deepEqual(
    derived?.spec?.ports?.map(({ port }) => port),
    [80],
  );
  await stage.endpoints("member1", ["10.1.0.1", "10.1.0.2"]);
  await imported(stage, "10.1.0.1,10.1.0.2");
  await stage.unexport("member2");
  await eventually(
    "member2 gone",
    async () => (await importedAddresses(stage, "imported-member2-cart-1")) === "",
  );
  await eventually("one cluster", async () => (await statusOf(stage)) === "member1");
  await remove(stage, resources.serviceImport, "cart");
  await nothingIsLeft(stage);
});

test("what somebody deletes or edits of a derived Service or an imported slice is restored", {
  timeout,
}, async () => {
  await using stage = await staged();
  stage.aggregator({ members: ["member1"] });
  await importCart(stage);
  await imported(stage, "10.1.0.1");
  const hub = stage.client("hub");
  await remove(stage, resources.service, "derived-cart");
  await eventually("the Service is back", () => inHub(stage, resources.service, "derived-cart"));
  await remove(stage, resources.endpointSlice, "imported-member1-cart-1");
  await imported(stage, "10.1.0.1");
  const slice = { namespace: "shop", name: "imported-member1-cart-1" };
  const edit = { endpoints: [{ addresses: ["10.66.6.6"] }] };
  await hub.mergePatch(resources.endpointSlice, slice, edit, {}, stage.signal);
  await imported(stage, "10.1.0.1");
  const service = { namespace: "shop", name: "derived-cart" };
  const unlabel = { metadata: { labels: { "app.kubernetes.io/managed-by": null } } };
  await hub.mergePatch(resources.service, service, unlabel, {}, stage.signal);
  await eventually("the label is back", async () => {
    const found = await inHub<Service>(stage, resources.service, "derived-cart");
    return found?.metadata.labels?.["app.kubernetes.io/managed-by"] === "aggregator.sluice.dev";
  });
});

test("an object of that name that somebody else made is left alone and reported, and its place taken once it is gone", {
  timeout,
}, async () => {
  await using stage = await staged();
  const foreign = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "derived-cart", namespace: "shop", labels: { team: "till" } },
    spec: { ports: [{ port: 9999 }] },
  } as Service;
  await stage.apply("hub", foreign);
  stage.aggregator({ members: ["member1"] });
  await importCart(stage);
  await eventually("an Event", async () => (await eventsOn(stage, "cart")).includes("DerivedServiceTaken"));
  const found = await inHub<Service>(stage, resources.service, "derived-cart");
  assert.deepEqual(found?.metadata.labels, { team: "till" });
  assert.equal(await importedAddresses(stage), "");
  await stage.hasPeers("member1", ["10.1.0.1"]);
  await remove(stage, resources.service, "derived-cart");
  await imported(stage, "10.1.0.1");
  assert.deepEqual(await eventsOn(stage, "cart"), ["DerivedServiceTaken"], "said once");
});

test("a name of 56 characters is told on both sides, and disturbs nobody", { timeout }, async () => {
  await using stage = await staged();
  const long = "a".repeat(56);
  await stage.service("member1", long);
  await stage.endpoints("member1", ["10.1.0.9"], "long-1", long);
  await stage.export("member1", long);
  stage.aggregator({ members: ["member1"] });
  await importCart(stage, undefined, long);
  await importCart(stage);
  await eventually("an Event", async () => (await eventsOn(stage, long)).includes("NameTooLong"));
  await eventually(
    "a condition",
    async () => (await stage.conditions("member1", long))["Valid"] === "False NameTooLong",
  );
  await imported(stage, "10.1.0.1");
  assert.equal(stage.peers("member1", long), null);
});

test("a hub that hangs delays no topology, and has everything once it answers", { timeout }, async () => {
  await using stage = await staged();
  stage.aggregator({ members: ["member1"] });
  await importCart(stage);
  await imported(stage, "10.1.0.1");
  await stage.cluster("hub").setFault({ api: "hang" });
  for (let n = 2; n < 8; n++) {
    await stage.endpoints("member1", [`10.1.0.${n}`]);
    await stage.hasPeers("member1", [`10.1.0.${n}`]);
  }
  await stage.cluster("hub").setFault({ api: "none" });
  await imported(stage, "10.1.0.7");
});

test("a slice whose addresses become another family's, and an import that becomes headless, are made anew", {
  timeout,
}, async () => {
  await using stage = await staged();
  const options = { members: ["member1"], peers: new Map([["member1", ["2001:db8::/64"]]]) };
  const stop = stage.aggregator(options);
  await importCart(stage);
  await imported(stage, "10.1.0.1");
  await stop();
  const slice = { namespace: "shop", name: "cart-1" };
  await stage.client("member1").delete(resources.endpointSlice, slice, {}, stage.signal);
  await stage.endpoints("member1", ["2001:db8::1"]);
  stage.aggregator(options);
  await imported(stage, "2001:db8::1");
  await importCart(stage, { type: "Headless", ports: [{ port: 80 }] });
  await eventually("headless", async () => {
    const found = await inHub<Service>(stage, resources.service, "derived-cart");
    return found?.spec?.clusterIP === "None";
  });
});

test("an aggregator that starts again while a watcher is away leaves the hub as it is, and cleans up once it knows", {
  timeout,
}, async () => {
  await using stage = await Stage.start(["hub", "member1"]);
  await stage.exportCart("member1");
  await stage.endpoints("member1", ["10.1.0.2"], "cart-2");
  const stopWatcher = stage.watcher("member1");
  const stopAggregator = stage.aggregator({ members: ["member1"] });
  await importCart(stage);
  await imported(stage, "10.1.0.1");
  await eventually(
    "both",
    async () => (await importedAddresses(stage, "imported-member1-cart-2")) === "10.1.0.2",
  );
  await eventually("clusters", async () => (await statusOf(stage)) === "member1");
  await stopWatcher();
  await stopAggregator();
  stage.server.restart({ wipe: true });
  await stage
    .client("member1")
    .delete(resources.endpointSlice, { namespace: "shop", name: "cart-2" }, {}, stage.signal);
  stage.aggregator({ members: ["member1"] });
  // A later import is done: the writer has been at work, and left what it does not know.
  await importCart(stage, undefined, "till");
  await eventually("another import", () => inHub(stage, resources.service, "derived-till"));
  assert.equal(await importedAddresses(stage), "10.1.0.1");
  assert.equal(await importedAddresses(stage, "imported-member1-cart-2"), "10.1.0.2");
  assert.equal(await statusOf(stage), "member1");
  stage.watcher("member1");
  await eventually(
    "cleaned up",
    async () => (await importedAddresses(stage, "imported-member1-cart-2")) === "",
  );
  assert.equal(await importedAddresses(stage), "10.1.0.1");
  assert.equal(await statusOf(stage), "member1");
});

test("what an import leaves behind while no aggregator runs is taken away by the next", {
  timeout,
}, async () => {
  await using stage = await staged();
  const stop = stage.aggregator({ members: ["member1"] });
  await importCart(stage);
  await imported(stage, "10.1.0.1");
  await stop();
  await remove(stage, resources.serviceImport, "cart");
  stage.aggregator({ members: ["member1"] });
  await nothingIsLeft(stage);
});

test("an import that the hub refuses a Service for is told why, and the others are served", {
  timeout,
}, async () => {
  await using stage = await staged();
  stage.aggregator({ members: ["member1"] });
  await importCart(stage, { ports: [{ port: 80, name: "NOT_A_LABEL" }] }, "till");
  await importCart(stage);
  await imported(stage, "10.1.0.1");
  await eventually("an Event", async () => (await eventsOn(stage, "till")).includes("RefusedByHub"));
});
