import { parentPort, workerData } from "node:worker_threads";
import { takeAway } from "../simulation/take-away.ts";
import type { Reached, Violation } from "./batches.ts";
import type { Owned } from "./judge-nginx.ts";
import { plants } from "./plants.ts";

/** What a worker is told: every so-manieth batch is its own. */
export interface Share {
  readonly seed: string;
  readonly objects: number;
  readonly batch: number;
  readonly first: number;
  readonly every: number;
  readonly plant: string | null;
  /** The seed is that of one object. */
  readonly single: boolean;
}

/** What a worker says first. */
export interface Began {
  readonly owned: Owned;
}

export interface Said {
  readonly objects: number;
  readonly violations: readonly Violation[];
  readonly reached: Reached;
}

const share: Share = workerData;
const planted = plants.find(({ name }) => name === share.plant);
// Before any of the product is loaded.
if (planted !== undefined) takeAway(planted);
const { Batches } = await import("./batches.ts");
const stop = new AbortController();
parentPort?.once("message", () => stop.abort());
try {
  await using batches = await Batches.start(stop.signal);
  parentPort?.postMessage({ owned: batches.owned } satisfies Began);
  for (
    let from = share.first * share.batch;
    from < share.objects && !stop.signal.aborted;
    from += share.every * share.batch
  ) {
    const count = Math.min(share.batch, share.objects - from);
    const seeds = share.single
      ? [share.seed]
      : Array.from({ length: count }, (_, i) => `${share.seed}-${from + i + 1}`);
    parentPort?.postMessage({ objects: count, ...(await batches.run(seeds)) } satisfies Said);
  }
} catch (error) {
  // nginx that was still starting when it was enough.
  if (!stop.signal.aborted) throw error;
} finally {
  parentPort?.close();
}
