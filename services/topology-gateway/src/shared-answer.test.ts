import assert from "node:assert/strict";
import { test } from "node:test";
import { sharedAnswer } from "./shared-answer.ts";

test("an answer that takes 50 ms to make is made at most once a second, however often it is asked for", () => {
  let now = 0;
  let made = 0;
  const answer = sharedAnswer(
    () => {
      now += 50;
      return ++made;
    },
    () => now,
  );
  const asked = new Map<number, number>();
  for (; now < 10_000; now += 1) asked.set(answer(), now);
  assert.equal(made, 10);
  assert.equal(asked.size, 10);
});

test("an answer that costs nothing is always new", () => {
  let made = 0;
  const answer = sharedAnswer(
    () => ++made,
    () => 7,
  );
  assert.deepEqual([answer(), answer()], [1, 2]);
});
