import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { latency } from "./latency.ts";

// Not how fast it is, but that a benchmark which is slowed down says so, and says where.
test("a delay that is injected into a stage shows in that stage and in the total", {
  timeout: 240_000,
}, async () => {
  const { signal } = new AbortController();
  const result = await latency({
    signal,
    // Much more than the rest takes on a busy machine.
    inject: ["config-renderer=500ms"],
    changes: 12,
    warmUp: 2,
    log: () => {},
  });
  await rm(join(import.meta.dirname, "../..", result.raw), { force: true });
  const { figures } = result;
  assert.equal(result.samples, 12);
  assert.ok((figures["config_renderer_p50_ms"] ?? 0) >= 500, JSON.stringify(figures));
  assert.ok((figures["p50_ms"] ?? 0) >= 500, JSON.stringify(figures));
  const shares = Object.entries(figures).filter(([name]) => name.endsWith("_share"));
  const [most] = shares.toSorted(([, a], [, b]) => b - a);
  assert.equal(most?.[0], "config_renderer_share", JSON.stringify(figures));
});
