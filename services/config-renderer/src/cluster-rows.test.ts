import assert from "node:assert/strict";
import { test } from "node:test";
import { allowedCidrs } from "./cluster-rows.ts";

test("a loopback range counts only from a person and only from /16 on", () => {
  assert.deepEqual(allowedCidrs(["127.0.0.0/24", "10.0.0.0/16"], ["127.11.0.0/16", "127.0.0.0/8", "no"]), [
    "10.0.0.0/16",
    "127.11.0.0/16",
  ]);
});
