import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { JetStreamManager } from "@nats-io/jetstream";
import {
  bootTable,
  membersTable,
  type SliceValue,
  slicesTable,
  streamOf,
  type TableSpec,
} from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import { createBus } from "./bus.ts";
import type { StoredEntry } from "./store.ts";
import { slice } from "./table-contract.ts";
import { eachNode, type Room, startTrialCluster, type TrialCluster } from "./trial-cluster.ts";

/** An election takes up to nine seconds on a quiet machine, and so does the next one. */
const LIMIT_MS = 120_000;
/** Copies that a server has lost are made again by the servers at a pace of theirs: seen to take a hundred seconds. */
const HEAL_MS = 300_000;
const part = { scope: "member1", shard: "0" };
const KEYS = 50;

let trial: TrialCluster;
before(async () => {
  trial = await startTrialCluster(6);
});
after(async () => {
  await trial[Symbol.asyncDispose]();
});

async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = LIMIT_MS,
  state: () => unknown = () => "",
): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, `never came true: ${what} ${JSON.stringify(state())}`);
    await delay(20);
  }
}

async function leaderOf(room: Room, spec: TableSpec): Promise<string> {
  const { connection, jsm } = await room.admin();
  try {
    for (;;) {
      const { cluster } = await jsm.streams.info(streamOf(spec)).catch(() => ({ cluster: undefined }));
      if (cluster?.leader) return cluster.leader;
      await delay(50);
    }
  } finally {
    await connection.close();
  }
}

/** Servers that have just met again take each other for current before they have looked. */
const STEADY_MS = 3000;

/**
 * Every copy of every stream is up to date, by its leader's word and by each server's own, so that the next fault meets a
 * whole cluster: tables in memory lose their quorum with the next server that dies before one that came back has them.
 */
async function healed(room: Room): Promise<void> {
  const { connection, jsm } = await room.admin();
  const streams = [slicesTable, bootTable, membersTable].map(streamOf);
  let since = performance.now();
  let seen: unknown;
  const isSteady = async () => {
    const copies = await Promise.all(streams.map((name) => currentCopies(jsm, name)));
    const healthy = await Promise.all(trial.cluster.nodes.map((node) => node.healthy()));
    seen = { streams, copies, healthy };
    const whole = copies.every((each) => each === 2) && healthy.every((each) => each);
    if (!whole) since = performance.now();
    return performance.now() - since >= STEADY_MS;
  };
  await until("every copy is current", isSteady, HEAL_MS, () => seen);
  await connection.close();
}

async function currentCopies(jsm: JetStreamManager, stream: string): Promise<number> {
  const info = await jsm.streams.info(stream).catch(() => null);
  return (info?.cluster?.replicas ?? []).filter(({ current, offline }) => current && offline !== true).length;
}

/** A holder that writes without a pause, and a reader that writes down all that it is told. */
class Traffic implements AsyncDisposable {
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>[] = [];
  readonly told: [string, SliceValue | undefined][] = [];
  readonly writer;
  readonly reader;
  readonly #stores;
  readonly holder;
  readonly view;
  #round = 0;
  #writing = true;

  constructor(room: Room) {
    const { signal } = this.#stop;
    const end = () => new AbortController();
    const process = (role: string) => {
      const kit = createKit({ service: role, signal });
      const ends = end();
      const store = room.connect({ ...kit, signal: ends.signal });
      return { store, bus: createBus(store, role, kit, ends) };
    };
    this.writer = process("member-watcher");
    this.reader = process("aggregator");
    this.#stores = [this.writer.store, this.reader.store];
    this.holder = this.writer.bus.hold(slicesTable, part, { fresh: async () => {} });
    this.view = this.reader.bus.view(slicesTable, { onChange: (key, value) => this.told.push([key, value]) });
    this.#running.push(this.holder.done, this.view.done, this.#write());
  }

  async #write(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      if (this.#writing) {
        this.#round++;
        for (const [key, value] of this.rows()) this.holder.set(key, value);
      }
      await delay(50);
    }
  }

  rows(): (readonly [string, SliceValue])[] {
    return Array.from({ length: KEYS }, (_, i) =>
      slice(`s${i}`, `10.${(this.#round >> 8) & 255}.${this.#round & 255}.${i}`),
    );
  }

  /** Once writing has paused, the reader holds exactly what was written last. */
  async converges(): Promise<void> {
    this.#writing = false;
    await delay(60);
    const wanted = JSON.stringify(this.rows().map(([key, value]) => [key, value]));
    await until("the reader holds what was written last", () => {
      const held = this.rows().map(([key]) => [key, this.view.get(key)]);
      return JSON.stringify(held) === wanted && this.view.isSettled(part) && this.holder.synced;
    });
    this.#writing = true;
    assert.deepEqual(
      this.told.filter(([, value]) => value === undefined),
      [],
      "nothing was taken away",
    );
  }

  async goesOn(): Promise<void> {
    const before = this.told.length;
    await until("changes arrive", () => this.told.length > before + KEYS);
  }

  async [Symbol.asyncDispose]() {
    this.#stop.abort(new Error("the case is over"));
    await Promise.all(this.#running);
    await Promise.all(this.#stores.map((store) => store.close()));
  }
}

function nodeNamed(name: string) {
  return trial.cluster.nodes.find((node) => node.name === name) ?? assert.fail(`there is no ${name}`);
}

test("a table's leader is killed, comes back, and comes back once more without its storage", {
  timeout: 900_000,
}, async () => {
  const room = trial.room();
  await using traffic = new Traffic(room);
  await traffic.goesOn();
  const boot = await traffic.reader.store.boot(AbortSignal.timeout(LIMIT_MS));
  const leader = nodeNamed(await leaderOf(room, slicesTable));
  await leader.kill();
  await traffic.goesOn();
  await traffic.converges();
  await leader.start();
  await healed(room);
  // The table of the servers' life is in memory: it must outlive the one that leads it.
  const keeper = nodeNamed(await leaderOf(room, bootTable));
  await keeper.kill();
  await keeper.wipe();
  await traffic.goesOn();
  await keeper.start();
  await healed(room);
  await traffic.goesOn();
  await traffic.converges();
  assert.equal(
    await traffic.reader.store.boot(AbortSignal.timeout(LIMIT_MS)),
    boot,
    "one server of three is no life",
  );
  await traffic[Symbol.asyncDispose]();
  await room.close();
});

test("all three servers are killed at once: another life begins, and nothing is lost", {
  timeout: 600_000,
}, async () => {
  const room = trial.room();
  await using traffic = new Traffic(room);
  await traffic.goesOn();
  await traffic.converges();
  const boot = await traffic.reader.store.boot(AbortSignal.timeout(LIMIT_MS));
  await eachNode(trial.cluster, (node) => node.kill());
  await eachNode(trial.cluster, (node) => node.start());
  await until("another life", async () => {
    const now = await traffic.reader.store.boot(AbortSignal.timeout(LIMIT_MS));
    return now !== boot;
  });
  await traffic.goesOn();
  await traffic.converges();
  await traffic[Symbol.asyncDispose]();
  await room.close();
});

test("two copies more are made of a table that had one, and its records are in all of them", {
  timeout: 600_000,
}, async () => {
  const room = trial.room();
  const stop = new AbortController();
  const { signal } = stop;
  const kit = createKit({ service: "test", signal });
  const one = room.connect(kit, { replicas: 1 });
  const value = Buffer.from("kept");
  await one.ready(signal);
  for (let i = 0; i < KEYS; i++) await one.put(slicesTable, `m.a.b.c${i}`, value, null, signal);
  const { connection, jsm } = await room.admin();
  assert.equal((await jsm.streams.info(streamOf(slicesTable))).config.num_replicas, 1);
  const three = room.connect(kit);
  await three.ready(signal);
  await healed(room);
  const { config } = await jsm.streams.info(streamOf(slicesTable));
  assert.equal(config.num_replicas, 3);
  await connection.close();
  const leader = nodeNamed(await leaderOf(room, slicesTable));
  await leader.kill();
  const told = new Map<string, StoredEntry>();
  const following = three.follow(
    slicesTable,
    ">",
    {
      restart: () => {},
      entry: (entry) => told.set(entry.key, entry),
      caughtUp: () => {},
      disconnected: () => {},
    },
    signal,
  );
  await until("all of them", () => told.size === KEYS);
  await leader.start();
  await healed(room);
  stop.abort();
  await following;
  await Promise.all([one.close(), three.close()]);
  await room.close();
});
