import assert from "node:assert/strict";
import { test } from "node:test";
import { type SliceRecord, sliceKeys, topologyKeys } from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import { DoubtedRows } from "./doubted-rows.ts";
import { ServiceIndex } from "./service-index.ts";

const slice: SliceRecord = {
  cluster: "member1",
  namespace: "shop",
  service: "cart.v2",
  slice: "cart-1",
  addressType: "IPv4",
  ports: [],
  endpoints: [],
};
const record = sliceKeys.slice("member1", "shop", "cart.v2", "cart-1");
const peers = topologyKeys.peers("shop", "cart.v2", "member1");
const service = topologyKeys.service("shop", "cart.v2");

function doubted(t: { after(end: () => void): void }) {
  const end = new AbortController();
  t.after(() => end.abort());
  const doubts = new Set<string>();
  const view = {
    isDoubtful: (key: string) => doubts.has(key),
    get doubts() {
      return doubts.size;
    },
  };
  const index = new ServiceIndex();
  index.apply(record, slice);
  const { promise, resolve } = Promise.withResolvers<string[]>();
  const kit = createKit({ service: "aggregator", signal: end.signal });
  const rows = new DoubtedRows(view, index, kit, (sure) => resolve([...sure]));
  return { rows, doubts, sure: promise };
}

test("a row stays while one of its slices is in doubt, and is compared again when none is", async (t) => {
  const { rows, doubts, sure } = doubted(t);
  assert.equal(rows.has(peers), false);
  doubts.add(record);
  assert.equal(rows.has(peers), true);
  assert.equal(rows.has(topologyKeys.peers("shop", "cart.v2", "member2")), false);
  assert.equal(rows.has(service), false);
  doubts.delete(record);
  assert.deepEqual(await sure, [peers]);
  assert.equal(rows.has(peers), false);
});

test("a row that the table lacks for doubt is waited for", async (t) => {
  const { rows, doubts } = doubted(t);
  const signal = new AbortController().signal;
  await rows.filled(signal);
  doubts.add(record);
  assert.equal(rows.leavesEmpty(peers), true);
  let filled = false;
  const waiting = rows.filled(signal).then(() => {
    filled = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 120));
  assert.equal(filled, false);
  doubts.delete(record);
  await waiting;
  assert.equal(rows.leavesEmpty(peers), false);
});

test("what all exports agree on stays while one of them is in doubt", (t) => {
  const { rows, doubts } = doubted(t);
  doubts.add(sliceKeys.export("member1", "shop", "cart.v2"));
  assert.equal(rows.has(service), true);
  assert.equal(rows.has(peers), true);
});
