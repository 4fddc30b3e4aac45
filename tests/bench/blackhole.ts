import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { BACK_MS, type BlackholeFigures, BROKEN_MS, type Means, shortcomings } from "../netns/blackhole.ts";
import type { Fault } from "../netns/member.ts";
import { nodeInNamespace, requireNamespaces } from "../netns/namespace.ts";
import { type BenchResult, thisMachine, writeRaw } from "./bench-result.ts";

interface Run {
  readonly means: Means;
  readonly fault: Fault;
  readonly figures: BlackholeFigures;
  readonly shortcomings: readonly string[];
}

const script = fileURLToPath(new URL("../netns/measure.ts", import.meta.url));

async function oneRun(means: Means, fault: Fault, signal: AbortSignal): Promise<Run> {
  const child = nodeInNamespace(["--disable-warning=ExperimentalWarning", script, means, fault], "pipe");
  const stop = () => void child.kill("SIGTERM");
  signal.addEventListener("abort", stop, { once: true });
  let text = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  const [code] = (await once(child, "close")) as [number | null];
  signal.removeEventListener("abort", stop);
  signal.throwIfAborted();
  if (code !== 0) throw new Error(`${means}, ${fault}: the run ended with ${code}`);
  const figures = JSON.parse(text) as BlackholeFigures;
  return { means, fault, figures, shortcomings: shortcomings(figures) };
}

/**
 * A member of two that freezes, and one whose packets are lost, in the middle of 200 GETs a second: with active checks,
 * with failing requests alone, and with nothing that would find it out. As root.
 */
export async function blackhole(options: {
  readonly signal: AbortSignal;
  readonly rounds: number;
  log(line: string): void;
}): Promise<BenchResult> {
  await requireNamespaces();
  const runs: Run[] = [];
  for (let round = 0; round < options.rounds; round++) {
    for (const means of ["checks", "passive", "nothing"] as const) {
      for (const fault of ["freeze", "drop"] as const) {
        const run = await oneRun(means, fault, options.signal);
        runs.push(run);
        const short = run.shortcomings.length === 0 ? "as asked" : run.shortcomings.join("; ");
        options.log(`${means}, ${fault}: ${short}`);
      }
    }
  }
  const by = (means: Means) => runs.filter((run) => run.means === means).map(({ figures }) => figures);
  const sum = (values: readonly number[]) => values.reduce((all, each) => all + each, 0);
  /** @param never what is told of a run in which it never was: for how long it was waited for */
  const worst = (values: readonly (number | null)[], never = 0) =>
    Math.max(...values.map((value) => value ?? never));
  const figuresOf = (means: Means) => {
    const all = by(means);
    return {
      [`failed_${means}`]: sum(all.map(({ failed }) => failed)),
      [`ejected_ms_${means}`]: worst(
        all.map(({ ejected_ms }) => ejected_ms),
        BROKEN_MS,
      ),
      [`back_ms_${means}`]: worst(
        all.map(({ back_ms }) => back_ms),
        BACK_MS,
      ),
      [`longest_ms_${means}`]: worst(all.map(({ longest_ms }) => longest_ms)),
      [`largest_share_${means}`]: worst(all.map(({ largest_share }) => largest_share)),
    };
  };
  const checked = by("checks");
  return {
    bench: "blackhole",
    figures: {
      requests: sum(checked.map(({ requests }) => requests)),
      failed: sum(checked.map(({ failed }) => failed)),
      ejected_ms: worst(
        checked.map(({ ejected_ms }) => ejected_ms),
        BROKEN_MS,
      ),
      ...figuresOf("checks"),
      ...figuresOf("passive"),
      ...figuresOf("nothing"),
    },
    goals: { failed: 0, ejected_ms: 1000 },
    samples: runs.length,
    raw: await writeRaw("blackhole", runs),
    machine: thisMachine(),
  };
}
