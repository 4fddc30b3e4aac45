import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { MemoryServer, memoryBus } from "@sluice/bus/testing";
import { type SliceValue, sliceKeys, slicesTable } from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import { ManualClock } from "@sluice/service-kit/testing";
import { CheckpointKeeper } from "./checkpoints.ts";

const HOUR_MS = 3_600_000;
const EVERY_MS = 600_000;
const limits = { everyMs: EVERY_MS, everyBytes: Number.MAX_SAFE_INTEGER, maxBytes: Number.MAX_SAFE_INTEGER };
const exported: SliceValue = {
  cluster: "member1",
  namespace: "shop",
  service: "web",
  createdAt: 0,
  type: "ClusterSetIP",
  ipFamilies: ["IPv4"],
  ports: [],
};

/** A keeper whose wall clock is ahead of the server's by so much, beside a watcher whose part is whole. */
async function keeping(t: TestContext, aheadMs: number) {
  const clock = new ManualClock();
  const server = new MemoryServer(clock);
  const over = new AbortController();
  const { signal } = over;
  const watcher = memoryBus({
    role: "member-watcher",
    signal,
    server,
    kit: createKit({ service: "member-watcher", signal, clock }),
  });
  const holder = watcher.hold(slicesTable, { scope: "member1", shard: "0" }, { fresh: async () => {} });
  let changes = 0;
  const change = async () => {
    const key = sliceKeys.export("member1", "shop", "web");
    holder.set(key, { ...exported, createdAt: ++changes });
    const { last } = await server.log.extent();
    let now = last;
    await clock.until("the log has it", () => {
      void server.log.extent().then((extent) => {
        now = extent.last;
      });
      return now > last;
    });
  };
  const wrong = {
    now: () => clock.now() + aheadMs,
    monotonic: clock.monotonic,
    sleep: clock.sleep.bind(clock),
  };
  const kit = createKit({ service: "aggregator", signal, clock: wrong });
  await clock.until("the watcher's part is whole", () => holder.synced);
  const running = new CheckpointKeeper(server.log, limits, kit).run(signal);
  t.after(async () => {
    over.abort(new Error("the case is over"));
    await Promise.all([running, holder.done]);
  });
  const written = async () => (await server.log.checkpoints.list(signal)).length;
  return { clock, change, written };
}

for (const [name, aheadMs] of [
  ["right", 0],
  ["an hour ahead", HOUR_MS],
  ["an hour behind", -HOUR_MS],
] as const) {
  test(`a clock that is ${name}: a checkpoint is due after ten minutes, neither sooner nor later`, async (t) => {
    const { clock, change, written } = await keeping(t, aheadMs);
    await change();
    await clock.pass(5000);
    assert.equal(await written(), 1, "there was none");
    for (let i = 0; i < 20; i++) {
      await change();
      await clock.pass(10_000);
    }
    assert.equal(await written(), 1, "three minutes later");
    await clock.pass(EVERY_MS);
    assert.equal(await written(), 2);
    await clock.pass(EVERY_MS);
    assert.equal(await written(), 2, "nothing has changed since");
  });
}
