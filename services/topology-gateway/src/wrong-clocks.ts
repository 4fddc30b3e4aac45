import type { MemberRecord } from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";

/** A process whose clock is off by more than this is told of. Nothing rests on it: readers go by their own. */
const CLOCK_OFF_MS = 60_000;

export function isClockWrong(aheadMs: number): boolean {
  return Math.abs(aheadMs) > CLOCK_OFF_MS;
}

/** Of a clock, e.g. `3600 s ahead of the bus server's` */
export function wrongClockInWords(aheadMs: number): string {
  const seconds = Math.round(Math.abs(aheadMs) / 1000);
  return `${seconds} s ${aheadMs > 0 ? "ahead of" : "behind"} the bus server's`;
}

/** Counts heartbeats that show a wrong clock, and logs each process that has one once. */
export class WrongClocks {
  readonly #kit: Pick<Kit, "log" | "metrics">;
  readonly #told = new Set<string>();

  constructor(kit: Pick<Kit, "log" | "metrics">) {
    this.#kit = kit;
  }

  /** @param key of the process's record @param aheadMs by how much its clock was ahead when it was written */
  heard(key: string, { role }: MemberRecord, aheadMs: number): void {
    if (!isClockWrong(aheadMs)) {
      this.#told.delete(key);
      return;
    }
    const { log, metrics } = this.#kit;
    metrics
      .counter(
        "sluice_wrong_clock_heartbeats_total",
        "Heartbeats of processes whose clock is more than a minute off the bus server's.",
        ["role"],
      )
      .inc({ role });
    if (this.#told.has(key)) return;
    this.#told.add(key);
    const subject = `members/${key}`;
    log.warn({ subject, aheadMs: Math.round(aheadMs) }, `its clock is ${wrongClockInWords(aheadMs)}`);
  }

  /** Its record is gone. */
  forget(key: string): void {
    this.#told.delete(key);
  }
}
