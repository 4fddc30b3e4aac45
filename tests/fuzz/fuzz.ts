import { availableParallelism } from "node:os";
import { LinkedAbort } from "@sluice/service-kit";
import type { Arguments } from "./arguments.ts";
import type { Violation } from "./batches.ts";
import { FuzzWorker } from "./fuzz-worker.ts";

/** Objects whose profiles and rows one nginx is given at once. */
const BATCH = 200;
const PROGRESS_MS = 10_000;
/** Violations that end a run: more of them say nothing more. */
const ENOUGH = 10;
const MAX_SHOWN = 600;

/**
 * @param signal ends the run in order; what was found until then is told
 * @returns the exit code
 */
export async function fuzz(
  { objects, seed, plant }: Arguments,
  print: (line: string) => void,
  signal: AbortSignal,
): Promise<number> {
  const began = performance.now();
  const single = /-\d+$/.test(seed);
  const total = single ? 1 : objects;
  const every = Math.min(Math.ceil(total / BATCH), availableParallelism());
  const violations: Violation[] = [];
  const reached = { profiles: 0, rows: 0, secrets: 0 };
  let done = 0;
  const progress = setInterval(() => {
    process.stderr.write(`fuzz: ${done} of ${total} objects, ${violations.length} violations\n`);
  }, PROGRESS_MS);
  // Who takes a rule away wants to see that it is missed.
  const enough = plant === null ? ENOUGH : 1;
  using stop = new LinkedAbort(signal);
  const ended = await Promise.allSettled(
    Array.from({ length: every }, (_, first) =>
      FuzzWorker.run(
        { seed, objects: total, batch: BATCH, first, every, plant, single },
        (said) => {
          done += said.objects;
          for (const key of ["profiles", "rows", "secrets"] as const) reached[key] += said.reached[key];
          for (const violation of said.violations.slice(0, Math.max(0, ENOUGH - violations.length)))
            tell(violation, print);
          violations.push(...said.violations);
          if (violations.length >= enough) stop.abort();
        },
        stop.signal,
      ).catch((error: unknown) => {
        stop.abort();
        throw error;
      }),
    ),
  );
  clearInterval(progress);
  const seconds = (performance.now() - began) / 1000;
  print(
    `reached: ${reached.profiles} profiles, ${reached.rows} rows of nginx, ${reached.secrets} of them Secrets`,
  );
  const rate = (done / seconds).toFixed(0);
  print(
    `${done} objects of seed ${seed}: ${violations.length} violations, ${seconds.toFixed(1)} s, ${rate} objects/s`,
  );
  for (const each of ended) if (each.status === "rejected") throw each.reason;
  // A run that was told to end has not seen all that it was asked for.
  return violations.length === 0 && !signal.aborted ? 0 : 1;
}

function tell({ seed, what, object }: Violation, print: (line: string) => void): void {
  const shown = JSON.stringify(object);
  print(`violation of object ${seed}: ${what}`);
  print(
    `  ${shown.length > MAX_SHOWN ? `${shown.slice(0, MAX_SHOWN)}… (${shown.length} characters)` : shown}`,
  );
  print(`  again: npm run -s fuzz -- --seed ${seed}`);
}
