import assert from "node:assert/strict";
import { test } from "node:test";
import type { ServiceChange } from "@sluice/contracts";
import { changeCells, renderWhat } from "./render-change.ts";

const peer = (n: number, portName = "http") => ({ address: `10.0.0.${n}`, port: 8080, portName });
const change: ServiceChange = {
  type: "peers-changed",
  namespace: "shop",
  service: "cart",
  cluster: "member1",
  added: [peer(1)],
  removed: [peer(2)],
  altered: [{ ...peer(3), draining: true }],
  count: 2,
  notes: [],
};

test("peers are told by their sign; a port's name only where there are several", () => {
  assert.equal(renderWhat(change), "+10.0.0.1:8080 -10.0.0.2:8080 ~10.0.0.3:8080 draining");
  const several = { ...change, added: [peer(1), peer(1, "")], removed: [], altered: [] };
  assert.equal(renderWhat(several), "+10.0.0.1:8080 http +10.0.0.1:8080 (unnamed)");
  const six = {
    ...change,
    added: [{ address: "2001:db8::1", port: 80, portName: "http" }],
    removed: [],
    altered: [],
  };
  assert.equal(renderWhat(six), "+[2001:db8::1]:80");
});

test("what happens to a cluster has no service and no peers, and says whose view of it changed", () => {
  const state = {
    type: "cluster-state" as const,
    cluster: "member1",
    fleet: "default",
    notes: ["ok → down (no peer answers)"],
  };
  assert.deepEqual(changeCells(state), ["cluster-state", "", "member1", ""]);
  assert.equal(renderWhat(state), "fleet default: ok → down (no peer answers)");
  const drain = { type: "drain" as const, cluster: "member1", notes: ["by ada: kernel"] };
  assert.equal(renderWhat(drain), "by ada: kernel");
});

test("many peers are counted, not listed", () => {
  const many = { ...change, added: Array.from({ length: 20 }, (_, n) => peer(n)), removed: [], altered: [] };
  assert.match(renderWhat(many), /^\+10\.0\.0\.0:8080 .* \+10\.0\.0\.5:8080 \+14 more$/);
});

test("a service as a whole has neither a cluster nor peers of its own", () => {
  assert.deepEqual(changeCells(change), ["peers-changed", "shop/cart", "member1", "2"]);
  const { cluster: _cluster, ...whole } = change;
  assert.deepEqual(changeCells({ ...whole, type: "service-added" }), ["service-added", "shop/cart", "", ""]);
});
