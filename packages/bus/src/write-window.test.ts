import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { WriteWindow } from "./write-window.ts";

const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

test("a backlog of ten thousand leaves room in flight, and a live write finds room at once", async () => {
  const window = new WriteWindow();
  let entered = 0;
  for (let i = 0; i < 10_000; i++) void window.enter("member1", false).then(() => entered++);
  await settled();
  assert.equal(entered, window.inFlight);
  assert.ok(window.inFlight <= 192, `${window.inFlight} in flight`);
  assert.ok(window.tryEnter(true));
});

test("clusters that wait are let in by turns, however much one of them has", async () => {
  const window = new WriteWindow();
  const order: string[] = [];
  while (window.tryEnter(true));
  for (let i = 0; i < 100; i++) void window.enter("member1", true).then(() => order.push("member1"));
  for (let i = 0; i < 2; i++) void window.enter("member2", true).then(() => order.push("member2"));
  for (let i = 0; i < 6; i++) window.leave(true);
  await settled();
  assert.deepEqual(order, ["member1", "member2", "member1", "member2", "member1", "member1"]);
});

test("whatever comes and goes, the bound holds and everybody is let in at last", async () => {
  const step = fc.oneof(
    fc.record({ enter: fc.constantFrom("member1", "member2", "member3"), live: fc.boolean() }),
    fc.constant("leave" as const),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 200, maxLength: 600 }), async (steps) => {
      const window = new WriteWindow();
      const inside: boolean[] = [];
      let asked = 0;
      let entered = 0;
      for (const each of steps) {
        if (each === "leave") {
          const live = inside.pop();
          if (live !== undefined) window.leave(live);
        } else {
          asked++;
          void window.enter(each.enter, each.live).then(() => {
            entered++;
            inside.push(each.live);
          });
        }
        await Promise.resolve();
        assert.ok(window.inFlight <= 256);
      }
      while (entered < asked) {
        await settled();
        for (const live of inside.splice(0)) window.leave(live);
      }
      await settled();
      for (const live of inside.splice(0)) window.leave(live);
      assert.equal(window.inFlight, 0);
      assert.equal(window.waiting, 0);
    }),
    { numRuns: 50 },
  );
});
