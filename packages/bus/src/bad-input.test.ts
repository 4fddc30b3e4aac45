import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  clustersTable,
  type MemberRecord,
  membersTable,
  plainKeys,
  RecordTooLargeError,
  type SliceRecord,
  sliceKeys,
  slicesTable,
  type TableSpec,
} from "@sluice/contracts";
import { createKit, type Logger, silentLogger } from "@sluice/service-kit";
import { DroppedRecords } from "./dropped-records.ts";
import { sampleCluster as cluster } from "./sample-cluster.ts";
import { MemoryServer, memoryBus, type Store } from "./testing.ts";

const slice: SliceRecord = {
  cluster: "member1",
  namespace: "shop",
  service: "web",
  slice: "web-1",
  addressType: "IPv4",
  ports: [],
  endpoints: [],
};
const sliceKey = sliceKeys.slice("member1", "shop", "web", "web-1");

/** A process that reads `slices` and `clusters`, and whoever puts there what he likes. */
function world(t: TestContext) {
  const server = new MemoryServer();
  const controller = new AbortController();
  const { signal } = controller;
  const warnings: string[] = [];
  const log: Logger = Object.assign(Object.create(silentLogger) as Logger, {
    warn: (said: { key?: string; table?: string }) => warnings.push(`${said.table}/${said.key}`),
    child: () => log,
  });
  const kit = createKit({ service: "reader", signal, log });
  const bus = memoryBus({ role: "reader", signal, server, kit });
  const told: string[] = [];
  const slices = bus.view(slicesTable, { onChange: (key) => told.push(key) });
  const clusters = bus.view(clustersTable, { onChange: (key) => told.push(key) });
  const joined = bus.join();
  t.after(async () => {
    controller.abort();
    await Promise.all([slices.done, clusters.done, joined]);
  });
  const stranger = memoryBus({ role: "stranger", signal, server });
  const members = stranger.view(membersTable);
  const dropped = async (table: string, reason: string) => {
    const { values } = await kit.metrics.dropped.get();
    return values.find(({ labels }) => labels.table === table && labels.reason === reason)?.value ?? 0;
  };
  return {
    bus,
    server,
    told,
    warnings,
    dropped,
    stranger,
    slices,
    put: (spec: TableSpec, key: string, value: unknown) =>
      server.put(
        spec.name,
        key,
        Buffer.from(typeof value === "string" ? value : JSON.stringify(value)),
        null,
      ),
    problems: () => {
      const record = [...members.entries()].find(([key]) => key === bus.self)?.[1] as
        | MemberRecord
        | undefined;
      return Object.fromEntries((record?.problems ?? []).map((p) => [p.subject, `${p.count} ${p.reason}`]));
    },
  };
}

const soon = { timeout: 60_000, interval: 20 };

test("what does not fit is counted, logged once a key, told in the heartbeat and never applied", async (t) => {
  const { put, told, warnings, dropped, problems } = world(t);
  put(clustersTable, "member1", "not JSON at all");
  put(clustersTable, "member2", { v: 1, data: { ...cluster, cluster: "member2", heartbeatAt: "now" } });
  put(clustersTable, "member2", { v: 1, data: { ...cluster, cluster: "member2", heartbeatAt: "now" } });
  put(clustersTable, "member3", { v: 2, data: { cluster: "member3", beats: [] } });
  put(clustersTable, "member4", { v: 1, data: cluster });
  put(slicesTable, "nobody", { v: 1, data: slice });
  put(slicesTable, sliceKey, { v: 1, data: slice });
  await t.waitFor(() => {
    assert.deepEqual(problems(), {
      "clusters/member1": "1 not JSON",
      "clusters/member2": "2 field /heartbeatAt must be number",
      "clusters/member3": "1 field /v is 2, known here is 1",
      "clusters/member4": "1 foreign_name",
      "slices/nobody": "1 foreign_key",
      [`slices/${sliceKey}`]: "1 field /epoch is missing",
    });
  }, soon);
  assert.deepEqual(told, []);
  assert.equal(await dropped("clusters", "bad_record"), 3);
  assert.equal(await dropped("clusters", "unknown_version"), 1);
  assert.equal(await dropped("clusters", "foreign_name"), 1);
  assert.equal(await dropped("slices", "foreign_key"), 1);
  assert.equal(await dropped("slices", "bad_record"), 1);
  assert.deepEqual(warnings.toSorted(), [
    "clusters/member1",
    "clusters/member2",
    "clusters/member3",
    "clusters/member4",
    `slices/${sliceKey}`,
    "slices/nobody",
  ]);
});

test("a bad record takes nothing away, and is forgotten once a good one stands there", async (t) => {
  const { bus, put, told, stranger, problems } = world(t);
  const view = bus.view(clustersTable);
  await stranger.publish(clustersTable, "member1", cluster);
  await t.waitFor(() => assert.deepEqual(told, ["member1"]), soon);
  put(clustersTable, "member1", { v: 1, data: { ...cluster, exports: "many" } });
  await t.waitFor(() => assert.match(problems()["clusters/member1"] ?? "", /exports/), soon);
  assert.deepEqual(view.get("member1"), cluster);
  await stranger.publish(clustersTable, "member1", { ...cluster, exports: 2 });
  await t.waitFor(() => {
    assert.equal(view.get("member1")?.exports, 2);
    assert.deepEqual(problems(), {});
  }, soon);
});

test("a bad record in a part is overwritten by its holder, and readers keep what they had meanwhile", async (t) => {
  const { put, server, told, slices, stranger, dropped } = world(t);
  const holder = stranger.hold(slicesTable, { scope: "member1", shard: "0" }, { fresh: async () => {} });
  holder.set(sliceKey, slice);
  await t.waitFor(() => assert.deepEqual(told, [sliceKey]), soon);
  const { revision } = server.get("slices", sliceKey)!;
  put(slicesTable, sliceKey, { v: 1, epoch: { n: 1, id: "x" }, data: { ...slice, endpoints: "all" } });
  await t.waitFor(async () => {
    assert.equal(await dropped("slices", "bad_record"), 1);
    assert.ok(server.get("slices", sliceKey)!.revision > revision + 1);
  }, soon);
  assert.deepEqual(slices.get(sliceKey), slice);
  assert.deepEqual(told, [sliceKey]);
});

test("a heartbeat names the newest twenty subjects", () => {
  const dropped = new DroppedRecords();
  for (let n = 0; n < 100; n++) dropped.note(`clusters/member${n}`, "not JSON");
  dropped.note("clusters/member85", "x".repeat(1000));
  const { problems } = dropped;
  assert.equal(problems.length, 20);
  assert.deepEqual(problems[0], { subject: "clusters/member80", reason: "not JSON", count: 1 });
  assert.equal(problems.at(-1)?.subject, "clusters/member85");
  assert.equal(problems.at(-1)?.count, 2);
  assert.equal(problems.at(-1)?.reason.length, 200);
});

test("a cluster whose name becomes another token still lies at its own key", async (t) => {
  const { told, stranger, problems } = world(t);
  const name = "eu.member1";
  await stranger.publish(clustersTable, plainKeys.cluster(name), { ...cluster, cluster: name });
  await t.waitFor(() => assert.deepEqual(told, ["eu_member1"]), soon);
  assert.deepEqual(problems(), {});
});

/** As a server with a small max_payload. */
class SmallServer extends MemoryServer {
  override connect(): Store {
    const store = super.connect();
    return {
      ...store,
      connected: true,
      get: (...args) => store.get(...args),
      lastRevision: (...args) => store.lastRevision(...args),
      follow: (...args) => store.follow(...args),
      boot: (signal) => store.boot(signal),
      close: () => store.close(),
      removeMessage: (...args) => store.removeMessage(...args),
      put: async (spec, key, value, expected, signal) => {
        if (value.byteLength <= 800) return store.put(spec, key, value, expected, signal);
        throw new RecordTooLargeError(`${spec.name}/${key}: ${value.byteLength} bytes, the bus takes 800`);
      },
    };
  }
}

test("a record that is too large is refused by name, told, and keeps nothing else waiting", async (t) => {
  const server = new SmallServer();
  const controller = new AbortController();
  const { signal } = controller;
  const kit = createKit({ service: "writer", signal });
  const bus = memoryBus({ role: "writer", signal, server, kit });
  const members = bus.view(membersTable);
  const holder = bus.hold(slicesTable, { scope: "member1", shard: "0" }, { fresh: async () => {} });
  const writer = bus.writer(clustersTable);
  const joined = bus.join();
  t.after(async () => {
    controller.abort();
    await Promise.all([members.done, holder.done, writer.done, joined]);
  });
  const other = sliceKeys.slice("member1", "shop", "web", "web-2");
  holder.set(sliceKey, { ...slice, service: "web", endpoints: endpoints(20) });
  holder.set(other, { ...slice, slice: "web-2" });
  writer.set("member1", { ...cluster, waiting: ["x".repeat(1000)] });
  await t.waitFor(() => {
    assert.ok(server.get("slices", other) !== null);
    assert.equal(server.get("slices", sliceKey), null);
    const problems = members.get(bus.self)?.problems ?? [];
    assert.deepEqual(problems.map(({ subject }) => subject).sort(), [
      "clusters/member1",
      `slices/${sliceKey}`,
    ]);
    for (const { reason } of problems) assert.match(reason, /\d+ bytes, the bus takes 800/);
  }, soon);
  const { values } = await kit.metrics.writes.get();
  const refused = values
    .filter(({ labels }) => labels.result === "too_large")
    .map(({ labels }) => labels.table);
  assert.deepEqual(refused.sort(), ["clusters", "slices"]);
  // Small enough again, it is written and no longer told.
  holder.set(sliceKey, slice);
  writer.set("member1", cluster);
  await t.waitFor(() => assert.deepEqual(members.get(bus.self)?.problems ?? [], []), soon);
});

function endpoints(n: number): SliceRecord["endpoints"] {
  return Array.from({ length: n }, (_, i) => ({
    addresses: [`10.0.0.${i + 1}`],
    ready: true,
    serving: true,
    terminating: false,
  }));
}
