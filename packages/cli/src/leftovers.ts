import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { readRunFile, removeRunFile } from "./run-file.ts";

/** Processes that a Sluice which was killed left behind in this state folder: nginx and nats-server cannot notice. */
export async function endLeftovers(stateDir: string): Promise<void> {
  const run = readRunFile(stateDir);
  if (run === null) return;
  for (const { name, pid } of run.processes) {
    if (pid === null || pid === run.pid || !isOurs(pid, stateDir)) continue;
    endGroup(pid, "SIGTERM");
    for (let tries = 0; tries < 100 && isOurs(pid, stateDir); tries++) await delay(50);
    if (isOurs(pid, stateDir)) endGroup(pid, "SIGKILL");
    process.stderr.write(`  ended ${name} (pid ${pid}), left over by a Sluice that was killed\n`);
  }
  removeRunFile(stateDir);
}

function endGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended by itself.
  }
}

/** A pid may have gone to somebody else: it is ours only if its command names our folder. */
function isOurs(pid: number, stateDir: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(stateDir);
  } catch {
    return false;
  }
}
