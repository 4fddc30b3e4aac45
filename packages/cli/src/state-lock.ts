import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AlreadyRunningError } from "@sluice/contracts";

/** Set for a child whose parent holds the lock for both. */
export const LOCK_HOLDER = "SLUICE_LOCK_HOLDER";

/**
 * When a process began, in clock ticks since the machine did; tells it from another that got its pid later. Null
 * where there is no /proc, or no such process.
 */
function startTime(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the command in brackets and may hold blanks; field 22 counts from behind it.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}

function lives(pid: number, since: string | null): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  return since === null || startTime(pid) === since;
}

/**
 * Takes the state folder for this process. A lock whose process has died is taken over.
 * @throws AlreadyRunningError naming the folder and the pid that holds it
 */
export function lockState(stateDir: string, inherited: string | undefined): Disposable {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const file = join(stateDir, "lock");
  const mine = JSON.stringify({ pid: process.pid, since: startTime(process.pid) });
  for (let tries = 0; tries < 3; tries++) {
    try {
      writeFileSync(file, mine, { flag: "wx", mode: 0o600 });
      return { [Symbol.dispose]: () => rmSync(file, { force: true }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const holder = readHolder(file);
    if (holder !== null && String(holder.pid) === inherited) return { [Symbol.dispose]: () => {} };
    if (holder !== null && lives(holder.pid, holder.since)) {
      throw new AlreadyRunningError(
        `${stateDir} is in use by another Sluice (pid ${holder.pid}); end it, or give this one another --state-dir`,
      );
    }
    rmSync(file, { force: true });
  }
  throw new AlreadyRunningError(`${file} cannot be taken: another Sluice is starting in ${stateDir}`);
}

function readHolder(file: string): { pid: number; since: string | null } | null {
  try {
    const { pid, since } = JSON.parse(readFileSync(file, "utf8")) as { pid: unknown; since: unknown };
    return typeof pid === "number" ? { pid, since: typeof since === "string" ? since : null } : null;
  } catch {
    // Half written by a process that died: nobody's.
    return null;
  }
}
