import assert from "node:assert/strict";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { encodeEnvelope, loggedTables, slicesTable, streamOf } from "@sluice/contracts";
import { ensureTool, type NatsServer, startNatsServer, type Tool } from "@sluice/native-tools";
import { createKit } from "@sluice/service-kit";
import type { LogEntry } from "./log.ts";
import { LogFeeder } from "./log-feeder.ts";
import { NatsStore } from "./nats-store.ts";
import { pastAt } from "./past.ts";
import { slice } from "./table-contract.ts";

const forever = new AbortController().signal;
const timeout = 240_000;
let tool: Tool;
let root: string;
before(async () => {
  tool = await ensureTool("nats-server", { signal: forever });
  root = await mkdtemp(join(tmpdir(), "sluice-feeder-"));
});
after(async () => {
  await rm(root, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 3000; tries++) {
    if (await condition()) return;
    await delay(20);
  }
  assert.fail(`never came true: ${what}`);
}

/** A server, a client that writes as holders do, and feeders that are told whether they lead. */
class Trial implements AsyncDisposable {
  readonly #stop = new AbortController();
  readonly #running: Promise<void>[] = [];
  readonly #stores: NatsStore[] = [];
  readonly #dir: string;
  server: NatsServer;
  readonly store: NatsStore;

  private constructor(dir: string, server: NatsServer) {
    this.#dir = dir;
    this.server = server;
    this.store = this.#connect();
  }

  static async start(): Promise<Trial> {
    const dir = await mkdtemp(join(root, "nats-"));
    const trial = new Trial(dir, await startNatsServer({ tool, storeDir: dir, port: 0, signal: forever }));
    await trial.store.boot(trial.signal);
    return trial;
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  #connect(): NatsStore {
    const kit = createKit({ service: "test", signal: this.signal });
    const store = new NatsStore({ url: this.server.url, name: "aggregator", kit });
    this.#stores.push(store);
    return store;
  }

  /** Another process's feeder; resolves once it can hear. */
  async feeder(leads: () => boolean): Promise<void> {
    const store = this.#connect();
    await store.boot(this.signal);
    const kit = createKit({ service: "test", signal: this.signal });
    this.#running.push(new LogFeeder(store.log, leads, kit).run(this.signal));
    // Its subscriptions stand before the answer to what it asked behind them.
    await store.lastRevision(slicesTable, this.signal);
    await store.lastRevision(slicesTable, this.signal);
  }

  /** Compare-and-set, as holders write. */
  async put(name: string, address: string): Promise<void> {
    const [key, data] = slice(name, address);
    for (;;) {
      const there = await this.store.get(slicesTable, key, this.signal);
      const value = encodeEnvelope({ v: 1, epoch: { n: 1, id: "a" }, data });
      if ((await this.store.put(slicesTable, key, value, there?.revision ?? 0, this.signal)).ok) return;
    }
  }

  /** The log's entries of slices, once it has all that the table has. */
  async entries(): Promise<LogEntry[]> {
    await until("the log is fed", () =>
      Promise.all(loggedTables.map((spec) => this.store.log.caughtUpWith(spec, this.signal))).then(
        () => true,
        () => false,
      ),
    );
    return Array.fromAsync(this.store.log.read({ from: 1, table: "slices" }, this.signal));
  }

  async past() {
    const { last } = await this.store.log.extent(this.signal);
    return pastAt(this.store.log, { seq: last }, [slicesTable], this.signal);
  }

  /** Addresses by slice, as they lie in the table. */
  async table(): Promise<string[]> {
    const there = await Array.fromAsync(this.store.log.snapshot(slicesTable, ">", this.signal));
    return there.map(({ key, revision }) => `${key} ${revision}`).sort();
  }

  /** Stops the server, does something to its files, and starts it again. */
  async restart(meanwhile: (files: string) => Promise<void> = async () => {}): Promise<void> {
    const { port } = this.server;
    await this.server.close();
    await meanwhile(join(this.#dir, "jetstream/jetstream/$G/streams"));
    this.server = await startNatsServer({ tool, storeDir: this.#dir, port, signal: forever });
    await until("it is back", async () => this.store.connected);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error("the test is over"));
    await Promise.all(this.#running);
    for (const store of this.#stores) await store.close();
    await this.server.close();
  }
}

function folded(past: Awaited<ReturnType<Trial["past"]>>): string[] {
  return [...past.table(slicesTable).raw.values()].map(({ key, revision }) => `${key} ${revision}`).sort();
}

test("many writers at once: the log has each accepted change once, in the table's order, without a hole", {
  timeout,
}, async () => {
  await using trial = await Trial.start();
  await trial.feeder(() => true);
  await trial.entries();
  const writers = Array.from({ length: 8 }, async (_, w) => {
    for (let i = 0; i < 40; i++) await trial.put(`cart-${(w + i) % 6}`, `10.0.${w}.${i}`);
  });
  await Promise.all(writers);
  const entries = await trial.entries();
  assert.deepEqual(
    entries.map(({ revision }) => revision),
    Array.from({ length: 320 }, (_, i) => i + 1),
  );
  const newest = new Map<string, number>();
  for (const { key, revision, previous } of entries) {
    assert.equal(previous, newest.get(key) ?? 0);
    newest.set(key, revision);
  }
  const past = await trial.past();
  assert.deepEqual(past.gaps, []);
  assert.deepEqual(folded(past), await trial.table());
});

test("a standby that takes over while much is written leaves nothing out and puts nothing twice", {
  timeout,
}, async () => {
  await using trial = await Trial.start();
  let leader = 0;
  await trial.feeder(() => leader === 0);
  await trial.feeder(() => leader === 1);
  await trial.entries();
  for (let i = 0; i < 300; i++) {
    // For a while nobody leads, as after a kill.
    if (i === 100) leader = -1;
    if (i === 180) leader = 1;
    await trial.put(`cart-${i % 4}`, `10.0.0.${i % 250}`);
  }
  const entries = await trial.entries();
  assert.deepEqual(
    entries.map(({ revision }) => revision),
    Array.from({ length: 300 }, (_, i) => i + 1),
  );
  assert.equal(entries.filter(({ late }) => late).length, 0, "all of it was heard");
});

test("two that both take themselves for the leader put nothing twice and nothing out of order", {
  timeout,
}, async () => {
  await using trial = await Trial.start();
  await trial.feeder(() => true);
  await trial.feeder(() => true);
  for (let i = 0; i < 200; i++) await trial.put(`cart-${i % 4}`, `10.0.0.${i}`);
  const revisions = (await trial.entries()).map(({ revision }) => revision);
  assert.deepEqual(
    revisions,
    revisions.toSorted((a, b) => a - b),
  );
  assert.equal(new Set(revisions).size, revisions.length);
  assert.deepEqual(folded(await trial.past()), await trial.table());
});

test("a record that fills the bus's largest message leaves its value out of the log, and holds nothing up", {
  timeout,
}, async () => {
  await using trial = await Trial.start();
  await trial.feeder(() => true);
  await trial.put("cart-1", "10.0.0.1");
  const [key] = slice("cart-2", "10.0.0.1");
  // The server's own default, less the header of a compare-and-set.
  const value = Buffer.alloc(2 ** 20 - 100, "x");
  assert.ok((await trial.store.put(slicesTable, key, value, 0, trial.signal)).ok);
  await trial.put("cart-3", "10.0.0.3");
  const entries = await trial.entries();
  assert.deepEqual(
    entries.map(({ revision, value: logged }) => [revision, logged.byteLength > 0]),
    [
      [1, true],
      [2, false],
      [3, true],
    ],
  );
});

test("what nobody heard is one step a key, said to be a gap, and the state behind it is right", {
  timeout,
}, async () => {
  await using trial = await Trial.start();
  let leads = true;
  await trial.feeder(() => leads);
  await trial.put("cart-1", "10.0.0.1");
  await trial.entries();
  leads = false;
  await trial.restart();
  for (let i = 0; i < 10; i++) await trial.put("cart-1", `10.0.1.${i}`);
  // What was heard before the connection broke is no longer trusted.
  await trial.restart();
  leads = true;
  await trial.put("cart-2", "10.0.0.2");
  const entries = await trial.entries();
  assert.ok(entries.length < 12, "ten changes of one key are one");
  const past = await trial.past();
  assert.deepEqual(
    past.gaps.map(({ table, reason }) => [table, reason]),
    [["slices", "missing"]],
  );
  assert.deepEqual(folded(past), await trial.table());
});

test("a bucket that was emptied is found out: what was in it is not taken for there", {
  timeout,
}, async () => {
  await using trial = await Trial.start();
  await trial.feeder(() => true);
  for (let i = 1; i < 5; i++) await trial.put(`cart-${i}`, `10.0.0.${i}`);
  await trial.entries();
  const connection = await connect({ servers: trial.server.url });
  const jsm = await jetstreamManager(connection);
  const { config } = await jsm.streams.info(streamOf(slicesTable));
  await jsm.streams.delete(streamOf(slicesTable));
  await jsm.streams.add(config);
  await connection.close();
  await trial.put("cart-9", "10.0.0.9");
  await trial.entries();
  const past = await trial.past();
  assert.deepEqual(
    past.gaps.map(({ table, reason }) => [table, reason]),
    [["slices", "wiped"]],
  );
  assert.deepEqual(folded(past), ["member1.shop.cart.cart-9 1"]);
});

test("an older copy put in a bucket's place is found out, and the log says what it holds", {
  timeout,
}, async () => {
  await using trial = await Trial.start();
  await trial.feeder(() => true);
  await trial.put("cart-1", "10.0.0.1");
  await trial.entries();
  const copy = join(root, "copy");
  const bucket = streamOf(slicesTable);
  await trial.restart((files) => cp(join(files, bucket), copy, { recursive: true }));
  await trial.put("cart-1", "10.0.0.2");
  await trial.put("cart-2", "10.0.0.3");
  await trial.entries();
  await trial.restart(async (files) => {
    await rm(join(files, bucket), { recursive: true });
    await cp(copy, join(files, bucket), { recursive: true });
  });
  // What was put before the feeder listened again is a gap, too, of another kind.
  const wiped = async () => (await trial.past()).gaps.some(({ reason }) => reason === "wiped");
  await until("the log has noticed", wiped);
  assert.deepEqual(folded(await trial.past()), ["member1.shop.cart.cart-1 1"]);
  await trial.put("cart-3", "10.0.0.4");
  await trial.entries();
  const past = await trial.past();
  assert.ok(await wiped());
  assert.deepEqual(folded(past), await trial.table());
});
