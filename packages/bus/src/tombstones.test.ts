import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { encodeEnvelope, sliceKeys, slicesTable } from "@sluice/contracts";
import { type Clock, createKit, systemClock } from "@sluice/service-kit";
import { createBus } from "./bus.ts";
import { MemoryServer } from "./memory-store.ts";
import { slice } from "./table-contract.ts";
import { TOMBSTONE_MS, Tombstones } from "./tombstones.ts";

const epoch = { n: 1, id: "e1" };
const gone = encodeEnvelope({ v: 1, epoch, deleted: true });

function entry(revision: number, value: Uint8Array, storedAt = 1000) {
  return { key: "m.shop.cart.a", value, revision, storedAt };
}

const due = (tombstones: Tombstones, before: number) =>
  [...tombstones.due(before)].map(({ revision }) => revision);

test("a tombstone is due by its age, and no longer once something else stands there", () => {
  const tombstones = new Tombstones();
  tombstones.note(entry(1, gone), false);
  assert.deepEqual(due(tombstones, 999), []);
  assert.deepEqual(due(tombstones, 1000), [1]);
  tombstones.note(entry(2, encodeEnvelope({ v: 1, epoch, data: slice("a", "10.0.0.1")[1] })), false);
  assert.deepEqual(due(tombstones, 1000), []);
});

test("an ex-holder's tombstone is never removed: the holder writes over it", () => {
  const tombstones = new Tombstones();
  tombstones.note(entry(1, gone), true);
  assert.equal(tombstones.size, 0);
});

test("a record that only speaks of deletion is none", () => {
  const tombstones = new Tombstones();
  tombstones.note(
    entry(1, encodeEnvelope({ v: 1, epoch, data: { deleted: true, text: '"deleted":true' } })),
    false,
  );
  assert.equal(tombstones.size, 0);
});

test("a reader that may removes a day-old tombstone by its sequence, and leaves a young one", async () => {
  const stop = new AbortController();
  let later = 0;
  const clock: Clock = {
    now: () => systemClock.now() + later,
    monotonic: () => systemClock.monotonic() + later,
    // What waits for minutes waits for a moment here.
    sleep: (ms, signal) => systemClock.sleep(Math.min(ms, 5), signal),
  };
  const server = new MemoryServer(clock);
  const part = { scope: "member1", shard: "0" };
  const claim = { v: 1, id: "e1", boot: server.boot, layout: 0, holder: "member-watcher.a", at: 1 };
  server.put("slices", sliceKeys.claimKey(part, 1), Buffer.from(JSON.stringify(claim)), 0);
  const kit = createKit({ service: "test", signal: stop.signal, clock });
  const view = createBus(server.connect(), "aggregator", kit).view(slicesTable, { reaps: true });
  const [old, young] = [slice("old", "")[0], slice("young", "")[0]];
  try {
    server.put("slices", old, gone, 0);
    await view.caughtUp(stop.signal);
    later = TOMBSTONE_MS;
    server.put("slices", young, gone, 0);
    for (let tries = 0; server.get("slices", old) !== null; tries++) {
      assert.ok(tries < 12_000, "the old one goes");
      await delay(5);
    }
    await delay(30);
    assert.notEqual(server.get("slices", young), null);
  } finally {
    stop.abort();
    await view.done;
  }
});
