import assert from "node:assert/strict";
import { test } from "node:test";
import { topologyKeys } from "@sluice/contracts";
import { AllowedPeers } from "./allowed-peers.ts";
import { Knowledge } from "./knowledge.ts";

function knowledge(
  members: readonly string[],
  claimed: readonly string[] = [],
  unjoined: ReadonlySet<string> = new Set(),
) {
  const settled = new Set<string>();
  const allowed = new AllowedPeers(new Map(), []);
  const slices = {
    unreadable: new Set<string>(),
    isScopeSettled: (scope: string) => settled.has(scope),
    parts: () => claimed.map((scope) => ({ scope, shard: "0" })),
  };
  return {
    knows: new Knowledge(members, slices, allowed, (cluster) => unjoined.has(cluster)),
    settled,
    allowed,
    unreadable: slices.unreadable,
  };
}

test("a cluster is known when its slices are settled and its rules for peers are known, not before", () => {
  const { knows, settled, allowed } = knowledge(["member1"]);
  settled.add("member1");
  assert.equal(knows.knowsCluster("member1"), false);
  allowed.learn({ cluster: "member1", nodeCidrs: [] });
  assert.equal(knows.knowsCluster("member1"), true);
});

test("a service's row may change unless it names a cluster that is not known", () => {
  const { knows, settled, allowed } = knowledge(["member1", "member2"]);
  settled.add("member1");
  allowed.learn({ cluster: "member1", nodeCidrs: [] });
  const key = topologyKeys.service("shop", "cart");
  assert.equal(
    knows.mayChange(key, () => ({ clusters: ["member1"] })),
    true,
  );
  assert.equal(
    knows.mayChange(key, () => ({ clusters: ["member1", "member2"] })),
    false,
  );
  assert.equal(
    knows.mayChange(topologyKeys.peers("shop", "cart", "member1"), () => ({})),
    true,
  );
  assert.equal(
    knows.mayChange(topologyKeys.peers("shop", "cart", "member2"), () => ({})),
    false,
  );
});

test("waiting for everything ends when rules come last, and when slices come last", async () => {
  for (const last of ["rules", "slices"]) {
    const { knows, settled, allowed } = knowledge(["member1"], ["member1"]);
    const steps = {
      rules: () => allowed.learn({ cluster: "member1", nodeCidrs: [] }),
      slices: () => settled.add("member1"),
    };
    const done = knows.waitForWhole(new AbortController().signal);
    steps[last === "rules" ? "slices" : "rules"]();
    knows.tell("member1");
    assert.equal(knows.whole, false);
    steps[last === "rules" ? "rules" : "slices"]();
    knows.tell("member1");
    await done;
  }
});

test("waiting for everything ends with the signal's reason when that aborts first", async () => {
  const controller = new AbortController();
  const waiting = knowledge(["member1"]).knows.waitForWhole(controller.signal);
  controller.abort(new Error("stopping"));
  await assert.rejects(waiting, /stopping/);
});

test("rows that end in the cluster's name, and services, are what a cluster's knowledge concerns", () => {
  const concerns = Knowledge.concerns("eu.member1");
  assert.equal(concerns(topologyKeys.peers("shop", "cart", "eu.member1")), true);
  assert.equal(concerns(topologyKeys.peers("shop", "cart", "member1")), false);
  assert.equal(concerns(topologyKeys.service("shop", "cart")), true);
});

test("nothing is waited for of a cluster that was unjoined, and its rows may go", async () => {
  const unjoined = new Set<string>();
  const { knows, settled, allowed } = knowledge(["member1", "member9"], ["member1"], unjoined);
  settled.add("member1");
  allowed.learn({ cluster: "member1", nodeCidrs: [] });
  assert.equal(knows.whole, false);
  assert.equal(
    knows.mayChange(topologyKeys.peers("shop", "cart", "member9"), () => ({})),
    false,
  );
  const waiting = knows.waitForWhole(AbortSignal.timeout(60_000));
  unjoined.add("member9");
  knows.tell("member9");
  await waiting;
  assert.equal(
    knows.mayChange(topologyKeys.peers("shop", "cart", "member9"), () => ({})),
    true,
  );
});

test("what lies at a key and cannot be read is not known to be absent: rows of that service in that cluster stay", () => {
  const { knows, settled, allowed, unreadable } = knowledge(["member1"]);
  settled.add("member1");
  allowed.learn({ cluster: "member1", nodeCidrs: [] });
  unreadable.add("member1.shop.cart.cart-1");
  const nothing = () => undefined;
  assert.equal(knows.mayChange(topologyKeys.peers("shop", "cart", "member1"), nothing), false);
  assert.equal(
    knows.mayChange(topologyKeys.service("shop", "cart"), () => ({ clusters: ["member1"] })),
    false,
  );
  assert.equal(knows.mayChange(topologyKeys.peers("shop", "cart-2", "member1"), nothing), true);
  unreadable.clear();
  assert.equal(knows.mayChange(topologyKeys.peers("shop", "cart", "member1"), nothing), true);
});
