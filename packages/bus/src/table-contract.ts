import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import {
  type Envelope,
  encodeEnvelope,
  type Part,
  type SliceRecord,
  type SliceValue,
  sliceKeys,
  slicesTable,
} from "@sluice/contracts";
import { createKit, type Kit } from "@sluice/service-kit";
import { type Bus, createBus } from "./bus.ts";
import type { HoldOptions } from "./hold-options.ts";
import type { FollowSink, Store, StoredEntry } from "./store.ts";

/** A server under test, and as many clients of it as a case needs. */
export interface ContractServer {
  connect(kit: Kit): Store;
  /** Ends the servers' life and begins another: memory is lost; `wipe` loses the files too. */
  restart(options?: { wipe?: boolean }): Promise<void>;
  close(): Promise<void>;
}

const part: Part = { scope: "member1", shard: "0" };

export function slice(name: string, address: string): readonly [string, SliceRecord] {
  return [
    sliceKeys.slice("member1", "shop", "cart", name),
    {
      cluster: "member1",
      namespace: "shop",
      service: "cart",
      slice: name,
      addressType: "IPv4",
      ports: [{ name: "", port: 8080, protocol: "TCP" }],
      endpoints: [{ addresses: [address], ready: true, serving: true, terminating: false }],
    },
  ];
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 6000; tries++) {
    if (await condition()) return;
    await delay(10);
  }
  assert.fail(`never came true: ${what}`);
}

/** One process of a case: a store, a bus on it, and its end. */
class Process implements AsyncDisposable {
  readonly #controller = new AbortController();
  readonly #end = new AbortController();
  readonly #running: Promise<unknown>[] = [];
  readonly kit: Kit;
  readonly store: Store;
  readonly bus: Bus;

  constructor(server: ContractServer, role = "member-watcher") {
    this.kit = createKit({ service: role, signal: this.#controller.signal });
    this.store = server.connect({ ...this.kit, signal: this.#end.signal });
    this.bus = createBus(this.store, role, this.kit, this.#end);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  view(initial: Iterable<readonly [string, SliceValue]> = []) {
    const changes: [string, SliceValue | undefined][] = [];
    const view = this.bus.view(slicesTable, {
      initial,
      onChange: (key, value) => changes.push([key, value]),
    });
    this.#running.push(view.done);
    return { view, changes };
  }

  hold(options: Partial<HoldOptions> = {}) {
    const holder = this.bus.hold(slicesTable, part, { fresh: async () => {}, ...options });
    this.#running.push(holder.done);
    return holder;
  }

  async [Symbol.asyncDispose]() {
    this.#controller.abort(new Error("the case is over"));
    await Promise.all(this.#running);
    await this.store.close();
  }
}

/** A process that everybody ranks before `first`; chance decides, so several are tried. */
async function outranking(first: Process, server: ContractServer): Promise<Process> {
  for (;;) {
    const next = new Process(server);
    void next.bus.join();
    const ranks = () => [first, next].map(({ bus }) => bus.rankOf(slicesTable, part));
    await until("they see each other", () => ranks().sort().join() === "0,1");
    if (ranks()[1] === 0) return next;
    await next[Symbol.asyncDispose]();
    await until("it is alone again", () => first.bus.rankOf(slicesTable, part) === 0);
  }
}

function addressOf(value: SliceValue | undefined): string | undefined {
  return value !== undefined && "endpoints" in value ? value.endpoints[0]?.addresses[0] : undefined;
}

function record(epochId: string, n: number, address: string): Uint8Array {
  const envelope: Envelope<SliceRecord> = { v: 1, epoch: { n, id: epochId }, data: slice("a", address)[1] };
  return encodeEnvelope(envelope);
}

/** What every store must do, and what tables on it must do; one suite for the double and for the real server. */
export function tableContract(
  name: string,
  start: () => Promise<ContractServer>,
  { readerStarts = 25 }: { readonly readerStarts?: number } = {},
): void {
  const contract = (title: string, body: (server: ContractServer) => Promise<void>) =>
    test(`${name}: ${title}`, { timeout: 240_000 }, async () => {
      const server = await start();
      try {
        await body(server);
      } finally {
        await server.close();
      }
    });

  contract("of two writes that expect the same revision, one is refused", async (server) => {
    await using p = new Process(server);
    const [key] = slice("a", "10.0.0.1");
    await p.store.boot(p.signal);
    const first = await p.store.put(slicesTable, key, Buffer.from("{}"), 0, p.signal);
    assert.equal(first.ok, true);
    assert.deepEqual(await p.store.put(slicesTable, key, Buffer.from("{}"), 0, p.signal), { ok: false });
    const found = await p.store.get(slicesTable, key, p.signal);
    assert.equal(found?.revision, first.ok && first.revision);
    const second = await p.store.put(slicesTable, key, Buffer.from("{1}"), found?.revision ?? 0, p.signal);
    assert.equal(second.ok, true);
    assert.equal(await p.store.get(slicesTable, "member1.shop.cart.none", p.signal), null);
  });

  contract("a follower gets the newest value of each key in stream order, then the tail", async (server) => {
    await using p = new Process(server);
    await p.store.boot(p.signal);
    const put = (key: string, text: string) =>
      p.store.put(slicesTable, key, Buffer.from(text), null, p.signal);
    await put("m.a.b.c", "1");
    await put("m.a.b.d", "2");
    await put("m.a.b.c", "3");
    await put("n.a.b.c", "other");
    const seen: string[] = [];
    const sink: FollowSink = {
      restart: () => void seen.push("restart"),
      entry: (e: StoredEntry) => void seen.push(`${e.key}=${Buffer.from(e.value).toString()}`),
      caughtUp: () => void seen.push("caught-up"),
      disconnected: () => {},
    };
    const stop = new AbortController();
    const following = p.store.follow(slicesTable, "m.>", sink, stop.signal);
    await until("the snapshot", () => seen.includes("caught-up"));
    await put("m.a.b.e", "4");
    await until("the tail", () => seen.length === 5);
    stop.abort();
    await following;
    assert.deepEqual(seen, ["restart", "m.a.b.d=2", "m.a.b.c=3", "caught-up", "m.a.b.e=4"]);
  });

  contract("a message is removed by its sequence, and never the one that replaced it", async (server) => {
    await using p = new Process(server);
    await p.store.boot(p.signal);
    const put = async (text: string) => {
      const result = await p.store.put(slicesTable, "m.a.b.c", Buffer.from(text), null, p.signal);
      assert.ok(result.ok);
      return result.revision;
    };
    const old = await put("1");
    const now = await put("2");
    await p.store.removeMessage(slicesTable, old, p.signal);
    assert.equal((await p.store.get(slicesTable, "m.a.b.c", p.signal))?.revision, now);
    await p.store.removeMessage(slicesTable, now, p.signal);
    assert.equal(await p.store.get(slicesTable, "m.a.b.c", p.signal), null);
  });

  contract("what a holder wants is what readers believe, and a removal removes", async (server) => {
    await using writer = new Process(server);
    await using reader = new Process(server, "aggregator");
    const holder = writer.hold();
    const { view } = reader.view();
    holder.set(...slice("a", "10.0.0.1"));
    holder.set(...slice("b", "10.0.0.2"));
    await until("both are there", () => view.size === 2 && view.isSettled(part));
    holder.set(...slice("a", "10.0.0.9"));
    holder.remove(slice("b", "")[0]);
    await until("one is left", () => view.size === 1);
    assert.equal(addressOf(view.get(slice("a", "")[0])), "10.0.0.9");
  });

  contract("A, deleted, A again is three changes", async (server) => {
    await using writer = new Process(server);
    await using reader = new Process(server, "aggregator");
    const holder = writer.hold();
    const { view, changes } = reader.view();
    const [key, value] = slice("a", "10.0.0.1");
    holder.set(key, value);
    await until("it is there", () => view.size === 1);
    holder.remove(key);
    await until("it is gone", () => view.size === 0);
    holder.set(key, value);
    await until("it is back", () => view.size === 1);
    assert.deepEqual(
      changes.map(([, v]) => addressOf(v)),
      ["10.0.0.1", undefined, "10.0.0.1"],
    );
  });

  contract("a take-over that finds the table right writes only its claim and synced", async (server) => {
    await using reader = new Process(server, "aggregator");
    const { view, changes } = reader.view();
    {
      await using first = new Process(server);
      const holder = first.hold();
      holder.set(...slice("a", "10.0.0.1"));
      await until("it is there", () => view.size === 1 && view.isSettled(part));
    }
    const before = await reader.store.get(slicesTable, slice("a", "")[0], reader.signal);
    await using second = new Process(server);
    const holder = second.hold();
    holder.set(...slice("a", "10.0.0.1"));
    await until("the second has synced", () => holder.synced);
    await until("readers know", () => view.isSettled(part));
    const after = await reader.store.get(slicesTable, slice("a", "")[0], reader.signal);
    assert.equal(after?.revision, before?.revision);
    assert.equal(changes.length, 1);
  });

  contract("a take-over removes what its source no longer has, once its list is whole", async (server) => {
    await using reader = new Process(server, "aggregator");
    const { view } = reader.view();
    {
      await using first = new Process(server);
      const holder = first.hold();
      holder.set(...slice("a", "10.0.0.1"));
      holder.set(...slice("b", "10.0.0.2"));
      await until("both are there", () => view.size === 2);
    }
    const listed = Promise.withResolvers<void>();
    await using second = new Process(server);
    const holder = second.hold({ fresh: () => listed.promise });
    holder.set(...slice("a", "10.0.0.1"));
    const claimed = async () =>
      (await reader.store.get(slicesTable, sliceKeys.claimKey(part, 2), reader.signal)) !== null;
    await until("the second has claimed", claimed);
    assert.equal(view.size, 2, "nothing goes while the list is not whole");
    listed.resolve();
    await until("b is gone", () => view.size === 1);
    await until("synced", () => holder.synced);
  });

  contract(
    "what a writer puts after it lost its claim is not believed, and is written over",
    async (server) => {
      await using reader = new Process(server, "aggregator");
      const { view, changes } = reader.view();
      await using owner = new Process(server);
      const holder = owner.hold();
      const [key, value] = slice("a", "10.0.0.1");
      holder.set(key, value);
      await until("it is there", () => view.size === 1 && view.isSettled(part));
      const stale = await reader.store.put(
        slicesTable,
        key,
        record(randomUUID(), 1, "10.66.6.6"),
        null,
        reader.signal,
      );
      assert.ok(stale.ok);
      await until("the holder wrote over it", async () => {
        const now = await reader.store.get(slicesTable, key, reader.signal);
        return now !== null && now.revision > stale.revision;
      });
      assert.deepEqual(
        changes.map(([, v]) => addressOf(v)),
        ["10.0.0.1"],
      );
    },
  );

  contract("a holder that meets a higher claim steps down and writes no more", async (server) => {
    await using reader = new Process(server, "aggregator");
    const { view } = reader.view();
    await using first = new Process(server);
    const old = first.hold();
    old.set(...slice("a", "10.0.0.1"));
    await until("it is there", () => view.size === 1);
    await using second = await outranking(first, server);
    const young = second.hold();
    young.set(...slice("a", "10.0.0.2"));
    await until("the second holds", () => young.synced);
    await until("the first stepped down", () => !old.holding);
    old.set(...slice("a", "10.66.6.6"));
    await old.idle();
    assert.equal(addressOf(view.get(slice("a", "")[0])), "10.0.0.2");
  });

  contract("another boot voids every claim; holders claim again and readers lose nothing", async (server) => {
    await using reader = new Process(server, "aggregator");
    await using writer = new Process(server);
    const { view, changes } = reader.view();
    const holder = writer.hold();
    holder.set(...slice("a", "10.0.0.1"));
    await until("it is there", () => view.size === 1 && view.isSettled(part));
    await server.restart();
    await until("a second claim", async () => {
      const claim = await reader.store
        .get(slicesTable, sliceKeys.claimKey(part, 2), reader.signal)
        .catch(() => null);
      return claim !== null && holder.synced && view.isSettled(part);
    });
    assert.equal(view.size, 1);
    assert.equal(changes.length, 1);
  });

  contract(
    "a bus that lost all its storage is filled again without a reader losing a key",
    async (server) => {
      await using reader = new Process(server, "aggregator");
      await using writer = new Process(server);
      const { view, changes } = reader.view();
      const holder = writer.hold();
      for (let i = 0; i < 20; i++) holder.set(...slice(`s${i}`, `10.0.1.${i}`));
      await until("all are there", () => view.size === 20 && view.isSettled(part));
      await server.restart({ wipe: true });
      await until("written anew", async () => {
        const found = await reader.store
          .get(slicesTable, slice("s19", "")[0], reader.signal)
          .catch(() => null);
        return found !== null && holder.synced && view.isSettled(part);
      });
      assert.deepEqual(
        changes.filter(([, value]) => value === undefined),
        [],
      );
      assert.equal(view.size, 20);
    },
  );

  contract(
    "readers that start again and again while 300 keys are rewritten remove nothing that exists",
    async (server) => {
      await using writer = new Process(server);
      const holder = writer.hold();
      const keys = 300;
      const all = (round: number) =>
        Array.from({ length: keys }, (_, i) => slice(`s${i}`, `10.${round}.${i >> 8}.${i & 255}`));
      for (const row of all(0)) holder.set(...row);
      await until("synced", () => holder.synced);
      let round = 0;
      let held: [string, SliceValue][] = all(0).map(([k, v]) => [k, v]);
      const stop = new AbortController();
      const rewriting = (async () => {
        while (!stop.signal.aborted) {
          round = (round + 1) % 250;
          for (const row of all(round)) holder.set(...row);
          await holder.idle();
        }
      })();
      try {
        for (let start = 0; start < readerStarts; start++) {
          await using reader = new Process(server, "aggregator");
          const { view, changes } = reader.view(held);
          await view.caughtUp(reader.signal);
          await until("settled", () => view.isSettled(part));
          const removed = changes.filter(([, value]) => value === undefined);
          assert.deepEqual(removed, [], `start ${start} removed keys that exist`);
          held = [...view.entries()];
          assert.equal(held.length, keys);
        }
      } finally {
        stop.abort();
        await rewriting;
      }
    },
  );

  contract("a key that a settled part lacks is removed from what a reader held before", async (server) => {
    await using writer = new Process(server);
    const holder = writer.hold();
    holder.set(...slice("a", "10.0.0.1"));
    await until("synced", () => holder.synced);
    await using reader = new Process(server, "aggregator");
    const { view } = reader.view([slice("a", "10.0.0.1"), slice("gone", "10.0.0.2")]);
    await until("only what is there stays", () => view.size === 1);
    assert.equal(addressOf(view.get(slice("a", "")[0])), "10.0.0.1");
  });

  contract("a reader of a part that nobody has settled keeps what it held", async (server) => {
    await using writer = new Process(server);
    const never = Promise.withResolvers<void>();
    writer.hold({ fresh: () => never.promise });
    await using reader = new Process(server, "aggregator");
    const { view } = reader.view([slice("kept", "10.0.0.2")]);
    await until("claimed", () => view.parts().length === 1);
    await view.upToDate(reader.signal);
    assert.equal(view.isSettled(part), false);
    assert.equal(view.size, 1);
    never.resolve();
    await until("the settled part removes it", () => view.size === 0);
  });

  contract("a reader of one scope is up to date with that scope, whatever others write", async (server) => {
    await using reader = new Process(server, "aggregator");
    const view = reader.bus.view(slicesTable, { filter: "member2.>" });
    await view.caughtUp(reader.signal);
    const put = (key: string) => reader.store.put(slicesTable, key, Buffer.from("{}"), null, reader.signal);
    await put("member2.shop.cart.a");
    await put("member1.shop.cart.a");
    await view.upToDate(reader.signal);
    assert.ok(view.revision > 0);
  });

  contract("a record that does not match its schema is left out and blocks nothing", async (server) => {
    await using writer = new Process(server);
    await using reader = new Process(server, "aggregator");
    const { view } = reader.view();
    const holder = writer.hold();
    holder.set(...slice("a", "10.0.0.1"));
    await until("it is there", () => view.size === 1);
    for (const text of ["not json", '{"v":1,"epoch":{"n":1,"id":"x"},"data":{"cluster":7}}', '{"v":9}']) {
      await reader.store.put(slicesTable, "member1.shop.cart.bad", Buffer.from(text), null, reader.signal);
    }
    await reader.store.put(slicesTable, "not-ours", Buffer.from("{}"), null, reader.signal);
    holder.set(...slice("b", "10.0.0.2"));
    await until("the next one arrives", () => view.size === 2);
    const dropped = await reader.kit.metrics.dropped.get();
    assert.ok(dropped.values.some((v) => v.labels.reason === "bad_record" && v.value > 0));
    assert.ok(dropped.values.some((v) => v.labels.reason === "foreign_key" && v.value > 0));
    const nobodys = "member2.shop.cart.bad";
    await reader.store.put(slicesTable, nobodys, Buffer.from('{"v":9}'), null, reader.signal);
    await until("it is told apart from nothing", () => view.unreadable.has(nobodys));
    await reader.store.put(slicesTable, nobodys, record("x", 1, "10.0.0.3"), null, reader.signal);
    await until("what is written over it can be read", () => !view.unreadable.has(nobodys));
  });
}
