import { type Fence, fenceSchedule, fences } from "./fences.ts";
import { rules } from "./rules.ts";
import { takeAway } from "./take-away.ts";
import type { Violation } from "./violation.ts";

/** What became of the schedules of one fence. */
export interface FenceRun {
  readonly fence: string;
  /** Seeds that were run, from 1. */
  readonly seeds: number;
  readonly violation: Violation | null;
}

// Arguments: `without NAME` runs a fence's schedules with the rule taken away, until one is violated; `with NAME:SEEDS …`
// runs so many schedules of each with the product as it is. One line of JSON a fence.
const [how, ...names] = process.argv.slice(2);

function fenceOf(name: string): Fence {
  const fence = [...fences, ...rules].find((each) => each.name === name);
  if (fence === undefined) throw new RangeError(`there is no fence ${name}`);
  return fence;
}

async function run(fence: Fence, seeds: number): Promise<FenceRun> {
  const { runSchedule } = await import("./run-schedule.ts");
  for (let seed = 1; seed <= seeds; seed++) {
    const { violation } = await runSchedule(fenceSchedule(fence, seed), { boundMs: 10_000 });
    if (violation !== null) return { fence: fence.name, seeds: seed, violation };
  }
  return { fence: fence.name, seeds, violation: null };
}

const { takeGlobals } = await import("./virtual-globals.ts");
takeGlobals();
for (const each of names) {
  const [name = "", seeds] = each.split(":");
  const fence = fenceOf(name);
  if (how === "without") takeAway(fence);
  process.stdout.write(
    `${JSON.stringify(await run(fence, seeds === undefined ? fence.seeds : Number(seeds)))}\n`,
  );
}
