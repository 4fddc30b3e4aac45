import type { TableSpec } from "@sluice/contracts";
import type { BusLog } from "./log.ts";

/** One message of a table as it lies on the bus. */
export interface StoredEntry {
  readonly key: string;
  readonly value: Uint8Array;
  /** Sequence in the table's stream: unique, rising over all keys of the table. */
  readonly revision: number;
  /** When the server stored it, ms since 1970. */
  readonly storedAt: number;
}

export type PutResult = { readonly ok: true; readonly revision: number } | { readonly ok: false };

/** What a follower is told, in order. All calls are synchronous: a follower only records and returns. */
export interface FollowSink {
  /** Only when a snapshot begins (again): nothing delivered before it counts as delivered any more. */
  restart(boot: string): void;
  /** After a break in the same life of the table: what follows goes on behind what was delivered before it. */
  resumed?(): void;
  entry(entry: StoredEntry): void;
  /** All that was there at the last restart or resume has been delivered; progress only, no rule rests on it. */
  caughtUp(): void;
  disconnected(): void;
}

/**
 * The port through which Sluice keeps a table: newest value per key, compare-and-set by the key's revision, and one
 * stream of everything in order. NATS and the in-memory double pass one contract suite.
 */
export interface Store {
  get(spec: TableSpec, key: string, signal: AbortSignal): Promise<StoredEntry | null>;
  /** Whether `get` may be answered with an older state than was delivered or written; absent: never. */
  mayLag?(spec: TableSpec): boolean;
  /**
   * @param expected revision of the key's newest message, 0 for none; null writes whatever is there
   * @returns ok false when another revision is there
   * @throws when no answer came: the write may or may not have happened
   */
  put(
    spec: TableSpec,
    key: string,
    value: Uint8Array,
    expected: number | null,
    signal: AbortSignal,
  ): Promise<PutResult>;
  /** Removes one message by its sequence; what is no longer there, or is for others to remove, is not an error. */
  removeMessage(spec: TableSpec, revision: number, signal: AbortSignal): Promise<void>;
  /**
   * Revision of the newest message of the table; 0 when it is empty.
   * @param filter of the keys that count; default all, which not everybody may ask for
   */
  lastRevision(spec: TableSpec, signal: AbortSignal, filter?: string): Promise<number>;
  /**
   * Feeds the sink over every reconnect and restart of the servers; resolves once the signal has aborted. A break costs
   * a snapshot only where going on behind it could miss something: see resume-point.ts.
   */
  follow(spec: TableSpec, filter: string, sink: FollowSink, signal: AbortSignal): Promise<void>;
  /** Uuid of the servers' present life: lost with their memory. Waits until it is known. */
  boot(signal: AbortSignal): Promise<string>;
  readonly connected: boolean;
  /** What became of the logged tables over time; absent: this store does not keep it. */
  readonly log?: BusLog;
  close(): Promise<void>;
}
