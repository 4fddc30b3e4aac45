import assert from "node:assert/strict";
import { test } from "node:test";
import { pastAt } from "@sluice/bus";
import {
  CloudEvent,
  decode,
  eventStream,
  parseJson,
  slicesTable,
  streamOf,
  topologyTable,
} from "@sluice/contracts";
import { eventually } from "./clusters.ts";
import { natsOf, RecordedBus } from "./recorded-bus.ts";

const timeout = 240_000;

/** Two members with shop/cart, and an aggregator. */
async function running(): Promise<RecordedBus> {
  const bus = await RecordedBus.start();
  await bus.aggregator();
  for (const [i, name] of ["member1", "member2"].entries()) {
    const member = await bus.member(name);
    await member.says("cart", [`10.${i + 1}.0.1`]);
    await bus.hasPeers("cart", name, [`10.${i + 1}.0.1`]);
  }
  return bus;
}

async function events(bus: RecordedBus): Promise<CloudEvent[]> {
  const { jsm, close } = await natsOf(bus);
  try {
    const { state } = await jsm.streams.info(eventStream.name);
    const found: CloudEvent[] = [];
    for (let seq = 1; seq <= state.last_seq; seq++) {
      const message = await jsm.streams.getMessage(eventStream.name, { seq });
      assert.ok(message);
      found.push(decode(CloudEvent, parseJson(message.data, "event"), "event"));
      assert.ok(message.subject.startsWith(`sluice.events.v1.${found.at(-1)!.data.type}.shop.`));
    }
    return found;
  } finally {
    await close();
  }
}

test("each change of a service is one event, also over a change of the aggregator that derives them", {
  timeout,
}, async () => {
  await using bus = await RecordedBus.start();
  const stopFirst = await bus.aggregator();
  const member = await bus.member("member1");
  await member.says("cart", ["10.1.0.1"]);
  await bus.hasPeers("cart", "member1", ["10.1.0.1"]);
  const told = (...types: string[]) =>
    eventually(`events ${types}`, async () => {
      const found = await events(bus);
      return types.every((type) => found.some(({ data }) => data.type === type)) ? found : null;
    });
  await told("service-added", "cluster-added");
  await bus.aggregator();
  await stopFirst();
  await member.says("cart", ["10.1.0.1", "10.1.0.2"]);
  await bus.hasPeers("cart", "member1", ["10.1.0.1", "10.1.0.2"]);
  await member.says("cart", null);
  const found = await told("cluster-removed", "service-removed");
  assert.equal(new Set(found.map(({ id }) => id)).size, found.length, "no id comes twice");
  assert.deepEqual(found.map(({ data }) => data.type).toSorted(), [
    "cluster-added",
    "cluster-removed",
    "peers-changed",
    "service-added",
    "service-removed",
  ]);
  const changed = found.find(({ data }) => data.type === "peers-changed");
  assert.deepEqual(
    changed !== undefined && "added" in changed.data && changed.data.added.map(({ address }) => address),
    ["10.1.0.2"],
  );
  const sequences = found.map(({ sequence }) => sequence);
  assert.deepEqual(sequences, sequences.toSorted());
});

test("checkpoints are written as they fall due, and those that the log no longer reaches are removed", {
  timeout,
}, async () => {
  await using bus = await RecordedBus.start();
  await bus.aggregator({ everyMs: 100 });
  const member = await bus.member("member1");
  const list = () => bus.log.checkpoints.list(bus.signal);
  await member.says("cart", ["10.1.0.1"]);
  const [first] = await eventually("a checkpoint", async () => {
    const found = await list();
    return found.length > 0 ? found : null;
  });
  assert.ok(first);
  await member.says("cart", ["10.1.0.2"]);
  await eventually("a second one", async () => (await list()).length > 1);
  const { jsm, close } = await natsOf(bus);
  await jsm.streams.purge("sluice_log", { seq: first.from + 2 });
  await close();
  await member.says("cart", ["10.1.0.3"]);
  await bus.hasPeers("cart", "member1", ["10.1.0.3"]);
  await eventually("the first one is gone", async () => (await list()).every(({ seq }) => seq !== first.seq));
  const past = await pastAt(bus.log, { seq: await bus.logged() }, [topologyTable], bus.signal);
  const rows = [...past.table(topologyTable).believed()];
  assert.match(JSON.stringify(rows), /10\.1\.0\.3/);
  await assert.rejects(pastAt(bus.log, { seq: 1 }, [topologyTable], bus.signal), {
    code: "SLUICE_LOG_OUT_OF_REACH",
  });
});

test("topology comes back from checkpoint and log alone while every member is away", {
  timeout,
}, async () => {
  await using bus = await RecordedBus.start();
  const stopAggregator = await bus.aggregator({ everyMs: 100 });
  const members = [await bus.member("member1"), await bus.member("member2")];
  await members[0]!.says("cart", ["10.1.0.1"]);
  await members[1]!.says("cart", ["10.2.0.1"]);
  await eventually("a checkpoint", async () => (await bus.log.checkpoints.list(bus.signal)).length > 0);
  // Behind the checkpoint: only the log knows of it.
  await members[0]!.says("cart", ["10.1.0.1", "10.1.0.7"]);
  await members[1]!.says("web", ["10.2.0.9"]);
  await bus.hasPeers("cart", "member1", ["10.1.0.1", "10.1.0.7"]);
  await bus.hasPeers("web", "member2", ["10.2.0.9"]);
  await bus.logged();
  const before = rowsOf(bus);
  for (const member of members) await member.stop();
  await stopAggregator();

  const { jsm, close } = await natsOf(bus);
  for (const table of [slicesTable, topologyTable]) {
    const { config } = await jsm.streams.info(streamOf(table));
    await jsm.streams.delete(streamOf(table));
    await jsm.streams.add(config);
  }
  await jsm.streams.purge("KV_sluice_boot");
  await close();

  await bus.aggregator();
  // A reader who has never known anything.
  const after = await eventually("topology is back", async () => {
    await using reader = await bus.reader();
    await reader.topology.upToDate(bus.signal);
    const rows = Object.fromEntries(
      [...reader.topology.entries()].map(([key, row]) => [key, JSON.stringify(row)]),
    );
    return Object.keys(rows).length >= Object.keys(before).length ? rows : null;
  });
  assert.deepEqual(after, before);
});

function rowsOf(bus: RecordedBus): Record<string, string> {
  return Object.fromEntries([...bus.topology.entries()].map(([key, row]) => [key, JSON.stringify(row)]));
}

test("the log's bounds are what the aggregator is told", { timeout }, async () => {
  await using bus = await running();
  await eventually("its bounds", async () => {
    const { maxBytes, maxAgeSeconds } = await bus.log.extent(bus.signal);
    return maxBytes === 2 ** 30 && maxAgeSeconds === 3600;
  });
});
