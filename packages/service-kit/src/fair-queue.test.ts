import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FairQueue, type Urgency } from "./fair-queue.ts";

const byCluster = (key: string) => key.slice(0, 1);

function drain(queue: FairQueue<string, number>): string[] {
  const taken: string[] = [];
  for (let next = queue.take(); next !== undefined; next = queue.take()) {
    taken.push(next[0]);
    queue.release(next[0]);
  }
  return taken;
}

test("a cluster with a thousand dirty keys lets another one go first after one turn", () => {
  const queue = new FairQueue<string, number>(byCluster);
  for (let i = 0; i < 1000; i++) queue.set(`a${i}`, i);
  queue.set("b0", 0);
  queue.set("b1", 1);
  assert.deepEqual(drain(queue).slice(0, 5), ["a0", "b0", "a1", "b1", "a2"]);
});

test("what was just seen goes before a backlog, and a backlog comes forward all the same", () => {
  const queue = new FairQueue<string, number>();
  for (let i = 0; i < 100; i++) queue.set(`old${i}`, i, "backlog");
  for (let i = 0; i < 100; i++) queue.set(`new${i}`, i);
  const firstHundred = drain(queue).slice(0, 100);
  assert.equal(firstHundred[0], "new0");
  assert.equal(firstHundred.filter((key) => key.startsWith("old")).length, 12, "one in eight");
});

test("a key of the backlog that changes becomes live, and comes out once", () => {
  const queue = new FairQueue<string, number>();
  for (const key of ["a", "b", "c"]) queue.set(key, 0, "backlog");
  queue.set("c", 1);
  assert.deepEqual(queue.take(), ["c", 1]);
  queue.release("c");
  assert.deepEqual(drain(queue), ["a", "b"]);
});

test("a key that is being worked on comes out again only after its release, with its newest value", () => {
  const queue = new FairQueue<string, number>();
  queue.set("a", 1);
  assert.deepEqual(queue.take(), ["a", 1]);
  queue.set("a", 2);
  queue.set("a", 3);
  assert.equal(queue.take(), undefined);
  assert.equal(queue.idle, false);
  queue.release("a");
  assert.deepEqual(queue.take(), ["a", 3]);
});

test("a hundred thousand updates of a hundred keys that nobody takes are a hundred entries", () => {
  const queue = new FairQueue<string, number>(byCluster);
  for (let i = 0; i < 100_000; i++) queue.set(`k${i % 100}`, i, i % 3 === 0 ? "backlog" : "live");
  assert.equal(queue.size, 100);
  assert.equal(drain(queue).length, 100);
});

type Step =
  | { readonly set: string; readonly urgency: Urgency }
  | { readonly take: true }
  | { readonly release: number };

const keys = fc
  .tuple(fc.constantFrom("a", "b", "c"), fc.integer({ min: 0, max: 5 }))
  .map(([c, n]) => `${c}${n}`);
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({ set: keys, urgency: fc.constantFrom<Urgency>("live", "backlog") }),
    fc.constant({ take: true as const }),
    fc.record({ release: fc.nat(20) }),
  ),
  { maxLength: 200 },
);

test("whatever comes, each key comes out with its newest value, never twice at once, and none is left", () => {
  fc.assert(
    fc.property(steps, (given) => {
      const queue = new FairQueue<string, number>(byCluster);
      const waiting = new Map<string, number>();
      const busy: string[] = [];
      const took = (next: readonly [string, number] | undefined) => {
        if (next === undefined) {
          assert.ok([...waiting.keys()].every((key) => busy.includes(key)));
          return;
        }
        const [key, value] = next;
        assert.ok(!busy.includes(key), `${key} is taken already`);
        assert.equal(value, waiting.get(key));
        waiting.delete(key);
        busy.push(key);
      };
      for (const [at, step] of given.entries()) {
        if ("set" in step) {
          queue.set(step.set, at, step.urgency);
          waiting.set(step.set, at);
        } else if ("take" in step) took(queue.take());
        else if (busy.length > 0) queue.release(busy.splice(step.release % busy.length, 1)[0] ?? "");
        assert.equal(queue.size, waiting.size);
      }
      for (const key of busy.splice(0)) queue.release(key);
      while (waiting.size > 0) {
        took(queue.take());
        for (const key of busy.splice(0)) queue.release(key);
      }
      assert.ok(queue.idle);
    }),
    { numRuns: 300 },
  );
});

test("between two turns of a group every other group that waits has had one", () => {
  const work = fc.array(keys, { minLength: 1, maxLength: 100 });
  fc.assert(
    fc.property(work, work, (first, later) => {
      const queue = new FairQueue<string, number>(byCluster);
      for (const key of first) queue.set(key, 0);
      const waiting = new Set(first);
      const since = new Map<string, Set<string>>();
      const more = [...later];
      for (let next = queue.take(); next !== undefined; next = queue.take()) {
        const [key] = next;
        const group = byCluster(key);
        waiting.delete(key);
        for (const other of since.get(group) ?? [])
          assert.fail(`${other} waited while ${group} had two turns`);
        for (const groups of since.values()) groups.delete(group);
        since.set(group, new Set([...waiting].map(byCluster).filter((each) => each !== group)));
        queue.release(key);
        const another = more.pop();
        if (another !== undefined) {
          queue.set(another, 0);
          waiting.add(another);
        }
      }
    }),
    { numRuns: 300 },
  );
});
