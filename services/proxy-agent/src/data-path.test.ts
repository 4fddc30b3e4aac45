import assert from "node:assert/strict";
import { test } from "node:test";
import { DataPath } from "./data-path.ts";
import type { PeerEntry } from "./nginx-row.ts";

const hold = (upstream: string, peer: string, ended?: true) => ({
  upstream,
  cluster: "member1",
  peer,
  until: 0,
  ...(ended === undefined ? {} : { ended }),
});
const peers = (...entries: PeerEntry[]) => entries;
const two = new Map([
  [
    "member1",
    [
      { upstream: "web", peers: peers(["10.1.0.1", 80, 1], ["fd00::1", 80, 1]) },
      { upstream: "cart", peers: peers(["10.1.0.2", 80, 1]) },
    ],
  ],
  ["member2", [{ upstream: "web", peers: peers(["10.2.0.1", 80, 1]) }]],
]);
const all = [hold("web", "10.1.0.1:80"), hold("web", "[fd00::1]:80"), hold("cart", "10.1.0.2:80")];

function verdicts(path: DataPath): Record<string, string> {
  return Object.fromEntries(
    path.verdicts.map(({ cluster, verdict, since }) => [cluster, `${verdict} ${since}`]),
  );
}

test("a cluster is dead once every peer of it is on hold, and alive while one of any upstream is not", () => {
  const path = new DataPath();
  for (const left of all) {
    path.judge(
      two,
      all.filter((each) => each !== left),
      1,
    );
    assert.deepEqual(verdicts(path), { member1: "alive 1", member2: "alive 1" });
  }
  assert.deepEqual(path.judge(two, all, 2), [{ cluster: "member1", verdict: "dead", since: 2 }]);
  assert.deepEqual(verdicts(path), { member1: "dead 2", member2: "alive 1" });
  assert.deepEqual(path.judge(two, all, 3), []);
  assert.deepEqual(verdicts(path), { member1: "dead 2", member2: "alive 1" });
});

test("a hold whose time is over counts until somebody has answered", () => {
  const path = new DataPath();
  path.judge(two, [...all.slice(1), hold("web", "10.1.0.1:80", true)], 1);
  assert.equal(verdicts(path)["member1"], "dead 1");
  path.judge(two, all.slice(1), 2);
  assert.equal(verdicts(path)["member1"], "alive 2");
});

test("a hold of a whole cluster counts for all its peers of that upstream", () => {
  const path = new DataPath();
  path.judge(two, [hold("web", ""), hold("cart", "10.1.0.2:80")], 1);
  assert.equal(verdicts(path)["member1"], "dead 1");
  path.judge(two, [hold("web", "")], 2);
  assert.equal(verdicts(path)["member1"], "alive 2");
});

test("peers that drain say nothing, and a cluster with nothing else is not dead", () => {
  const path = new DataPath();
  const draining = new Map([["member1", [{ upstream: "web", peers: peers(["10.1.0.1", 80, 1, 1]) }]]]);
  path.judge(draining, [hold("web", "10.1.0.1:80")], 1);
  assert.equal(verdicts(path)["member1"], "alive 1");
  const both = new Map([
    ["member1", [{ upstream: "web", peers: peers(["10.1.0.1", 80, 1, 1], ["10.1.0.2", 80, 1]) }]],
  ]);
  path.judge(both, [hold("web", "10.1.0.2:80")], 2);
  assert.equal(verdicts(path)["member1"], "dead 2");
});

test("a cluster whose peers are gone has no verdict any more", () => {
  const path = new DataPath();
  path.judge(two, all, 1);
  path.judge(new Map(), all, 2);
  assert.deepEqual(path.verdicts, []);
});
