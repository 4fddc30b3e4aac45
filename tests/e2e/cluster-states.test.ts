import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { connectBus } from "@sluice/bus";
import { clustersTable, decode, Status, type StatusCluster } from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import { RequestLoop } from "../world/requests.ts";
import { sluice as sluiceCommand } from "../world/sluice-command.ts";
import { type StartedWorld, startedWorld } from "../world/started-world.ts";
import { eventually, propagateCrds, Scenario } from "./scenario.ts";

// What takes a cluster out and what brings it back, as a person sees it: by orders of the command line, and by requests.

const over = new AbortController();
const { signal } = over;
let world: StartedWorld;
/** `cart` runs in both members, `pay` in member1 alone. */
let both: Scenario;
let alone: Scenario;

before(async () => {
  world = await startedWorld(["--empty", "--members", "2"], signal);
  await propagateCrds(world, ["member1", "member2"], signal);
  both = await Scenario.in(world, "states-both", signal);
  alone = await Scenario.in(world, "states-alone", signal);
  await both.applyAll(both.serviceObjects({ name: "cart", clusters: ["member1", "member2"] }));
  await alone.applyAll(alone.serviceObjects({ name: "pay", clusters: ["member1"] }));
  await both.answeredBy("cart", ["member1", "member2"], 2);
  await alone.answeredBy("pay", ["member1"], 1);
});
after(async () => {
  await world?.stop();
  over.abort();
});

const sluice = (...args: string[]) => sluiceCommand(world, args, signal);

async function status(): Promise<Status> {
  const answer = await fetch(`${world.addresses.gateway}/api/v1/status`, { signal });
  return decode(Status, await answer.json(), "status");
}

async function stateOf(cluster: string): Promise<StatusCluster | undefined> {
  return (await status()).clusters.find((each) => each.cluster === cluster);
}

test("a drained cluster gets no request until it is taken back in, and no request fails meanwhile", async () => {
  const url = `${world.addresses.proxy.http}/`;
  const loop = new RequestLoop(url, both.host, { lines: 2, pauseMs: 5, maxRequests: 100_000 });
  const drained = await sluice("drain", "member2", "--reason", "kernel update");
  assert.deepEqual([drained.exit, drained.stderr], [0, ""]);
  await both.answeredBy("cart", ["member1"]);
  const seen = await stateOf("member2");
  assert.equal(seen?.state, "drained");
  assert.match(seen.reason ?? "", /kernel update/);
  assert.equal(seen.peers, 1, "its peers stay, only requests do not go there");
  assert.match(
    (await sluice("status")).stdout,
    /member2 +drained .*Orders.* drain +member2 +\S+ +\S+ +kernel update/s,
  );
  assert.equal((await sluice("undrain", "member2")).exit, 0);
  await both.answeredBy("cart", ["member1", "member2"]);
  const { failed, firstFailure } = await loop.stop();
  assert.equal(failed, 0, firstFailure ?? "");
  assert.deepEqual((await status()).orders, []);
});

test("the last cluster of an import is not drained, unless it is forced: then its hosts answer 503", async () => {
  const refused = await sluice("drain", "member1");
  assert.equal(refused.exit, 2);
  assert.match(
    refused.stderr,
    /states-alone\/pay \(states-alone\.example\.test\).*--force.*SLUICE_LAST_CLUSTER/,
  );
  assert.equal((await alone.get()).status, 200);
  assert.equal((await sluice("drain", "member1", "--force")).exit, 0);
  await eventually("503", async () => (await alone.get()).status === 503);
  await both.answeredBy("cart", ["member2"]);
  assert.equal((await sluice("undrain", "member1")).exit, 0);
  await alone.answeredBy("pay", ["member1"]);
});

test("an order about a cluster that is not there says which are, and exits with 65", async () => {
  const { exit, stderr } = await sluice("drain", "membre2");
  assert.equal(exit, 65);
  assert.match(stderr, /no cluster membre2; there are member1, member2/);
});

test("a cluster whose pods are dead to the proxies is down for the fleet, and back once they answer", async () => {
  await world.fault("member2", { pods: "refuse" });
  await eventually("member2 is down", async () => {
    await both.answering(4);
    return (await stateOf("member2"))?.state === "down";
  });
  await both.answeredBy("cart", ["member1"]);
  assert.match((await stateOf("member2"))?.reason ?? "", /1 of 1 proxy/);
  await world.fault("member2", { pods: "none" });
  await eventually("member2 is back", async () => {
    await both.answering(4);
    return (await stateOf("member2"))?.state === "ok";
  });
  await both.answeredBy("cart", ["member1", "member2"]);
});

test("an unjoined cluster leaves nothing behind, its watcher is told, and it comes back when it joins", async () => {
  assert.equal((await sluice("unjoin", "member2")).exit, 0);
  await both.answeredBy("cart", ["member1"]);
  const told = await eventually("nothing of it in status", async () => {
    const now = await status();
    const left = now.clusters.some(({ cluster }) => cluster === "member2");
    const inServices = now.services.some((service) =>
      service.clusters.some(({ cluster }) => cluster === "member2"),
    );
    return left || inServices ? false : now;
  });
  const finding = told.findings.find(({ about }) => about === "cluster member2");
  assert.match(finding?.message ?? "", /member-watcher\.\S+ could watch it.*sluice join member2/);
  await eventually("one endpoint in the hub", async () => (await both.derivedEndpoints("cart")).length === 1);
  assert.equal((await sluice("join", "member2")).exit, 0);
  await both.answeredBy("cart", ["member1", "member2"]);
  await eventually("member2 is heard of", async () => (await stateOf("member2"))?.state === "ok");
});

test("a record that speaks of another cluster than its key is told with who left it out, and nothing else happens", async () => {
  const controller = new AbortController();
  const kit = createKit({ service: "e2e", signal: controller.signal });
  const { nats, natsFiles } = world.addresses;
  const bus = await connectBus({ url: nats, files: natsFiles, name: "e2e", kit });
  try {
    const now = Date.now();
    await bus.publish(clustersTable, "stranger", {
      cluster: "member1",
      heartbeatAt: now,
      api: { reachable: false, since: now - 3_600_000 },
      labels: {},
      waiting: [],
      exports: 0,
      watcher: "nobody",
    });
    const told = /left out by .*config-renderer.*topology-gateway.*: foreign_name/;
    await eventually("each of its readers tells it", async () =>
      (await status()).findings.some(
        ({ about, message }) => about === "record clusters/stranger" && told.test(message),
      ),
    );
    assert.equal((await stateOf("member1"))?.state, "ok");
    await both.answeredBy("cart", ["member1", "member2"]);
    const writer = bus.writer(clustersTable);
    writer.remove("stranger");
    await writer.idle();
    await eventually("it is forgotten", async () =>
      (await status()).findings.every(({ about }) => !about.startsWith("record")),
    );
  } finally {
    controller.abort();
    await bus.close();
  }
});
