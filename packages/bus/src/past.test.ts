import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeEnvelope, loggedTables, type SliceValue, slicesTable } from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import fc from "fast-check";
import { createBus } from "./bus.ts";
import type { CheckpointInfo } from "./log.ts";
import { MemoryServer } from "./memory-store.ts";
import { changesSince, type Past, pastAt } from "./past.ts";
import { PastTable } from "./past-table.ts";
import { slice } from "./table-contract.ts";

const part = { scope: "member1", shard: "0" };
const none = new AbortController().signal;

type Step =
  | { readonly kind: "claim" }
  | { readonly kind: "put"; readonly claim: number; readonly name: number; readonly address: number }
  | { readonly kind: "remove"; readonly claim: number; readonly name: number }
  | { readonly kind: "synced"; readonly claim: number }
  | { readonly kind: "restart" }
  | { readonly kind: "checkpoint" };

const anyClaim = fc.nat(5);
const anyName = fc.nat(3);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.constant({ kind: "claim" as const }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("put" as const),
      claim: anyClaim,
      name: anyName,
      address: fc.nat(3),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("remove" as const), claim: anyClaim, name: anyName }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("synced" as const), claim: anyClaim }) },
  { weight: 1, arbitrary: fc.constant({ kind: "restart" as const }) },
  { weight: 2, arbitrary: fc.constant({ kind: "checkpoint" as const }) },
);

/** A table in memory, and writers that may be anybody's predecessors. */
class World {
  readonly server = new MemoryServer();
  readonly checkpoints: CheckpointInfo[] = [];
  #claims: { readonly n: number; readonly id: string }[] = [];

  put(key: string, value: object): void {
    this.server.put("slices", key, Buffer.from(JSON.stringify(value)), null);
  }

  claim(): { n: number; id: string } {
    const n = this.#claims.length + 1;
    const epoch = { n, id: `claim-${n}` };
    this.#claims.push(epoch);
    const claim = { v: 1, id: epoch.id, boot: this.server.boot, layout: 0, holder: "a", at: 0 };
    this.put(slicesTable.keys.claimKey(part, n), claim);
    return epoch;
  }

  async take(given: Step): Promise<void> {
    if (given.kind === "claim") this.claim();
    else if (given.kind === "restart") this.server.restart();
    else if (given.kind === "checkpoint") await this.checkpoint();
    else {
      // Counted from the newest: most write under it, some under a former one.
      const epoch = this.#claims.at(-1 - (given.claim % Math.max(1, this.#claims.length)));
      if (epoch === undefined) return;
      if (given.kind === "synced") this.synced(epoch);
      else {
        const [key, data] = slice(`cart-${given.name}`, `10.0.0.${given.kind === "put" ? given.address : 0}`);
        const of = given.kind === "put" ? { data } : { deleted: true as const };
        this.server.put("slices", key, encodeEnvelope({ v: 1, epoch, ...of }), null);
      }
    }
  }

  synced({ id }: { readonly id: string }): void {
    this.put(slicesTable.keys.syncedKey(part), { v: 1, id, at: 0 });
  }

  async checkpoint(): Promise<void> {
    const { log } = this.server;
    const { id, last, lastAt } = await log.extent();
    const extents: CheckpointInfo["extents"] = {};
    for (const spec of loggedTables) extents[spec.name] = await log.tableExtent(spec);
    const tables = new Map(loggedTables.map((spec) => [spec.name, log.snapshot(spec, ">")]));
    const finish = async () => ({ log: id, from: last, seq: last, at: lastAt, extents });
    this.checkpoints.push(await log.checkpoints.write(tables, finish, none));
  }

  async past(seq?: number): Promise<Past> {
    const { log } = this.server;
    return pastAt(log, { seq: seq ?? (await log.extent()).last }, [slicesTable], none);
  }
}

function told(entries: Iterable<readonly [string, unknown]>): Record<string, string> {
  return Object.fromEntries([...entries].map(([key, value]) => [key, JSON.stringify(value)] as const).sort());
}

test("whatever was written by whomever, the past at its end is what a reader believes who was there all the while", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const world = new World();
      const stop = new AbortController();
      const kit = createKit({ service: "test", signal: stop.signal });
      const bus = createBus(world.server.connect(), "test", kit);
      const view = bus.view<SliceValue>(slicesTable);
      try {
        for (const each of steps) {
          await world.take(each);
          await new Promise((resolve) => setImmediate(resolve));
        }
        // Settled, so that nobody keeps anything for want of knowledge.
        world.synced(world.claim());
        await view.upToDate(stop.signal);
        await view.when(() => view.isSettled(part), stop.signal);
        const past = await world.past();
        assert.deepEqual(past.gaps, []);
        // A reader's last questions may be on their way.
        for (let tries = 0; tries < 12_000; tries++) {
          const same =
            JSON.stringify(told(view.entries())) === JSON.stringify(told(past.table(slicesTable).believed()));
          if (same) break;
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        assert.deepEqual(told(past.table(slicesTable).believed()), told(view.entries()));
      } finally {
        stop.abort();
        await view.done;
      }
    }),
    { numRuns: 60 },
  );
});

test("a past that is followed from anywhere, told change by change, ends where the past at its end begins", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), fc.nat(), async (steps, begin) => {
      const world = new World();
      for (const each of steps) await world.take(each);
      const { last } = await world.server.log.extent();
      const from = 1 + (begin % last);
      const past = await world.past(from);
      const rows = told(past.table(slicesTable).believed());
      for await (const { change } of changesSince(world.server.log, past, [slicesTable], {}, none)) {
        assert.equal(
          rows[change.key],
          change.before === undefined ? undefined : JSON.stringify(change.before),
        );
        if (change.after === undefined) delete rows[change.key];
        else rows[change.key] = JSON.stringify(change.after);
      }
      assert.equal(past.seq, Math.max(from, last));
      assert.deepEqual(
        told(Object.entries(rows).map(([k, v]) => [k, JSON.parse(v)])),
        told(past.table(slicesTable).believed()),
      );
    }),
    { numRuns: 100 },
  );
});

test("a checkpoint that was being written while others wrote tells the same as the log alone", async () => {
  const world = new World();
  const epoch = world.claim();
  const write = (name: string, address: string) => {
    const [key, data] = slice(name, address);
    world.server.put("slices", key, encodeEnvelope({ v: 1, epoch, data }), null);
  };
  write("cart-1", "10.0.0.1");
  write("cart-2", "10.0.0.1");
  world.synced(epoch);
  const { log } = world.server;
  const begun = await log.extent();
  const extents: CheckpointInfo["extents"] = {};
  for (const spec of loggedTables) extents[spec.name] = await log.tableExtent(spec);
  const tables = new Map(loggedTables.map((spec) => [spec.name, late(spec.name)]));
  async function* late(name: string) {
    const spec = loggedTables.find((each) => each.name === name)!;
    for await (const entry of log.snapshot(spec, ">")) {
      // What is read first is overwritten before the rest is read, and what is read last is newer than the log was.
      if (entry.key.endsWith("cart-1")) write("cart-1", "10.0.0.9");
      yield entry;
    }
  }
  const finish = async () => {
    const { last, lastAt } = await log.extent();
    return { log: begun.id, from: begun.last, seq: last, at: lastAt, extents };
  };
  const checkpoint = await log.checkpoints.write(tables, finish, none);
  assert.ok(checkpoint.seq > checkpoint.from);
  write("cart-2", "10.0.0.8");
  const withIt = await world.past();
  await log.checkpoints.remove(checkpoint, none);
  const alone = await world.past();
  assert.deepEqual(told(withIt.table(slicesTable).believed()), told(alone.table(slicesTable).believed()));
  assert.match(JSON.stringify(told(withIt.table(slicesTable).believed())), /10\.0\.0\.9.*10\.0\.0\.8/);
});

test("what is kept of a record is its own bytes, and not all that the bus had sent with it", () => {
  const whole = Buffer.alloc(65_536);
  const record = encodeEnvelope({ v: 1, epoch: { n: 1, id: "claim-1" }, deleted: true });
  whole.set(record, 1000);
  const value = whole.subarray(1000, 1000 + record.byteLength);
  const logged = { seq: 1, at: 0, table: "slices", key: "member1.shop.cart.a", life: "1", late: false };
  for (const takeIn of ["fold", "apply"] as const) {
    const past = new PastTable(slicesTable);
    if (takeIn === "apply") past.begin("boot");
    past[takeIn]({ ...logged, revision: 1, previous: 0, value });
    const kept = past.raw.get(logged.key)?.value;
    assert.deepEqual(Buffer.from(kept ?? []), Buffer.from(record));
    assert.equal(kept?.buffer.byteLength, record.byteLength, takeIn);
  }
});
