import assert from "node:assert/strict";
import { test } from "node:test";
import { clustersTable, type IntentRecord, intentsTable, plainKeys } from "@sluice/contracts";
import { eventually } from "./clusters.ts";
import { Stage } from "./stage.ts";

const timeout = 240_000;

/** Members 1 to n that export shop/cart, their watchers, and orders that somebody may give. */
async function world(count: number) {
  const names = Array.from({ length: count }, (_, i) => `member${i + 1}`);
  const stage = await Stage.start(names);
  for (const name of names) await stage.exportCart(name);
  const intents = stage.bus.writer(intentsTable);
  return {
    stage,
    unjoin(cluster: string) {
      const intent: IntentRecord = { verb: "unjoin", cluster, at: Date.now(), by: "ada" };
      intents.set(plainKeys.intent("unjoin", cluster), intent);
    },
    join: (cluster: string) => intents.remove(plainKeys.intent("unjoin", cluster)),
    settled: () =>
      eventually("topology is settled", async () =>
        Array.from({ length: 16 }, (_, n) => ({ scope: "", shard: String(n) })).every((part) =>
          stage.topology.isSettled(part),
        ),
      ),
    gone: (cluster: string) =>
      eventually(`nothing of ${cluster} is on the bus`, async () => {
        const records = [...stage.slices.entries()].filter(([key]) => key.startsWith(`${cluster}.`));
        return records.length === 0 && stage.clusters.get(cluster) === undefined;
      }),
    [Symbol.asyncDispose]: () => stage[Symbol.asyncDispose](),
  };
}

test("an unjoined cluster leaves nothing, though its watcher lives, and comes back when it may join again", {
  timeout,
}, async () => {
  await using w = await world(2);
  const { stage } = w;
  for (const name of ["member1", "member2"]) stage.watcher(name);
  stage.aggregator({ members: ["member1", "member2"] });
  await stage.hasPeers("member1", ["10.1.0.1"]);
  await stage.hasPeers("member2", ["10.2.0.1"]);
  await eventually("heartbeats", async () => stage.clusters.get("member2"));
  w.unjoin("member2");
  await stage.hasPeers("member2", null);
  await w.gone("member2");
  // What happens there meanwhile is nobody's business.
  await stage.endpoints("member2", ["10.2.0.1", "10.2.0.2"]);
  await stage.endpoints("member1", ["10.1.0.1", "10.1.0.2"]);
  await stage.hasPeers("member1", ["10.1.0.1", "10.1.0.2"]);
  assert.equal(stage.peers("member2"), null);
  await w.gone("member2");
  w.join("member2");
  await stage.hasPeers("member2", ["10.2.0.1", "10.2.0.2"]);
  await eventually("heartbeats", async () => stage.clusters.get("member2"));
  await w.settled();
});

test("a watcher that starts while its cluster is unjoined says nothing, and removes nothing of the others", {
  timeout,
}, async () => {
  await using w = await world(2);
  const { stage } = w;
  w.unjoin("member2");
  stage.aggregator({ members: ["member1", "member2"] });
  for (const name of ["member1", "member2"]) stage.watcher(name);
  await stage.hasPeers("member1", ["10.1.0.1"]);
  await w.settled();
  assert.equal(stage.peers("member2"), null);
  assert.equal(stage.clusters.get("member2"), undefined);
  assert.ok(!stage.told.some((change) => change.includes("member2")));
});

test("a member that never comes keeps topology from being settled until it is unjoined", {
  timeout,
}, async () => {
  await using w = await world(1);
  const { stage } = w;
  stage.watcher("member1");
  stage.aggregator({ members: ["member1", "member9"] });
  await stage.hasPeers("member1", ["10.1.0.1"]);
  await stage.unexport("member1");
  await stage.hasPeers("member1", null);
  assert.ok(!stage.topology.isSettled({ scope: "", shard: "0" }));
  w.unjoin("member9");
  await w.settled();
});

test("an aggregator that starts anew keeps an unjoined cluster out, and finishes what another began", {
  timeout,
}, async () => {
  await using w = await world(2);
  const { stage } = w;
  const stopWatcher = stage.watcher("member2");
  stage.watcher("member1");
  const first = stage.aggregator({ members: ["member1", "member2"] });
  await stage.hasPeers("member2", ["10.2.0.1"]);
  await stopWatcher();
  await first();
  w.unjoin("member2");
  stage.aggregator({ members: ["member1", "member2"] });
  await w.gone("member2");
  await stage.hasPeers("member2", null);
  await stage.hasPeers("member1", ["10.1.0.1"]);
  await w.settled();
});

test("what cannot be read goes with an unjoined cluster, and goes again when somebody writes it after", {
  timeout,
}, async () => {
  await using w = await world(2);
  const { stage } = w;
  const { clusters } = stage;
  // A watcher that lives would write over it, and its word would go in place of this one.
  const stopWatcher = stage.watcher("member2");
  stage.aggregator({ members: ["member1", "member2"] });
  await stage.hasPeers("member2", ["10.2.0.1"]);
  await stopWatcher();
  const key = plainKeys.cluster("member2");
  const store = stage.server.connect();
  const writeNonsense = async () => {
    await store.put(clustersTable, key, Buffer.from(`{"v":2,"data":{}}`), null, stage.signal);
    await clusters.upToDate(stage.signal);
  };
  await writeNonsense();
  assert.ok(clusters.unreadable.has(key));
  w.unjoin("member2");
  await eventually("it is removed", async () => !clusters.unreadable.has(key));
  await writeNonsense();
  await eventually("it is removed again", async () => !clusters.unreadable.has(key));
  await w.gone("member2");
});
