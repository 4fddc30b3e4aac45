import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { Arguments } from "./arguments.ts";
import type { Violation } from "./batches.ts";
import type { Said, Share } from "./worker.ts";

/** Objects whose profiles and rows one nginx is given at once. */
const BATCH = 200;
const PROGRESS_MS = 10_000;
/** Of one thread: an object that needs more has found a fault. */
const HEAP_MB = 1024;
/** Violations that end a run: more of them say nothing more. */
const ENOUGH = 10;
const MAX_SHOWN = 600;

/** @returns the exit code */
export async function fuzz(
  { objects, seed, plant }: Arguments,
  print: (line: string) => void,
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
  const workers = new Set<Worker>();
  // Who takes a rule away wants to see that it is missed.
  const enough = plant === null ? ENOUGH : 1;
  try {
    await Promise.all(
      Array.from({ length: every }, (_, first) => {
        const share: Share = { seed, objects: total, batch: BATCH, first, every, plant, single };
        const worker = new Worker(new URL("worker.ts", import.meta.url), {
          workerData: share,
          resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
        });
        workers.add(worker);
        return ended(worker, (said) => {
          done += said.objects;
          for (const key of ["profiles", "rows", "secrets"] as const) reached[key] += said.reached[key];
          for (const violation of said.violations.slice(0, Math.max(0, ENOUGH - violations.length)))
            tell(violation, print);
          violations.push(...said.violations);
          if (violations.length >= enough) for (const each of workers) each.postMessage("stop");
        });
      }),
    );
  } finally {
    clearInterval(progress);
  }
  const seconds = (performance.now() - began) / 1000;
  print(
    `reached: ${reached.profiles} profiles, ${reached.rows} rows of nginx, ${reached.secrets} of them Secrets`,
  );
  const rate = (done / seconds).toFixed(0);
  print(
    `${done} objects of seed ${seed}: ${violations.length} violations, ${seconds.toFixed(1)} s, ${rate} objects/s`,
  );
  return violations.length === 0 ? 0 : 1;
}

function ended(worker: Worker, said: (said: Said) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    worker.on("message", said);
    worker.once("error", reject);
    worker.once("exit", (code) => {
      if (code === 0) resolve();
      else reject(new Error(`a worker ended with ${code}`));
    });
  });
}

function tell({ seed, what, object }: Violation, print: (line: string) => void): void {
  const shown = JSON.stringify(object);
  print(`violation of object ${seed}: ${what}`);
  print(
    `  ${shown.length > MAX_SHOWN ? `${shown.slice(0, MAX_SHOWN)}… (${shown.length} characters)` : shown}`,
  );
  print(`  again: npm run -s fuzz -- --seed ${seed}`);
}
