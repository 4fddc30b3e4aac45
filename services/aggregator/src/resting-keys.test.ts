import assert from "node:assert/strict";
import { test } from "node:test";
import { RestingKeys } from "./resting-keys.ts";

test("a key that changes all the time is given out once a rest, the first and the last change among them", () => {
  const keys = new RestingKeys(1000);
  const given: number[] = [];
  for (let now = 0; now <= 3500; now += 100) {
    if (now <= 2900) keys.add("shop/web");
    if (keys.take(now).includes("shop/web")) given.push(now);
  }
  assert.deepEqual(given, [0, 1000, 2000, 3000]);
});

test("one key's rest keeps no other waiting", () => {
  const keys = new RestingKeys(1000);
  keys.add("shop/web");
  assert.deepEqual(keys.take(0), ["shop/web"]);
  keys.add("shop/web");
  keys.add("shop/cart");
  assert.deepEqual(keys.take(100), ["shop/cart"]);
  assert.deepEqual(keys.take(1000), ["shop/web"]);
});
