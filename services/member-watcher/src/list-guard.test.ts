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
  const guard = new ListGuard(
    {
      cluster: "member1",
      records: () => table.entries(),
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
