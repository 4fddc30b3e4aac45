import assert from "node:assert/strict";
import { test } from "node:test";
import { GatheredWork } from "./gathered-work.ts";

const byCluster = (key: string) => key.slice(0, key.indexOf(" "));
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A clock on which every piece of work takes a millisecond. */
function slowWork() {
  const done: string[] = [];
  let now = 0;
  const work = new GatheredWork<string>(
    byCluster,
    (value) => {
      done.push(value);
      now += 1;
    },
    { monotonic: () => now },
  );
  return { done, work };
}

test("what comes alone is done at once", () => {
  const { done, work } = slowWork();
  work.do("member1 cart", "cart 1", true);
  assert.deepEqual(done, ["cart 1"]);
  assert.equal(work.size, 0);
});

test("of a burst a key that waits is worked on once, with its newest value", async () => {
  const { done, work } = slowWork();
  for (let i = 0; i < 10_000; i++) work.do("member1 crowd", `crowd ${i}`, false);
  assert.equal(done.length, 4);
  assert.equal(work.size, 1);
  assert.ok(work.has("member1 crowd"));
  while (work.size > 0) await turn();
  assert.deepEqual(done.slice(4), ["crowd 9999"]);
  assert.ok(!work.has("member1 crowd"));
});

test("a live change of one cluster is done before the backlog of another", async () => {
  const { done, work } = slowWork();
  for (let i = 0; i < 1000; i++) work.do(`member1 crowd${i}`, `crowd${i}`, false);
  work.do("member2 cart", "cart", true);
  while (!done.includes("cart")) await turn();
  assert.ok(done.indexOf("cart") <= 5, `it was number ${done.indexOf("cart")}`);
});

test("a flush leaves nothing for later", () => {
  const { done, work } = slowWork();
  for (let i = 0; i < 100; i++) work.do(`member1 crowd${i}`, `crowd${i}`, false);
  work.flush();
  assert.equal(done.length, 100);
  assert.equal(work.size, 0);
});
