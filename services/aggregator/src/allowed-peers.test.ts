import assert from "node:assert/strict";
import { test } from "node:test";
import { AllowedPeers } from "./allowed-peers.ts";

const noFlags = new Map<string, readonly string[]>();

test("a cluster's rules are known by flag, or once its watcher has told of its Nodes", () => {
  const peers = new AllowedPeers(new Map([["member1", ["10.1.0.0/16"]]]), []);
  assert.equal(peers.knows("member1"), true);
  assert.equal(peers.knows("member2"), false);
  assert.equal(peers.learn({ cluster: "member2", nodeCidrs: ["10.2.0.0/16"] }), true);
  assert.equal(peers.knows("member2"), true);
  assert.equal(peers.filter("member2")("10.2.0.1").allowed, true);
});

test("a watcher that does not know its Nodes changes nothing, one that says there are none does", () => {
  const peers = new AllowedPeers(noFlags, []);
  assert.equal(peers.learn({ cluster: "member1" }), false);
  assert.equal(peers.knows("member1"), false);
  peers.learn({ cluster: "member1", nodeCidrs: ["10.1.0.0/16"] });
  assert.equal(peers.learn({ cluster: "member1" }), false);
  assert.equal(peers.filter("member1")("10.1.0.1").allowed, true);
  assert.equal(peers.learn({ cluster: "member1", nodeCidrs: [] }), true);
  const verdict = peers.filter("member1")("10.1.0.1");
  assert.match(verdict.allowed ? "" : verdict.why, /no allowed peer CIDRs.*--peers/);
});

test("the same Nodes told again are nothing new", () => {
  const peers = new AllowedPeers(noFlags, []);
  assert.equal(peers.learn({ cluster: "member1", nodeCidrs: ["10.1.0.0/16"] }), true);
  assert.equal(peers.learn({ cluster: "member1", nodeCidrs: ["10.1.0.0/16"] }), false);
});

test("one cluster's ranges allow nothing to another, and the hub's own address is refused to all", () => {
  const peers = new AllowedPeers(noFlags, ["10.1.0.9"]);
  peers.learn({ cluster: "member1", nodeCidrs: ["10.1.0.0/16"] });
  peers.learn({ cluster: "member2", nodeCidrs: ["10.2.0.0/16"] });
  assert.equal(peers.filter("member2")("10.1.0.1").allowed, false);
  assert.equal(peers.filter("member1")("10.1.0.9").allowed, false);
});
