import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import {
  type Envelope,
  encodeEnvelope,
  type Part,
  parseJson,
  type SliceRecord,
  sliceKeys,
  slicesTable,
} from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import type { HoldOptions } from "./hold-options.ts";
import type { Turns } from "./membership.ts";
import { MemoryServer } from "./memory-store.ts";
import { Holder } from "./part-holder.ts";
import type { PutResult, Store, StoredEntry } from "./store.ts";
import { slice } from "./table-contract.ts";
import { WriteWindow } from "./write-window.ts";

const part = { scope: "member1", shard: "0" };

/** A process that is alone with its parts. */
const alone: Turns = {
  rankOf: () => 0,
  isLive: () => false,
  alive: true,
  resign: () => {},
  moved: () => {},
  changed: () => new Promise(() => {}),
  show: () => () => {},
};

/** A store whose answers a test may hold up, lose, or let something else overtake. */
interface Faults {
  put?(key: string, go: () => Promise<PutResult>): Promise<PutResult>;
  get?(key: string, go: () => Promise<StoredEntry | null>): Promise<StoredEntry | null>;
  /** Its answers may be old. */
  readonly lags?: true;
}

function faulty(inner: Store, faults: Faults): Store {
  return {
    get: (spec, key, signal) => {
      const go = () => inner.get(spec, key, signal);
      return faults.get === undefined ? go() : faults.get(key, go);
    },
    mayLag: () => faults.lags === true,
    put: (spec, key, value, expected, signal) => {
      const go = () => inner.put(spec, key, value, expected, signal);
      return faults.put === undefined ? go() : faults.put(key, go);
    },
    removeMessage: (spec, revision, signal) => inner.removeMessage(spec, revision, signal),
    lastRevision: (...args) => inner.lastRevision(...args),
    follow: (spec, filter, sink, signal) => inner.follow(spec, filter, sink, signal),
    boot: (signal) => inner.boot(signal),
    connected: true,
    close: () => inner.close(),
  };
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 12_000; tries++) {
    if (condition()) return;
    await delay(5);
  }
  assert.fail(`never came true: ${what}`);
}

/** Runs a holder of the one part until the body is through, and sees that it ends. */
async function withHolder(
  server: MemoryServer,
  { faults = {}, held = part, ...given }: Partial<HoldOptions> & { faults?: Faults; held?: Part },
  body: (holder: Holder<SliceRecord>) => Promise<void>,
): Promise<void> {
  const controller = new AbortController();
  const kit = createKit({ service: "test", signal: controller.signal });
  const holder = new Holder<SliceRecord>(faulty(server.connect(), faults), slicesTable as never, held, {
    kit,
    holder: "member-watcher.test",
    turns: alone,
    window: new WriteWindow(),
    fresh: async () => {},
    ...given,
  });
  try {
    await body(holder);
  } finally {
    controller.abort();
    await holder.done;
  }
}

/** Resolves when everything that was put has been delivered to whoever follows. */
async function delivered(): Promise<void> {
  for (let turns = 0; turns < 4; turns++) await new Promise<void>((resolve) => setImmediate(resolve));
}

function textAt(
  server: MemoryServer,
  key: string,
): { epoch?: { id: string }; layout?: number; data?: unknown } | null {
  const found = server.get("slices", key);
  return found === null ? null : (parseJson(found.value, key) as never);
}

test("a layout that comes in while a claim is on its way voids that claim, and its holder claims again", async () => {
  const server = new MemoryServer();
  let first = true;
  const faults: Faults = {
    put: async (_key, go) => {
      if (first) {
        first = false;
        const layout = Buffer.from(JSON.stringify({ v: 1, shards: 1, at: 1 }));
        server.put("slices", sliceKeys.layoutKey("member1", 1)!, layout, 0);
      }
      return go();
    },
  };
  await withHolder(server, { faults }, async (holder) => {
    await until("synced", () => holder.synced);
    assert.equal(textAt(server, sliceKeys.claimKey(part, 1))?.layout, 0);
    assert.equal(textAt(server, sliceKeys.claimKey(part, 2))?.layout, 1);
  });
});

test("servers that begin another life while a claim is on its way void it, and its holder claims again", async () => {
  const server = new MemoryServer();
  let first = true;
  const faults: Faults = {
    put: async (_key, go) => {
      if (!first) return go();
      first = false;
      const result = await go();
      server.restart();
      await delivered();
      return result;
    },
  };
  await withHolder(server, { faults }, async (holder) => {
    await until("synced", () => holder.synced);
    assert.equal(
      (textAt(server, sliceKeys.claimKey(part, 2)) as { boot?: string } | null)?.boot,
      server.boot,
    );
  });
});

test("a late write that overtakes the answer of a re-read is written over all the same", async () => {
  const server = new MemoryServer();
  const [key, value] = slice("a", "10.0.0.1");
  const late: Envelope<SliceRecord> = {
    v: 1,
    epoch: { n: 1, id: "lost-its-claim" },
    data: slice("a", "10.66.6.6")[1],
  };
  const lost = { answers: 1, reads: 1 };
  const faults: Faults = {
    put: async (at, go) => {
      const result = await go();
      if (at === key && lost.answers-- > 0) throw new Error("no answer");
      return result;
    },
    get: async (at, go) => {
      const found = await go();
      if (at === key && lost.reads-- > 0) {
        server.put("slices", key, encodeEnvelope(late), null);
        await delivered();
      }
      return found;
    },
  };
  await withHolder(server, { faults }, async (holder) => {
    await until("synced", () => holder.synced);
    holder.set(key, value);
    await until("the late write came and went", () => lost.reads < 0 || server.get("slices", key) !== null);
    await until("ours again", () => {
      const now = textAt(server, key);
      return lost.reads <= 0 && now !== null && now.epoch?.id !== "lost-its-claim";
    });
    assert.deepEqual(textAt(server, key)?.data, value);
  });
});

test("a write without an answer lands nowhere once something else is wanted, though what lies there is just that", async () => {
  const server = new MemoryServer();
  const [key, value] = slice("a", "10.0.0.1");
  let held: (() => Promise<PutResult>) | null = null;
  let removing = false;
  const faults: Faults = {
    put: async (at, go) => {
      if (at !== key || !removing || held !== null) return go();
      // Its tombstone is on its way, and is wanted no more when that is found out.
      held = go;
      holder?.set(key, value);
      throw new Error("no answer");
    },
  };
  let holder: Holder<SliceRecord> | undefined;
  await withHolder(server, { faults }, async (each) => {
    holder = each;
    await until("synced", () => each.synced);
    each.set(key, value);
    await each.idle();
    const before = server.get("slices", key)?.revision;
    removing = true;
    each.remove(key);
    await until("written again", () => held !== null && server.get("slices", key)?.revision !== before);
    assert.deepEqual(await held?.(), { ok: false });
    assert.deepEqual(textAt(server, key)?.data, value);
  });
});

test("a holder that ends with work in hand ends", async () => {
  await withHolder(new MemoryServer(), {}, async (holder) => {
    await until("synced", () => holder.synced);
    holder.set(...slice("a", "10.0.0.1"));
  });
});

test("while what is wanted of a key is not known, what lies there stays, and the one who knows is shown it", async () => {
  const server = new MemoryServer();
  const [key, value] = slice("a", "10.0.0.1");
  const before: Envelope<SliceRecord> = { v: 1, epoch: { n: 1, id: "before" }, data: value };
  server.put("slices", key, encodeEnvelope(before), 0);
  let known = false;
  const shown: unknown[] = [];
  const knows: HoldOptions["knows"] = (_key, there) => {
    shown.push(there());
    return known;
  };
  await withHolder(server, { knows }, async (holder) => {
    const [empty, fresh] = slice("b", "10.0.0.2");
    holder.set(empty, fresh);
    await until("synced", () => holder.synced);
    assert.deepEqual(shown, [value], "an empty place is filled without asking");
    assert.equal(textAt(server, key)?.epoch?.id, "before");
    assert.deepEqual(textAt(server, empty)?.data, fresh);
    known = true;
    holder.recheck();
    await until("removed", () => textAt(server, key)?.data === undefined);
  });
});

test("an empty place stays empty while what is wanted of it is in doubt, and the rest of its part is written", async () => {
  const server = new MemoryServer();
  const [doubted, value] = slice("a", "10.0.0.1");
  const [sure, other] = slice("b", "10.0.0.2");
  let inDoubt = true;
  await withHolder(server, { fills: (key) => key !== doubted || !inDoubt }, async (holder) => {
    holder.set(doubted, value);
    holder.set(sure, other);
    await until("synced", () => holder.synced);
    assert.equal(server.get("slices", doubted), null);
    assert.deepEqual(textAt(server, sure)?.data, other);
    inDoubt = false;
    holder.recheck();
    await until("filled", () => textAt(server, doubted)?.data !== undefined);
    // What is there is replaced without asking: only an empty place is better off empty.
    inDoubt = true;
    const [, newer] = slice("a", "10.0.0.3");
    holder.set(doubted, newer);
    await holder.idle();
    assert.deepEqual(textAt(server, doubted)?.data, newer);
  });
});

test("who holds a shard of a new layout knows the records from before it, and removes what nobody wants", async () => {
  const server = new MemoryServer();
  const [key, value] = slice("a", "10.0.0.1");
  const before: Envelope<SliceRecord> = {
    v: 1,
    epoch: { n: 1, id: "before" },
    source: { EndpointSlice: 7 },
    data: value,
  };
  server.put("slices", key, encodeEnvelope(before), 0);
  // A number of shards for which the record falls to another than the first.
  const what = sliceKeys.classify(key);
  assert.ok(what.kind === "record");
  const shards = [2, 3, 4, 5, 6, 7].find((n) => sliceKeys.shardOf(what.spread, n) !== "0") ?? 0;
  const layout = Buffer.from(JSON.stringify({ v: 1, shards, at: 1 }));
  server.put("slices", sliceKeys.layoutKey("member1", 1) ?? "", layout, 0);
  let sources: ReadonlyMap<string, number> | null = null;
  const fresh: HoldOptions["fresh"] = async (_signal, over) => {
    sources = over.sources;
  };
  const held = { scope: "member1", shard: sliceKeys.shardOf(what.spread, shards) };
  await withHolder(server, { held, shards, fresh }, async () => {
    await until("removed", () => textAt(server, key)?.data === undefined);
    assert.deepEqual(sources, new Map([["EndpointSlice", 7]]));
  });
});

test("a record that no reader would believe is refused by name, and the rest of its part is written", async () => {
  const server = new MemoryServer();
  await withHolder(server, {}, async (holder) => {
    const [key, value] = slice("a", "10.0.0.1");
    const [good, other] = slice("b", "10.0.0.2");
    holder.set(key, value);
    await until("synced", () => holder.synced && server.get("slices", key) !== null);
    const before = server.get("slices", key)?.revision;
    holder.set(key, { ...value, ports: [{ name: "", port: 99_999, protocol: "TCP" }] });
    holder.set(good, other);
    await until("the other is there", () => server.get("slices", good) !== null);
    await holder.idle();
    assert.equal(server.get("slices", key)?.revision, before, "what was there stays");
  });
});

test("a hundred thousand changes of a hundred keys while the bus takes nothing are a hundred writes", async () => {
  const server = new MemoryServer();
  let blocked = false;
  const free = Promise.withResolvers<void>();
  const put: Faults["put"] = async (_key, go) => {
    if (blocked) await free.promise;
    return go();
  };
  await withHolder(server, { faults: { put } }, async (holder) => {
    await until("synced", () => holder.synced);
    blocked = true;
    let most = 0;
    for (let i = 0; i < 100_000; i++) {
      holder.set(...slice(`s${i % 100}`, `10.0.${i % 250}.${i % 7}`));
      most = Math.max(most, holder.pending);
      // The workers take what they can hold.
      if (i % 1000 === 0) await new Promise<void>((resolve) => setImmediate(resolve));
    }
    assert.ok(most <= 100, `${most} keys waited`);
    free.resolve();
    await holder.idle();
    for (let i = 99_900; i < 100_000; i++) {
      const [key, value] = slice(`s${i % 100}`, `10.0.${i % 250}.${i % 7}`);
      assert.deepEqual(textAt(server, key)?.data, value);
    }
  });
});

test("what somebody else puts in the place of a holder's word that its part is whole is written over", async () => {
  const server = new MemoryServer();
  await withHolder(server, {}, async (holder) => {
    await until("synced", () => holder.synced);
    const key = sliceKeys.syncedKey(part);
    const word = () => Buffer.from(server.get("slices", key)?.value ?? []).toString();
    const ours = JSON.parse(word()).id as string;
    for (const text of ["no json", '{"v":1,"id":"another","at":1}']) {
      server.put("slices", key, Buffer.from(text), null);
      await until("put right", () => word().includes(ours));
    }
  });
});

const first = slice("a", "10.0.0.1")[1];
for (const [what, stale, wanted] of [
  ["has not heard of a key", (): StoredEntry | null => null, undefined],
  ["has a key's older record", (old: StoredEntry | null) => old, first],
] as const) {
  test(`a replica that ${what} does not make a holder take a lost write for done`, async () => {
    const server = new MemoryServer();
    const [key] = slice("a", "");
    let lose = false;
    let old: StoredEntry | null = null;
    let asked = 0;
    const faults: Faults = {
      lags: true,
      put: async (at, go) => {
        if (at !== key || !lose) return go();
        lose = false;
        throw new Error("no answer");
      },
      get: async (at, go) => {
        if (at !== key) return go();
        asked++;
        return stale(old);
      },
    };
    await withHolder(server, { faults }, async (holder) => {
      holder.set(key, first);
      await until("it is there", () => server.get("slices", key) !== null && holder.synced);
      old = server.get("slices", key);
      holder.set(key, slice("a", "10.0.0.2")[1]);
      await holder.idle();
      lose = true;
      if (wanted === undefined) holder.remove(key);
      else holder.set(key, wanted);
      await until(
        "it is written",
        () => JSON.stringify(textAt(server, key)?.data) === JSON.stringify(wanted),
      );
      assert.ok(asked > 0);
    });
  });
}

test("what the table does not hold as it is wanted is told with what it holds, and nothing once all is written", async () => {
  const server = new MemoryServer();
  const published = [
    slice("same", "10.1.0.1"),
    slice("other", "10.1.0.2"),
    slice("gone", "10.1.0.3"),
  ] as const;
  await withHolder(server, {}, async (first) => {
    for (const [key, record] of published) first.set(key, record);
    await until("all of it written", () => first.synced && [...first.unwritten()].length === 0);
    assert.deepEqual(
      [...first.keys()],
      published.map(([key]) => key),
    );
  });
  const { promise: held, resolve: go } = Promise.withResolvers<void>();
  // The claim is written, the records are not.
  const put: Faults["put"] = async (key, write) => {
    if (!key.includes("_meta")) await held;
    return write();
  };
  await withHolder(server, { faults: { put } }, async (heir) => {
    const made = slice("new", "10.1.0.4");
    for (const [key, record] of [published[0], slice("other", "10.1.0.9"), made]) heir.set(key, record);
    await until("the table read", () => heir.holding && heir.occupied);
    assert.deepEqual(
      new Map(heir.unwritten()),
      new Map<string, SliceRecord | undefined>([published[1], published[2], [made[0], undefined]]),
    );
    go();
    await until("all of it written", () => [...heir.unwritten()].length === 0);
  });
});
