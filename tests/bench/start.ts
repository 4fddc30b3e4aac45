import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "@sluice/native-tools";
import { type BenchResult, median, thisMachine, writeRaw } from "./bench-result.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const RUNS = 7;
const LIMIT_MS = 60_000;
const STOP_MS = 15_000;

/** Seconds from `npm start` on a warm checkout to the first 200 of the example. */
export async function start(options: { signal: AbortSignal; log(line: string): void }): Promise<BenchResult> {
  const seconds: number[] = [];
  for (let run = 0; run < RUNS && !options.signal.aborted; run++) {
    seconds.push(await once(options.signal));
    options.log(`run ${run + 1} of ${RUNS}: ${seconds.at(-1)?.toFixed(2)} s`);
  }
  options.signal.throwIfAborted();
  return {
    bench: "start",
    figures: {
      seconds: median(seconds),
      seconds_min: Math.min(...seconds),
      seconds_max: Math.max(...seconds),
    },
    goals: { seconds: 5 },
    samples: seconds.length,
    raw: await writeRaw("start", seconds),
    machine: thisMachine(),
  };
}

async function once(signal: AbortSignal): Promise<number> {
  const stateDir = await mkdtemp(join(tmpdir(), "sluice-start-"));
  const port = await freePort();
  const flags = [
    "--state-dir",
    stateDir,
    "--http-port",
    String(port),
    "--gateway-port",
    String(await freePort()),
  ];
  const began = performance.now();
  const child = spawn("npm", ["start", "--silent", "--", ...flags], {
    cwd: root,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-10_000);
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  try {
    for (;;) {
      const status = await statusOf(`http://127.0.0.1:${port}/jack`);
      if (status === 200) return (performance.now() - began) / 1000;
      signal.throwIfAborted();
      if (child.exitCode !== null || performance.now() - began > LIMIT_MS) {
        throw new Error(`no 200 from npm start:\n${said}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  } finally {
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await exited;
    clearTimeout(late);
    await rm(stateDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  }
}

async function statusOf(url: string): Promise<number> {
  try {
    const { get } = await import("../world/requests.ts");
    return (await get(url, "demo.localdev.jack", { timeoutMs: 2000 })).status;
  } catch {
    return 0;
  }
}
