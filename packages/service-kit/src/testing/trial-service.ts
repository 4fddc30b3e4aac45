// A service as small as can be, that run-service.test.ts runs as a process of its own.
import { setTimeout as delay } from "node:timers/promises";
import { BusUnreachableError } from "@sluice/contracts";
import { text } from "../config.ts";
import { defineService, runService } from "../run-service.ts";

const say = (line: string) => process.stdout.write(`${line}\n`);
const closes = (name: string): AsyncDisposable => ({
  async [Symbol.asyncDispose]() {
    await delay(20);
    say(`closed ${name}`);
  },
});

const trial = defineService({
  name: "trial",
  settings: {
    fail: {
      env: "SLUICE_TRIAL_FAIL",
      flag: "fail",
      help: "how to fail: fatal, uncaught; waiting: it never gets what it waits for at first",
      default: "",
      read: text,
    },
  },
  run: async ({ config, own, signal }) => {
    own(closes("first"));
    own(closes("second"));
    if (config.fail === "fatal") throw new BusUnreachableError("nats://127.0.0.1:1 does not answer");
    if (config.fail === "waiting") {
      say("waiting");
      await delay(600_000, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
    const aborted = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    // As long as it runs, something keeps it running: a service has connections.
    const alive = setInterval(() => {}, 1000);
    say("running");
    if (config.fail === "uncaught") setImmediate(() => assertNever("shop"));
    await aborted;
    say("stopping");
    await delay(50);
    clearInterval(alive);
    say("ended");
  },
});

function assertNever(what: string): never {
  throw new Error(`nobody catches ${what}`);
}

await runService(trial);
