// `npm run check`: everything that can be said of the code without running it. All checks run, whatever one of them says.
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runChild } from "./run-child.mjs";
import { quietTurbo, turboPath } from "./turbo.ts";

/** Scripts of the root package.json, each a task of turbo.json that is cached by its inputs; the slowest first. */
const checks = {
  "check:types": "types",
  "check:lint": "lint and format",
  "check:unused": "unused exports and dependencies",
  "check:rules": "import rules, READMEs, lock file",
} as const;
/** A check is one core's work. */
const AT_ONCE = 2;

type Task = keyof typeof checks;

const outputs = mkdtempSync(join(tmpdir(), "sluice-check-"));
let stopped = false;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    stopped = true;
  });
}

/** What a check printed, without turbo's frame around it. */
function said(output: string): string {
  return output
    .split("\n")
    .filter(
      (line) =>
        !/^(\s*• |\/\/[:#]check|\$ | ?Tasks:|Cached:|\s+Time:|\s*Failed:|\s*ERROR +run failed)/.test(line),
    )
    .join("\n")
    .trim();
}

async function runCheck(task: Task): Promise<boolean> {
  const file = join(outputs, task.replace(":", "-"));
  const fd = openSync(file, "w");
  const begun = performance.now();
  const code = await runChild(
    turboPath,
    ["run", task, "--output-logs=full", "--log-prefix=none", "--log-order=grouped"],
    { stdio: ["ignore", fd, fd], env: { ...process.env, ...quietTurbo } },
  );
  closeSync(fd);
  const output = readFileSync(file, "utf8");
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  const cached = code === 0 && output.includes("FULL TURBO") ? "  unchanged since it passed" : "";
  process.stdout.write(
    `${code === 0 ? "✓" : "✗"} ${checks[task].padEnd(34)} ${seconds.padStart(5)} s${cached}\n`,
  );
  if (code !== 0) process.stdout.write(`\n${said(output)}\n\n`);
  return code === 0;
}

const waiting = Object.keys(checks) as Task[];
const results: boolean[] = [];
async function work(): Promise<void> {
  for (let task = waiting.shift(); task !== undefined && !stopped; task = waiting.shift()) {
    results.push(await runCheck(task));
  }
}

try {
  await Promise.all(Array.from({ length: AT_ONCE }, work));
} finally {
  rmSync(outputs, { recursive: true, force: true });
}
const passed = results.filter(Boolean).length;
const failed = Object.keys(checks).length - passed;
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;
