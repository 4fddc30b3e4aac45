import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  type IntentRecord,
  newTrace,
  plainKeys,
  type SliceRecord,
  type SliceValue,
  sliceKeys,
} from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import { ManualClock } from "@sluice/service-kit/testing";
import { HOLD_MS, ListGuard } from "./list-guard.ts";
import { webSlice } from "./testing.ts";

const settled = () => new Promise<void>((resolve) => setImmediate(resolve));
const key = (name: string) => sliceKeys.slice("member1", "shop", "web", name);
const ips = (from: number, n: number) => Array.from({ length: n }, (_, i) => `10.1.0.${from + i}`);

/** A guard before a holder that writes what it wants when it is told to. */
function world(t: TestContext, answers: (address: string) => boolean = () => true) {
  const controller = new AbortController();
  const clock = new ManualClock();
  const kit = createKit({ service: "member-watcher", signal: controller.signal, clock });
  const wanted = new Map<string, SliceValue>();
  let table = new Map<string, SliceValue>();
  const intents = new Map<string, IntentRecord>();
  const asked = new Set<string>();
  let changes = 0;
  let partial = false;
  const guard = new ListGuard(
    {
      cluster: "member1",
      holds: () => true,
      keys: () => wanted.keys(),
      partial: () => partial,
      set: (at, value) => void wanted.set(at, value),
      remove: (at) => void wanted.delete(at),
      intents,
      answers: async (address) => {
        asked.add(address);
        return answers(address);
      },
      onChange: () => {
        changes += 1;
      },
    },
    kit,
  );
  t.after(async () => {
    controller.abort();
    await guard.done;
  });
  return {
    clock,
    guard,
    asked,
    intents,
    changes: () => changes,
    set partial(now: boolean) {
      partial = now;
    },
    /** What somebody else has published, before this process claims the part. */
    publish(records: Record<string, readonly string[]>) {
      table = new Map(Object.entries(records).map(([name, ips]) => [key(name), webSlice(name, ips)]));
    },
    /** The claim, with whatever differs from what was told. */
    async claim() {
      await guard.claimed(
        [...new Set([...table.keys(), ...wanted.keys()])].map((at) => [at, table.get(at)] as const),
      );
    },
    /** What readers have once everything is written. */
    addresses() {
      table = new Map(wanted);
      return [...table.values()]
        .flatMap((v) => (v as SliceRecord).endpoints.flatMap((e) => e.addresses))
        .sort();
    },
    /** A list, as a reflector tells it: each change, then that it is whole; writes come after. */
    list(gone: readonly string[], now: Record<string, readonly string[]>) {
      for (const [name, addresses] of Object.entries(now)) {
        guard.set(key(name), webSlice(name, addresses), undefined);
      }
      for (const name of gone) if (now[name] === undefined) guard.remove(key(name), undefined);
      guard.listed();
      table = new Map(wanted);
    },
  };
}

test("peers that still answer stay for thirty seconds and then go, what the list adds comes at once", async (t) => {
  const w = world(t);
  w.list([], { a: ips(1, 20) });
  assert.equal(w.guard.held, undefined);
  w.list(["a"], { a: ["10.1.0.1"], b: ["10.1.0.99"] });
  assert.deepEqual(w.addresses(), [...ips(1, 20), "10.1.0.99"].sort());
  const { since } = w.guard.held!;
  assert.deepEqual(w.guard.held, { peers: 19, of: 20, since, until: since + HOLD_MS });
  await w.clock.pass(HOLD_MS - 2000);
  assert.deepEqual(w.addresses(), [...ips(1, 20), "10.1.0.99"].sort());
  await w.clock.pass(4000);
  assert.deepEqual(w.addresses(), ["10.1.0.1", "10.1.0.99"]);
  assert.equal(w.guard.held, undefined);
  assert.equal(w.changes(), 2);
});

test("peers that do not answer go at once", async (t) => {
  const w = world(t, () => false);
  w.list([], { a: ips(1, 20) });
  w.list(["a"], {});
  await settled();
  await settled();
  assert.deepEqual(w.addresses(), []);
  assert.equal(w.guard.held, undefined);
});

test("once most of the sample has fallen silent the list passes, and no more than sixteen peers are asked", async (t) => {
  const silent = new Set<string>();
  const w = world(t, (address) => !silent.has(address));
  w.list([], { a: ips(1, 200) });
  w.list(["a"], {});
  await w.clock.pass(5000);
  assert.equal(w.asked.size, 16);
  assert.equal(w.addresses().length, 200);
  for (const address of [...w.asked].slice(0, 8)) silent.add(address);
  await w.clock.pass(2000);
  assert.deepEqual(w.addresses(), []);
});

test("a list that is whole again ends the hold, and nothing has gone", async (t) => {
  const w = world(t);
  w.list([], { a: ips(1, 20) });
  w.list(["a"], {});
  await w.clock.pass(5000);
  w.list([], { a: ips(1, 19) });
  assert.equal(w.guard.held, undefined);
  await settled();
  assert.deepEqual(w.addresses(), ips(1, 19).sort());
});

test("a second bad list does not begin the thirty seconds anew", async (t) => {
  const w = world(t);
  w.list([], { a: ips(1, 20) });
  w.list(["a"], { a: ["10.1.0.1"] });
  const { until } = w.guard.held!;
  await w.clock.pass(20_000);
  w.list(["a"], { a: ["10.1.0.2"] });
  assert.equal(w.guard.held?.until, until);
  await w.clock.pass(12_000);
  assert.deepEqual(w.addresses(), ["10.1.0.2"]);
});

test("somebody lets this list pass; an order that stood before says nothing of it", async (t) => {
  const w = world(t);
  const order = (held: number): IntentRecord => ({
    verb: "accept-list",
    cluster: "member1",
    at: held,
    by: "ada",
    held,
  });
  const at = plainKeys.intent("accept-list", "member1");
  w.intents.set(at, order(1));
  w.list([], { a: ips(1, 20) });
  w.list(["a"], {});
  // Delivered once more, as after a reconnect.
  w.intents.set(at, order(1));
  w.guard.ordered();
  await w.clock.pass(2000);
  assert.equal(w.addresses().length, 20);
  w.intents.set(at, order(w.guard.held!.since));
  w.guard.ordered();
  await settled();
  await w.clock.pass(1000);
  assert.deepEqual(w.addresses(), []);
});

test("what a watch tells of a held record counts at once", async (t) => {
  const w = world(t);
  w.list([], { a: ips(1, 15), b: ips(21, 15) });
  w.list(["a", "b"], {});
  assert.equal(w.addresses().length, 30);
  w.guard.remove(key("a"), newTrace(w.clock.now()));
  assert.deepEqual(w.addresses(), ips(21, 15).sort());
  w.guard.set(key("b"), webSlice("b", ["10.1.0.21"]), newTrace(w.clock.now()));
  assert.deepEqual(w.addresses(), ["10.1.0.21"]);
});

test("what a list adds is written before the list is whole, what it takes away is not", async (t) => {
  const w = world(t);
  w.list([], { a: ips(1, 5), b: ips(11, 5), c: ips(21, 5) });
  w.partial = true;
  w.list(["a"], { b: ["10.1.0.11", "10.1.0.99"] });
  assert.deepEqual(w.addresses(), [...ips(1, 5), ...ips(11, 5), ...ips(21, 5), "10.1.0.99"].sort());
  assert.equal(w.guard.held, undefined);
  w.partial = false;
  w.list([], { d: ["10.1.0.31"] });
  // Nine of fifteen went: fewer than ten may go whatever share they are.
  assert.deepEqual(w.addresses(), ["10.1.0.11", "10.1.0.99", ...ips(21, 5), "10.1.0.31"].sort());
});

test("a list that takes little at first and most in the end takes nothing", async (t) => {
  const w = world(t);
  w.list([], { a: ips(1, 10), b: ips(11, 10), c: ips(21, 10) });
  w.partial = true;
  w.list(["a"], {});
  w.list(["b"], {});
  w.partial = false;
  w.list(["c"], { d: ips(41, 30) });
  assert.equal(w.guard.held?.peers, 30);
  assert.equal(w.guard.held?.of, 30, "what the list adds was not published before it");
  assert.equal(w.addresses().length, 60);
});

test("what a list that is still being told would take does not go with a hold that ends", async (t) => {
  const w = world(t);
  w.list([], { a: ips(1, 20), b: ips(31, 5) });
  w.list(["a"], {});
  w.partial = true;
  w.list(["b"], {});
  await w.clock.pass(HOLD_MS + 2000);
  assert.equal(w.guard.held, undefined);
  assert.deepEqual(w.addresses(), ips(31, 5).sort());
  w.partial = false;
  w.list([], {});
  assert.deepEqual(w.addresses(), []);
});

test("with a claim what the predecessor published is compared, whatever this process was told before", async (t) => {
  const w = world(t);
  w.list([], { a: ips(1, 20) });
  w.publish({ a: ips(1, 12), b: ips(31, 12) });
  w.guard.set(key("a"), webSlice("a", ["10.1.0.1"]), undefined);
  await w.claim();
  assert.deepEqual(w.guard.held && [w.guard.held.peers, w.guard.held.of], [23, 24]);
  assert.deepEqual(
    w.addresses(),
    [...ips(1, 12), ...ips(31, 12)].sort(),
    "nothing from before the predecessor",
  );
});

test("of a predecessor's records those that lose nothing are written as they were told", async (t) => {
  const w = world(t);
  w.list([], { a: ips(1, 20) });
  w.publish({ a: ["10.1.0.1"] });
  w.guard.set(key("a"), webSlice("a", ["10.1.0.1", "10.1.0.2"]), undefined);
  await w.claim();
  assert.deepEqual(w.addresses(), ["10.1.0.1", "10.1.0.2"]);
});

test("thousands of records that a list changed are written in bursts, and others come in between", async (t) => {
  const w = world(t);
  const names = Array.from({ length: 1000 }, (_, i) => `s${i}`);
  const now = (n: number) => Object.fromEntries(names.map((name) => [name, [`10.2.${n}.1`]]));
  w.list([], { ...now(1), big: ips(1, 5000) });
  w.list([], now(2));
  const moved = w.addresses().filter((address) => address === "10.2.2.1").length;
  const left = () => w.addresses().filter((address) => address === "10.2.1.1").length;
  assert.equal(moved, 1000, "what it adds is there");
  assert.ok(left() > 0, "not all is taken away in one go");
  w.guard.set(key("s999"), webSlice("s999", ["10.2.3.1"]), newTrace(w.clock.now()));
  assert.ok(w.addresses().includes("10.2.3.1"), "a live change of the last is written at once");
  await w.clock.pass(100);
  assert.equal(left(), 0);
  assert.ok(w.addresses().includes("10.2.3.1"));
});

test("what a list takes of thousands is judged in bursts, and again where more was told meanwhile", async (t) => {
  const w = world(t);
  const names = Array.from({ length: 8000 }, (_, i) => `s${i}`);
  const ip = (n: number) => `10.${3 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;
  w.list([], Object.fromEntries(names.map((name, n) => [name, [ip(n)]])));
  w.list(names.slice(0, 3900), {});
  assert.equal(w.changes(), 0, "it is being judged");
  w.partial = true;
  w.list(names.slice(3900, 4200), {});
  await w.clock.pass(1000);
  assert.equal(w.changes(), 0);
  assert.equal(w.addresses().length, 8000, "what was begun before the second list is no verdict");
  w.partial = false;
  w.list([], {});
  await w.clock.pass(1000);
  assert.deepEqual([w.guard.held?.peers, w.guard.held?.of], [4200, 8000]);
  assert.equal(w.addresses().length, 8000);
});
