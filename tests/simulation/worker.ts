import { parentPort, workerData } from "node:worker_threads";
import { type Report, reportOf } from "./report.ts";
import { takeGlobals } from "./virtual-globals.ts";

/** What a worker is told: every so-manieth schedule is its own. */
export interface Share {
  readonly seed: string;
  readonly schedules: number;
  readonly first: number;
  readonly every: number;
}

/** What a worker tells: how far it is, and each violation that it has found and shrunk. */
export type Said = { readonly done: number; readonly report: Report | null };

const share: Share = workerData;
const realImmediate = setImmediate;
takeGlobals();
for (let i = share.first; i <= share.schedules; i += share.every) {
  const report = await reportOf(`${share.seed}-${i}`);
  parentPort?.postMessage({ done: i, report } satisfies Said);
  // The schedule has kept the event loop to itself: messages go out now.
  await new Promise<void>((resolve) => realImmediate(resolve));
}
