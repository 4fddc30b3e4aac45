import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { NewestByKey } from "./newest-by-key.ts";

test("of any schedule: one worker a key, no more workers than asked, and the newest value last", () =>
  fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.nat()), { maxLength: 40 }),
      fc.integer({ min: 1, max: 3 }),
      async (s, writes, workers) => {
        const queue = new NewestByKey<number, number>();
        const stop = new AbortController();
        const busy = new Set<number>();
        const seen = new Map<number, number>();
        const running = queue.run(workers, stop.signal, async (key, value) => {
          assert.ok(!busy.has(key), "two workers on one key");
          busy.add(key);
          assert.ok(busy.size <= workers);
          await s.schedule(Promise.resolve(), `work on ${key}`);
          seen.set(key, value);
          busy.delete(key);
        });
        const written = s.scheduleSequence(
          writes.map(([key, value]) => async () => {
            queue.set(key, value);
            assert.ok(queue.size <= 4);
          }),
        );
        await s.waitFor(written.task);
        await s.waitFor(queue.idle());
        stop.abort();
        await running;
        assert.deepEqual(seen, new Map(writes));
      },
    ),
  ));

test("a thousand values of one key are one piece of work, and memory is bounded by keys", async () => {
  const queue = new NewestByKey<string, number>();
  for (let i = 0; i < 1000; i++) queue.set("shop", i);
  queue.set("cart", 1);
  assert.equal(queue.size, 2);
  const stop = new AbortController();
  const done: [string, number][] = [];
  const running = queue.run(2, stop.signal, async (key, value) => {
    done.push([key, value]);
  });
  await queue.idle();
  stop.abort();
  await running;
  assert.deepEqual(done, [
    ["shop", 999],
    ["cart", 1],
  ]);
});

test("keys come out in the order in which they became dirty, though one is written again", async () => {
  const queue = new NewestByKey<string, number>();
  for (const key of ["a", "b", "c", "a"]) queue.set(key, 0);
  const stop = new AbortController();
  const order: string[] = [];
  const running = queue.run(1, stop.signal, async (key) => {
    order.push(key);
  });
  await queue.idle();
  stop.abort();
  await running;
  assert.deepEqual(order, ["a", "b", "c"]);
});

test("idle is at once when nothing waits, and else not before the work in hand is done", async () => {
  const queue = new NewestByKey<string, number>();
  await queue.idle();
  const stop = new AbortController();
  const gate = Promise.withResolvers<void>();
  const running = queue.run(1, stop.signal, () => gate.promise);
  queue.set("shop", 1);
  let idle = false;
  const waiting = queue.idle().then(() => {
    idle = true;
  });
  await setImmediate();
  assert.equal(idle, false);
  gate.resolve();
  await waiting;
  stop.abort();
  await running;
});

test("after the signal it takes nothing more, and ends when the work in hand is done", async () => {
  const queue = new NewestByKey<string, number>();
  const stop = new AbortController();
  const gate = Promise.withResolvers<void>();
  const taken: string[] = [];
  const running = queue.run(1, stop.signal, (key) => {
    taken.push(key);
    return gate.promise;
  });
  queue.set("shop", 1);
  queue.set("cart", 1);
  let ended = false;
  const end = running.then(() => {
    ended = true;
  });
  await setImmediate();
  stop.abort();
  await setImmediate();
  assert.equal(ended, false);
  gate.resolve();
  await end;
  assert.deepEqual(taken, ["shop"]);
  assert.equal(queue.size, 1);
});

test("with a signal that has aborted before it takes nothing", async () => {
  const queue = new NewestByKey<string, number>();
  queue.set("shop", 1);
  await queue.run(1, AbortSignal.abort(), () => assert.fail("taken"));
  assert.equal(queue.size, 1);
});

test("work that fails ends the loop with its error, once the other work is done", async () => {
  const queue = new NewestByKey<string, number>();
  const gate = Promise.withResolvers<void>();
  let finished = false;
  const running = queue.run(2, new AbortController().signal, async (key) => {
    if (key === "bad") throw new Error("no");
    await gate.promise;
    finished = true;
  });
  queue.set("slow", 1);
  queue.set("bad", 1);
  await setImmediate();
  gate.resolve();
  await assert.rejects(running, /no/);
  assert.equal(finished, true);
});
