import assert from "node:assert/strict";
import { test } from "node:test";
import type { Status } from "@sluice/contracts";
import { renderStatus } from "./render-status.ts";

const well: Status = {
  at: 0,
  findings: [],
  missing: [],
  bus: { connected: true },
  components: [],
  work: [],
  clusters: [
    {
      cluster: "eu",
      state: "ok",
      heardMsAgo: 400,
      kubernetesVersion: "v1.33.0",
      waiting: [],
      exports: 1,
      peers: 2,
      allowed: [],
    },
  ],
  orders: [],
  services: [
    {
      namespace: "shop",
      service: "cart",
      derived: "derived-cart",
      ports: [],
      clusters: [{ cluster: "eu", peers: 2, draining: 1 }],
      peers: 2,
      conflicts: [],
      routes: ["shop.example.test /cart"],
    },
  ],
  routes: { hosts: 1, paths: 1, problems: [] },
  proxies: [
    {
      fleet: "default",
      proxy: "a",
      state: "behind",
      heardMsAgo: 3000,
      source: "last-good",
      revision: 7,
      fleetRevision: 9,
      lag: 2,
      reloads: 3,
      takenBack: 1,
      lastReload: { msAgo: 20_000, ok: false, why: "nginx: [emerg] no" },
      httpAddress: "127.0.0.1:80",
      httpsAddress: "127.0.0.1:443",
      problems: [],
      ejected: [{ cluster: "eu", peer: "10.0.0.1:80", until: 1 }],
    },
  ],
  rollouts: [],
};

test("what is to be looked at stands first, and is counted", () => {
  const finding = { severity: "error" as const, about: "cluster eu", message: "its API does not answer" };
  const text = renderStatus({ ...well, findings: [finding] }, { color: false });
  assert.match(text, /^1 to look at\n {2}error {4}cluster eu: its API does not answer\n/);
});

test("clusters, services and proxies have one line each, in columns, without colour where none is wanted", () => {
  const text = renderStatus(well, { color: false });
  assert.match(text, /^All is well\./);
  assert.match(text, / {2}eu {4}ok {5}now {4}v1\.33\.0 {2}1 {8}2\n/);
  assert.match(text, /shop +cart +derived-cart +2 +eu:2 \(1 draining\) +shop\.example\.test \/cart/);
  assert.match(
    text,
    /default +a +behind +3 s ago +7 of 9 \(last-good\) +3, 1 taken back \(20 s ago: nginx: \[emerg\] no\) +127\.0\.0\.1:80 127\.0\.0\.1:443 \(TLS\) +10\.0\.0\.1:80 \(eu\)/,
  );
  assert.ok(!text.includes("\u001b"));
  assert.ok(renderStatus(well, { color: true }).includes("\u001b"));
});

test("an empty world says so instead of showing empty tables", () => {
  const text = renderStatus({ ...well, clusters: [], services: [], proxies: [] }, { color: false });
  for (const line of [
    "no member has been heard of",
    "no service is exported",
    "no proxy has been heard of",
  ]) {
    assert.ok(text.includes(line), line);
  }
});

test("who writes what is shown once several processes of a role share it", () => {
  const alone = { role: "aggregator", process: "a1", pid: 7, state: "ok", holds: ["topology//0"] } as const;
  const rest = { taking: [], standsBy: [], resigned: [] };
  const one = renderStatus(
    { ...well, work: [{ ...alone, ...rest, holds: [...alone.holds] }] },
    { color: false },
  );
  assert.doesNotMatch(one, /Work/);
  const work: Status["work"] = [
    { ...alone, ...rest, holds: ["topology//0", "topology//1", "topology//2"], standsBy: ["topology//3"] },
    {
      ...alone,
      ...rest,
      process: "a2",
      state: "taking over",
      holds: ["topology//3"],
      taking: ["topology//3"],
    },
  ];
  const two = renderStatus({ ...well, work }, { color: false });
  assert.match(two, /aggregator +a1 +7 +ok +topology ×3 +topology\/3/);
  assert.match(two, /aggregator +a2 +7 +taking over +topology\/3/);
});
