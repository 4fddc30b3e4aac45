import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import {
  allTables,
  bootTable,
  clustersTable,
  membersTable,
  streamOf,
  subjectOf,
  type TableSpec,
} from "@sluice/contracts";
import { ensureTool, startNatsServer } from "@sluice/native-tools";
import { createKit, type Logger, silentLogger } from "@sluice/service-kit";
import { connectBus } from "./connect.ts";
import { sampleCluster as cluster } from "./sample-cluster.ts";

const soon = { timeout: 60_000, interval: 50 };

/** A real server, a process on it that follows every table, and a stranger who may write anything. */
async function world(t: TestContext) {
  const tool = await ensureTool("nats-server", { signal: t.signal });
  const storeDir = await mkdtemp(join(tmpdir(), "sluice-bad-"));
  const server = await startNatsServer({ tool, storeDir, port: 0, signal: t.signal });
  const controller = new AbortController();
  const kit = createKit({ service: "reader", signal: controller.signal });
  const bus = await connectBus({ url: server.url, name: "reader", kit });
  const told: string[] = [];
  const tables = allTables.filter((table) => table !== bootTable && table !== membersTable);
  const views = tables.map((table) =>
    bus.view(table, { onChange: (key) => told.push(`${table.name}/${key}`) }),
  );
  const members = bus.view(membersTable);
  const joined = bus.join();
  const stranger = await connect({ servers: server.url });
  t.after(async () => {
    await stranger.close();
    controller.abort();
    await Promise.all([...views.map((view) => view.done), members.done, joined]);
    await bus.close();
    await server.close();
    await rm(storeDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  });
  const js = jetstream(stranger);
  const jsm = await jetstreamManager(stranger);
  return {
    bus,
    url: server.url,
    remove: (table: TableSpec, key: string) =>
      jsm.streams.purge(streamOf(table), { filter: subjectOf(table, key) }),
    told,
    tables,
    put: (table: TableSpec, key: string, value: string | Uint8Array) =>
      js.publish(subjectOf(table, key), value),
    problems: () => new Map((members.get(bus.self)?.problems ?? []).map((p) => [p.subject, p.reason])),
  };
}

test("whatever bytes lie at whatever keys of a real server, the process lives, tells of them and reads on", {
  timeout: 240_000,
}, async (t) => {
  const { bus, told, tables, put, problems } = await world(t);
  const junk = [new Uint8Array([0xff, 0, 0x80]), "", "null", "[]", '{"v":1}', '{"v":7,"data":{}}'];
  for (const table of tables) {
    for (const [i, value] of junk.entries()) await put(table, `a.b.c.junk${i}`, value);
    await put(table, "_meta.claim", "{}");
    await put(table, `${"deep.".repeat(20)}end`, JSON.stringify({ v: 1, data: cluster }));
  }
  await bus.publish(clustersTable, "member1", cluster);
  await t.waitFor(() => {
    assert.deepEqual(told, ["clusters/member1"]);
    assert.equal(problems().size, 20);
  }, soon);
  for (const [subject, reason] of problems()) assert.ok(reason.length > 3, `${subject}: ${reason}`);
});

test("a record over the server's own max_payload is refused by name, and the next one is written", {
  timeout: 240_000,
}, async (t) => {
  const { bus, told, problems } = await world(t);
  const writer = bus.writer(clustersTable);
  writer.set("member1", { ...cluster, waiting: ["x".repeat(2_000_000)] });
  writer.set("member2", { ...cluster, cluster: "member2" });
  await t.waitFor(() => {
    assert.deepEqual(told, ["clusters/member2"]);
    assert.match(problems().get("clusters/member1") ?? "", /2000\d+ bytes, the bus takes 1048576/);
  }, soon);
});

test("an unreadable boot record is named once, and its removal lets everybody begin anew", {
  timeout: 240_000,
}, async (t) => {
  const { bus, url, put, remove } = await world(t);
  await put(bootTable, "id", "not JSON");
  const controller = new AbortController();
  const errors: string[] = [];
  const log: Logger = Object.assign(Object.create(silentLogger) as Logger, {
    error: (_said: object, message: string) => errors.push(message),
    child: () => log,
  });
  const kit = createKit({ service: "late", signal: controller.signal, log });
  const late = await connectBus({ url, name: "late", kit, waitOnFirstConnect: false });
  t.after(async () => {
    controller.abort();
    await late.close();
  });
  await t.waitFor(() => assert.match(errors[0] ?? "", /cannot be read; delete that key/), soon);
  assert.equal(late.connected, false);
  await remove(bootTable, "id");
  await t.waitFor(() => assert.equal(late.connected, true), soon);
  await late.publish(clustersTable, "member1", cluster);
  await t.waitFor(() => assert.equal(bus.connected, true), soon);
  assert.equal(errors.length, 1);
});
