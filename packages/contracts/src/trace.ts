import { randomBytes } from "node:crypto";
import type { Trace } from "./records.ts";

/** A change as it is first seen: a fresh trace id (W3C Trace Context: 16 random bytes), stage `watch`. */
export function newTrace(nowMs: number): Trace {
  return { id: randomBytes(16).toString("hex"), at: { watch: nowMs } };
}

/** The same change, one stage further. A trace that is missing (a record from a relist) stays missing. */
export function markStage(trace: Trace | undefined, stage: string, nowMs: number): Trace | undefined {
  return trace === undefined ? undefined : { id: trace.id, at: { ...trace.at, [stage]: nowMs } };
}
