import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError } from "@sluice/contracts";
import { configRenderer } from "./mod.ts";

const enough = ["--nats-url", "nats://127.0.0.1:1", "--hub", "hub.kubeconfig"];
const wrong: Readonly<Record<string, { args: readonly string[]; says: RegExp }>> = {
  "a hub is asked for": {
    args: ["--nats-url", "nats://127.0.0.1:1"],
    says: /--hub \(or SLUICE_CONFIG_RENDERER_HUB\)/,
  },
  "a range that is no CIDR is named": {
    args: [...enough, "--peers", "member1=10.1.0.0"],
    says: /10\.1\.0\.0 is no CIDR/,
  },
  "peers without a cluster are refused": { args: [...enough, "--peers", "10.1.0.0/16"], says: /write NAME=/ },
  "a class is a name": {
    args: [...enough, "--ingress-class", "Not_A_Name"],
    says: /write a lower-case DNS name/,
  },
};

for (const [name, { args, says }] of Object.entries(wrong)) {
  test(name, async () => {
    const options = { signal: new AbortController().signal, env: {} };
    await assert.rejects(configRenderer.start(args, options), (error: unknown) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, says);
      return true;
    });
  });
}
