import assert from "node:assert/strict";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { FleetCluster } from "@sluice/contracts";
import { LastGoodFile } from "./last-good.ts";
import type { NginxRow } from "./nginx-row.ts";

const cluster: FleetCluster = { cluster: "member1", state: "ok", allowed: [] };
const row: NginxRow = { k: "cluster", cluster: "member1", state: "ok" };
const entry = { key: "default.clusters.member1", value: cluster, row };

test("a copy is read as it was written, with what it knew, and nobody else may read it", async (t) => {
  const dir = await mkdtemp(join(tmpdir(), "sluice-last-good-"));
  t.after(() => rm(dir, { recursive: true }));
  const path = join(dir, "last-good.jsonl");
  const file = new LastGoodFile(path, join(dir, "secrets.jsonl"));
  assert.deepEqual(await file.load(), { entries: [], names: [], wholeAt: 0 });
  const copy = {
    entries: [entry, { ...entry, key: "default.clusters.member2", row: null }],
    names: [{ k: "name", name: "auth.example.test", addresses: ["192.0.2.1"] }] as const,
    wholeAt: 17,
  };
  await file.save(copy);
  assert.deepEqual(await file.load(), copy);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  // As an earlier version wrote it.
  await writeFile(path, `${JSON.stringify(entry)}\n`);
  assert.deepEqual(await file.load(), { entries: [entry], names: [], wholeAt: 0 });
});
