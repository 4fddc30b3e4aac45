import assert from "node:assert/strict";
import { test } from "node:test";
import { AddressPool } from "./address-pool.ts";

test("a pool gives each address once, and one that came back last of all", () => {
  const pool = new AddressPool("127.11.0.0/29");
  assert.equal(pool.node, "127.11.0.1");
  const first = [pool.take(), pool.take(), pool.take()];
  assert.deepEqual(first, ["127.11.0.2", "127.11.0.3", "127.11.0.4"]);
  pool.release("127.11.0.2");
  assert.deepEqual([pool.take(), pool.take(), pool.take()], ["127.11.0.5", "127.11.0.6", "127.11.0.2"]);
  assert.throws(() => pool.take(), RangeError);
});

test("a pool lets a pod have its address of before only when it is free and in its range", () => {
  const pool = new AddressPool("127.11.0.0/16");
  assert.equal(pool.claim("127.11.3.4"), true);
  assert.equal(pool.claim("127.11.3.4"), false);
  assert.equal(pool.claim("127.12.0.4"), false);
  assert.equal(pool.claim("127.11.0.1"), false);
});

test("a pool of no usable range is refused with an example", () => {
  for (const cidr of ["127.11.0.0", "127.11.0.0/31", "::1/64", "300.0.0.0/16"]) {
    assert.throws(() => new AddressPool(cidr), /write an IPv4 range such as 127\.11\.0\.0\/16/);
  }
});
