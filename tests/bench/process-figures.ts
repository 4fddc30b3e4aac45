import { readFile } from "node:fs/promises";

/** Clock ticks are 10 ms on every Linux that Node runs on. */
const TICK_MS = 10;

/** CPU that a process and those of its threads have used so far, user and system, ms; steps of 10 ms. */
export async function cpuMs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  // The command's name stands in parentheses and may hold blanks.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

export interface Memory {
  /** Resident now, MiB. */
  readonly nowMb: number;
  /** The most that was ever resident, MiB. */
  readonly peakMb: number;
}

export async function memoryOf(pid: number): Promise<Memory> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const mb = (field: string) => Number(new RegExp(`^${field}:\\s+([0-9]+) kB`, "m").exec(status)?.[1]) / 1024;
  return { nowMb: mb("VmRSS"), peakMb: mb("VmHWM") };
}

/** The process and its children, such as nginx's workers. */
export async function familyOf(pid: number): Promise<number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  return [pid, ...children.trim().split(" ").filter(Boolean).map(Number)];
}
