import assert from "node:assert/strict";
import { createServer, type Server } from "node:net";
import { type TestContext, test } from "node:test";
import { type IntentRecord, intentsTable, plainKeys } from "@sluice/contracts";
import { resources } from "@sluice/kube";
import { eventually } from "./clusters.ts";
import { Stage } from "./stage.ts";

const timeout = 240_000;
const PEERS = Array.from({ length: 12 }, (_, i) => `127.61.0.${i + 11}`);

/** Something that accepts connections at port 8080 of each peer, as pods do. */
async function listening(t: TestContext): Promise<Server[]> {
  const servers = await Promise.all(
    PEERS.map(async (address) => {
      const server = createServer((socket) => socket.destroy());
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(8080, address, resolve);
      });
      return server;
    }),
  );
  t.after(() => Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve)))));
  return servers;
}

/** member1 with shop/cart on twelve peers, published and in topology. */
async function world() {
  const stage = await Stage.start(["member1"]);
  await stage.service("member1");
  await stage.endpoints("member1", PEERS);
  await stage.export("member1");
  const stopWatcher = stage.watcher("member1");
  stage.aggregator({ members: ["member1"], peers: new Map([["member1", ["127.61.0.0/16"]]]) });
  await stage.hasPeers("member1", PEERS);
  const held = () => eventually("a list is held", async () => stage.clusters.get("member1")?.held);
  return { stage, stopWatcher, held, [Symbol.asyncDispose]: () => stage[Symbol.asyncDispose]() };
}

/** While nobody watches: everything that member1 exports is gone, as with an etcd that was restored. */
async function lose(stage: Stage): Promise<void> {
  const ref = { namespace: "shop", name: "cart-1" };
  await stage.client("member1").delete(resources.endpointSlice, ref, {}, stage.signal);
}

test("a watcher that comes back and lists nothing leaves peers that answer, and says so, until somebody lets it pass", {
  timeout,
}, async (t) => {
  await listening(t);
  await using w = await world();
  const { stage } = w;
  await w.stopWatcher();
  await lose(stage);
  stage.watcher("member1");
  const { peers, of, since, until } = await w.held();
  assert.deepEqual([peers, of], [12, 12]);
  assert.equal(Math.round((until - since) / 1000), 30);
  assert.deepEqual(stage.peers("member1"), PEERS);
  // Additions pass at once.
  await stage.endpoints("member1", ["127.61.0.99"], "cart-2");
  await stage.hasPeers("member1", [...PEERS, "127.61.0.99"]);
  const intent: IntentRecord = {
    verb: "accept-list",
    cluster: "member1",
    at: Date.now(),
    by: "ada",
    held: since,
  };
  await stage.bus.publish(intentsTable, plainKeys.intent("accept-list", "member1"), intent);
  await stage.hasPeers("member1", ["127.61.0.99"]);
  await eventually("no list is held", async () => stage.clusters.get("member1")?.held === undefined);
});

test("peers that do not answer go as soon as that is clear", { timeout }, async () => {
  await using w = await world();
  const { stage } = w;
  await w.stopWatcher();
  await lose(stage);
  stage.watcher("member1");
  let until = Number.POSITIVE_INFINITY;
  await eventually("its peers are gone", async () => {
    until = Math.min(until, stage.clusters.get("member1")?.held?.until ?? until);
    return stage.peers("member1")?.length === 0;
  });
  assert.ok(Date.now() < until, "they went when the time of the hold was over");
});

test("what a watch tells goes at once, however much it is", { timeout }, async (t) => {
  await listening(t);
  await using w = await world();
  await lose(w.stage);
  // A list that is held is told at once, and for half a minute.
  let held = false;
  await eventually("its peers are gone", async () => {
    held ||= w.stage.clusters.get("member1")?.held !== undefined;
    return w.stage.peers("member1")?.length === 0;
  });
  assert.equal(held, false);
});
