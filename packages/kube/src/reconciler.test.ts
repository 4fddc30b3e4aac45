import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { systemClock } from "@sluice/service-kit";
import type { KubeLogger } from "./logger.ts";
import { Reconciler } from "./reconciler.ts";

const quiet: KubeLogger = { debug() {}, info() {}, warn() {}, child: () => quiet };

/** Runs a reconciler until `body` is done, and sees that it ends. */
async function withReconciler(
  reconcile: (key: string) => Promise<void>,
  body: (reconciler: Reconciler) => Promise<void>,
): Promise<void> {
  const stopping = new AbortController();
  const reconciler = new Reconciler({
    name: "test",
    kit: { log: quiet, clock: systemClock, signal: stopping.signal },
    workers: 4,
    backoff: [1, 5],
    reconcile,
  });
  const done = reconciler.run();
  await body(reconciler);
  stopping.abort(new Error("over"));
  await done;
}

describe("a reconciler", () => {
  test("tries a key again until it holds", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    let tries = 0;
    await withReconciler(
      async () => {
        tries += 1;
        if (tries < 4) throw new Error("not yet");
        resolve();
      },
      async (reconciler) => {
        reconciler.add("a");
        await promise;
      },
    );
    assert.equal(tries, 4);
  });

  test("works on a key once at a time, and once more for what came meanwhile", async () => {
    let running = 0;
    let runs = 0;
    const gate = Promise.withResolvers<void>();
    await withReconciler(
      async () => {
        running += 1;
        assert.equal(running, 1);
        runs += 1;
        await gate.promise;
        running -= 1;
      },
      async (reconciler) => {
        reconciler.add("a");
        while (runs === 0) await new Promise((resolve) => setImmediate(resolve));
        for (let i = 0; i < 5; i += 1) reconciler.add("a");
        gate.resolve();
        await reconciler.idle();
      },
    );
    assert.equal(runs, 2);
  });

  test("of several later times of one key keeps the earliest", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    await withReconciler(
      async () => resolve(),
      async (reconciler) => {
        reconciler.addAfter("a", 3_600_000);
        reconciler.addAfter("a", 1);
        await promise;
      },
    );
  });
});
