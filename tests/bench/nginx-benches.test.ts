import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type ChurnOptions, churn } from "./churn.ts";
import { manyCertificates } from "./many-certificates.ts";
import { table } from "./table.ts";

// Not how fast nginx is, but that everything asked for is done, and that a fault shows.

const timeout = 240_000;
const { signal } = new AbortController();
const log = () => {};

async function churned(plant?: ChurnOptions["plant"]): Promise<Record<string, number>> {
  const result = await churn({
    signal,
    changes: 20,
    load: 100,
    log,
    ...(plant === undefined ? {} : { plant }),
  });
  await rm(join(import.meta.dirname, "../..", result.raw), { force: true });
  return { ...result.figures, samples: result.samples };
}

test("endpoints, routes and certificates change without a reload, and no request fails", {
  timeout,
}, async () => {
  const { reloads, failed, lost, early, samples, requests = 0 } = await churned();
  assert.deepEqual(
    { reloads, failed, lost, early, samples },
    { reloads: 0, failed: 0, lost: 0, early: 0, samples: 60 },
  );
  assert.ok(requests > 80, `${requests} requests`);
});

test("a reload shows in the figures of churn, and so does a peer that nobody serves", {
  timeout,
}, async () => {
  const reloaded = await churned(async (nginx) => {
    const before = await nginx.workers();
    process.kill(nginx.process.pid, "SIGHUP");
    while ((await nginx.workers()).every((pid) => before.includes(pid))) await delay(20);
  });
  assert.equal(reloaded["reloads"], 1);
  const failing = await churned(async (nginx, seen) => {
    // Of a host that no later change of this size mends: the load asks all of them.
    await nginx.apply([{ k: "peers", upstream: "own-99", cluster: "member1", peers: [["127.0.0.9", 9, 1]] }]);
    while (seen.failed === 0) await delay(20);
  });
  assert.ok((failing["failed"] ?? 0) > 0, JSON.stringify(failing));
});

test("a whole table is applied, and every host's client is shown that host's certificate", {
  timeout,
}, async () => {
  const size = { hosts: 20, upstreams: 100, peers: 1000, rounds: 1, certificates: 20 };
  const { figures, raw } = await table({ signal, log, ...size });
  await rm(join(import.meta.dirname, "../..", raw), { force: true });
  assert.equal(figures["rows"], 2 + 100 + 200 + 20);
  assert.equal(figures["wrong_certificates"], 0);
  assert.equal(figures["handshakes"], 21);
  const { wrong } = await manyCertificates(5, 5, signal, (host) => (host + 1) % 5);
  assert.equal(wrong, 6);
});
