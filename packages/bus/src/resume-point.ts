import { TOMBSTONE_MS } from "./tombstones.ts";

/** Whoever was away longer may have missed a tombstone. */
export const RESUME_MS = TOMBSTONE_MS / 2;

/** How far a follower came in a table, and in which life of it. */
export interface ResumePoint {
  /** Uuid of the servers' life. */
  readonly boot: string;
  /** When the table's stream was created, as the server says it; another text is another stream. */
  readonly created: string;
  /** Highest sequence that was delivered; 0: none yet. */
  readonly sequence: number;
  /** When the servers were last heard by this follower, ms on a monotonic clock. */
  readonly heardAt: number;
}

/** The table as it is found by whoever wants to go on. */
export interface FoundTable {
  readonly boot: string;
  readonly created: string;
  /** Sequence of the newest message, overwritten or not. */
  readonly lastSequence: number;
  /** ms on the monotonic clock of the point */
  readonly now: number;
}

/**
 * The sequence to begin with so that the sink misses nothing of what it has not been told, or null when only a snapshot
 * will do. A table keeps one value a key, so everything that changed since the point lies behind it; a removal too, for
 * as long as its tombstone does. What lies there in another life of the servers, in another stream, or in one that is
 * shorter than it was, says nothing of what was delivered.
 */
export function resumeFrom(point: ResumePoint | null, found: FoundTable): number | null {
  if (point === null) return null;
  if (point.boot !== found.boot || point.created !== found.created) return null;
  if (found.lastSequence < point.sequence) return null;
  if (found.now - point.heardAt >= RESUME_MS) return null;
  return point.sequence + 1;
}
