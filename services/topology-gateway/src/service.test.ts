import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError } from "@sluice/contracts";
import { topologyGateway } from "./mod.ts";

test("a role that does not exist is refused, and those that do are named", async () => {
  const options = { signal: new AbortController().signal, env: { SLUICE_NATS_URL: "nats://127.0.0.1:1" } };
  await assert.rejects(topologyGateway.start(["--expect", "agregator"], options), (error: unknown) => {
    assert.ok(error instanceof ConfigError);
    assert.match(
      error.message,
      /there is no role agregator; write some of propagator,member-watcher,aggregator/,
    );
    return true;
  });
});
