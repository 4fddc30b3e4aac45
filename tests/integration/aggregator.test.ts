import assert from "node:assert/strict";
import { test } from "node:test";
import { parseJson, type Synced, topologyKeys, verdictsTable } from "@sluice/contracts";
import { eventually } from "./clusters.ts";
import { Stage } from "./stage.ts";

const timeout = 240_000;
const peersKey = (cluster: string) => topologyKeys.peers("shop", "cart", cluster);

/** Members 1 to n, each of which exports shop/cart. */
async function exporting(count: number): Promise<Stage> {
  const names = Array.from({ length: count }, (_, i) => `member${i + 1}`);
  const stage = await Stage.start(names);
  for (const name of names) await stage.exportCart(name);
  return stage;
}

/** The same with all watchers and an aggregator at work, and every peer there. */
async function running(count: number): Promise<Stage> {
  const stage = await exporting(count);
  const members = Array.from({ length: count }, (_, i) => `member${i + 1}`);
  for (const name of members) stage.watcher(name);
  stage.aggregator({ members, refused: ["10.1.0.66"] });
  for (const [i, name] of members.entries()) await stage.hasPeers(name, [`10.${i + 1}.0.1`]);
  return stage;
}

/** Of how many partitions `synced` names the newest claim. */
function settledPartitions(stage: Stage): number {
  const shards = Array.from({ length: 16 }, (_, n) => ({ scope: "", shard: String(n) }));
  return shards.filter((part) => stage.topology.isSettled(part)).length;
}

function removals(stage: Stage): string[] {
  return stage.told.filter((change) => change.endsWith("gone"));
}

test("each cluster's peers are a row of their own, which goes when that cluster's export goes", {
  timeout,
}, async () => {
  await using stage = await running(2);
  await eventually("settled", async () => settledPartitions(stage) === 16);
  await stage.unexport("member1");
  await stage.hasPeers("member1", null);
  assert.deepEqual(stage.peers("member2"), ["10.2.0.1"]);
  assert.deepEqual(removals(stage), [`${peersKey("member1")} gone`]);
});

test("an aggregator that starts again while a member's watcher is away removes nothing and goes on for the others", {
  timeout,
}, async () => {
  await using stage = await exporting(2);
  stage.watcher("member1");
  const stopWatcher = stage.watcher("member2");
  const members = ["member1", "member2"];
  const stopAggregator = stage.aggregator({ members });
  await stage.hasPeers("member2", ["10.2.0.1"]);
  await eventually("settled", async () => settledPartitions(stage) === 16);
  await stopWatcher();
  await stopAggregator();
  // The servers lose their memory, and `slices` all it had of the member that is away.
  stage.server.restart();
  for (const key of ["_export", "cart-1"]) {
    const found = stage.server.get("slices", `member2.shop.cart.${key}`);
    if (found !== null) stage.server.removeMessage("slices", found.revision);
  }
  stage.aggregator({ members });
  await stage.endpoints("member1", ["10.1.0.1", "10.1.0.2"]);
  await stage.hasPeers("member1", ["10.1.0.1", "10.1.0.2"]);
  assert.deepEqual(stage.peers("member2"), ["10.2.0.1"]);
  assert.equal(settledPartitions(stage), 0, "absence in topology is not absence yet");
  stage.watcher("member2");
  await eventually("settled", async () => settledPartitions(stage) === 16);
  assert.deepEqual(stage.peers("member2"), ["10.2.0.1"]);
  assert.deepEqual(removals(stage), []);
});

test("one member that never comes holds back no row of the others, new, changed or gone", {
  timeout,
}, async () => {
  await using stage = await exporting(1);
  stage.watcher("member1");
  stage.aggregator({ members: ["member1", "member9"] });
  await stage.hasPeers("member1", ["10.1.0.1"]);
  const service = topologyKeys.service("shop", "cart");
  await eventually("its service", async () => stage.topology.get(service));
  await stage.unexport("member1");
  await stage.hasPeers("member1", null);
  await eventually("its service is gone", async () => stage.topology.get(service) === undefined);
  assert.equal(settledPartitions(stage), 0);
});

test("a cluster whose CIDRs are not known (again) keeps the peers that are there", { timeout }, async () => {
  await using stage = await exporting(1);
  const stopWatcher = stage.watcher("member1");
  const stopAggregator = stage.aggregator({ members: ["member1"] });
  await stage.hasPeers("member1", ["10.1.0.1"]);
  await stopWatcher();
  await stopAggregator();
  // `clusters` alone is lost: nobody can tell what the member's peers may be.
  const found = stage.server.get("clusters", "member1");
  assert.ok(found);
  stage.server.removeMessage("clusters", found.revision);
  await stage.cluster("member1").setFault({ api: "hang" });
  stage.aggregator({ members: ["member1"] });
  stage.watcher("member1");
  await eventually("its watcher says that it knows nothing", async () => {
    const record = stage.server.get("clusters", "member1");
    return record !== null && !Buffer.from(record.value).includes("nodeCidrs");
  });
  assert.deepEqual(stage.peers("member1"), ["10.1.0.1"]);
  await stage.cluster("member1").setFault({ api: "none" });
  await stage.endpoints("member1", ["10.1.0.3"]);
  await stage.hasPeers("member1", ["10.1.0.3"]);
  assert.deepEqual(removals(stage), []);
});

test("a peer outside its cluster's CIDRs is refused with a condition, and accepted once a Node has them", {
  timeout,
}, async () => {
  await using stage = await running(1);
  await stage.endpoints("member1", ["10.1.0.1", "10.7.0.1", "10.1.0.66"]);
  const ready = async () => (await stage.conditions("member1"))["Ready"];
  await eventually("refused", async () => (await ready()) === "False PeersRefused");
  assert.deepEqual(stage.peers("member1"), ["10.1.0.1"]);
  await stage.endpoints("member1", ["10.1.0.1", "10.7.0.1"]);
  await stage.apply("member1", {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: "node-b" },
    spec: { podCIDR: "10.7.0.0/16" },
  } as never);
  await stage.hasPeers("member1", ["10.1.0.1", "10.7.0.1"]);
  await eventually("ready again", async () => (await ready()) === "True Exported");
});

test("exports that conflict: the oldest wins, the other is told, and is told no more when it agrees", {
  timeout,
}, async () => {
  await using stage = await Stage.start(["member1", "member2"]);
  await stage.exportCart("member1");
  stage.watcher("member1");
  stage.watcher("member2");
  stage.aggregator({ members: ["member1", "member2"] });
  await stage.hasPeers("member1", ["10.1.0.1"]);
  // Times of objects are whole seconds; of the same second, member1 wins by its name.
  await stage.apply("member2", {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "cart", namespace: "shop" },
    spec: { ports: [{ port: 81 }] },
  } as never);
  await stage.export("member2");
  const conflict = async (name: string) => (await stage.conditions(name))["Conflict"];
  await eventually("told", async () => (await conflict("member2")) === "True OldestExportWins");
  assert.equal(await conflict("member1"), "False NoConflicts");
  await stage.unexport("member1");
  await eventually("told no more", async () => (await conflict("member2")) === "False NoConflicts");
});

test("a verdict on an export that went while no aggregator ran is taken back", { timeout }, async () => {
  await using stage = await exporting(1);
  await stage.endpoints("member1", ["10.7.0.1"]);
  stage.watcher("member1");
  const stop = stage.aggregator({ members: ["member1"] });
  const verdicts = stage.bus.view(verdictsTable);
  await eventually("a verdict", async () => verdicts.size === 1);
  await stop();
  await stage.unexport("member1");
  await eventually("withdrawn", async () => stage.slices.size === 0);
  stage.aggregator({ members: ["member1"] });
  await eventually("no verdict", async () => verdicts.size === 0);
});

test("a record under one cluster's key that speaks of another cluster adds no peer to that one", {
  timeout,
}, async () => {
  await using stage = await running(2);
  const key = "member1.shop.cart.planted";
  const claim = stage.server.get("slices", "member1._meta.claim.0.1");
  assert.ok(claim);
  const { id } = parseJson(claim.value, key) as Synced;
  const data = {
    ...(stage.slices.get("member2.shop.cart.cart-1") as object),
    slice: "planted",
    endpoints: [{ addresses: ["10.2.0.66"], ready: true, serving: true, terminating: false }],
  };
  stage.server.put("slices", key, Buffer.from(JSON.stringify({ v: 1, epoch: { n: 1, id }, data })), null);
  await stage.endpoints("member2", ["10.2.0.1", "10.2.0.2"]);
  await stage.hasPeers("member2", ["10.2.0.1", "10.2.0.2"]);
});
