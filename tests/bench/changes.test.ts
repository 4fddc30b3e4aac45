import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { changes } from "./changes.ts";

// Not how fast it is, but that it loses nothing, counts what every process uses, and shows where a fault is that is planted.
test("changes in two clusters are all answered by their new peers, and an injected delay shows", {
  timeout: 240_000,
}, async () => {
  const { signal } = new AbortController();
  const result = await changes({
    signal,
    rate: 20,
    clusters: 2,
    seconds: 3,
    inject: ["aggregator=500ms"],
    search: false,
    log: () => {},
  });
  await rm(join(import.meta.dirname, "../..", result.raw), { force: true });
  const { figures } = result;
  const shown = JSON.stringify(figures);
  assert.equal(figures["lost"], 0, shown);
  // Sixty where the machine keeps up; each of two dozen services is changed at least once.
  assert.ok(result.samples >= 24 && result.samples <= 60, `${result.samples} samples of ${shown}`);
  assert.ok((figures["p50_ms"] ?? 0) >= 500, shown);
  assert.ok((figures["aggregator_p50_ms"] ?? 0) >= 500, shown);
  const { config_renderer_p50_ms: renderer = 0, aggregator_p50_ms: aggregator = 0 } = figures;
  assert.ok(renderer < aggregator, shown);
  // From the API to the watch event, and from the fleet's row to the first answer, is told as well.
  for (const stage of ["sandbox_p50_ms", "proxy_p50_ms"])
    assert.ok((figures[stage] ?? 0) > 0, `${stage} of ${shown}`);
  for (const name of [
    "aggregator",
    "config_renderer",
    "member_watcher",
    "proxy_agent",
    "nats",
    "sandbox",
    "bench",
  ])
    assert.ok(`cpu_ms_per_change_${name}` in figures, `${name} is not among ${shown}`);
});
