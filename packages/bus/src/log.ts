import type { CheckpointHead, TableSpec } from "@sluice/contracts";
import type { StoredEntry } from "./store.ts";

/** One accepted change, as the log holds it. */
export interface LogEntry {
  /** In the log: unique, rising over all tables. */
  readonly seq: number;
  /** When the log stored it, ms since 1970. */
  readonly at: number;
  readonly table: string;
  readonly key: string;
  /** Sequence in the table's own stream. */
  readonly revision: number;
  /** Revision that the key had before; 0: it had none. */
  readonly previous: number;
  readonly value: Uint8Array;
  /** Of the table's stream: revisions of another life say nothing of this one. */
  readonly life: string;
  /** It was read from the table afterwards: what it replaced may never have reached the log. */
  readonly late: boolean;
}

/** A record that the server has just stored in a logged table. */
export type Accepted = Pick<LogEntry, "table" | "key" | "revision" | "previous" | "value">;

export interface AcceptedSink {
  /** From here on nothing is missed until `broken`. */
  begun(): void;
  /** In each table's order. */
  entry(entry: Accepted): void;
  /** Something may have been missed. */
  broken(): void;
}

/** How far a table is, or the log with it. */
export interface TableExtent {
  readonly life: string;
  readonly revision: number;
}

export interface LogExtent {
  /** Another one: this log is not the one that was there before. */
  readonly id: string;
  /** Sequence of the oldest entry that is kept; above `last` when there is none. */
  readonly first: number;
  /** Of the newest entry that there ever was; 0: none. */
  readonly last: number;
  /** When they were stored, ms since 1970; 0: there is none. */
  readonly firstAt: number;
  readonly lastAt: number;
  readonly bytes: number;
  readonly maxBytes: number;
  readonly maxAgeSeconds: number;
}

/** A snapshot of all logged tables, and from where on the log takes it further. */
export type CheckpointInfo = Omit<CheckpointHead, "v" | "tables">;

export interface CheckpointStore {
  /** Oldest first; whole ones only. */
  list(signal: AbortSignal): Promise<CheckpointInfo[]>;
  /** The records of one table, in order of their revisions. */
  read(of: CheckpointInfo, table: string, signal: AbortSignal): AsyncIterable<StoredEntry>;
  /** `finish` is called once all tables are written, and says what the checkpoint is. */
  write(
    tables: ReadonlyMap<string, AsyncIterable<StoredEntry>>,
    finish: () => Promise<Omit<CheckpointInfo, "bytes">>,
    signal: AbortSignal,
  ): Promise<CheckpointInfo>;
  remove(of: CheckpointInfo, signal: AbortSignal): Promise<void>;
}

export interface PublishedEvent {
  readonly subject: string;
  /** A repetition within the window of the stream is swallowed. */
  readonly id: string;
  readonly value: Uint8Array;
}

/** The stream of events for others. */
export interface EventStream {
  /** The newest event's value; null: there is none. */
  last(signal: AbortSignal): Promise<Uint8Array | null>;
  publish(event: PublishedEvent, signal: AbortSignal): Promise<void>;
}

/**
 * The port to the past. All of it throws when the bus does not answer, except a reader that follows: that goes on over
 * every reconnect.
 */
export interface BusLog {
  extent(signal: AbortSignal): Promise<LogExtent>;
  /** Sequence of the first entry that was stored after `at` (ms since 1970); that behind the last when there is none. */
  firstAfter(at: number, signal: AbortSignal): Promise<number>;
  /**
   * Entries from a sequence on, in order, in memory bounded by what is in flight. Ends behind `to`, or with the log as
   * it was when the call began; never with `follow`.
   * @throws LogReplacedError when the log is another one than before
   */
  read(range: LogRange, signal: AbortSignal): AsyncIterable<LogEntry>;
  /** Records of a table as they lie on the bus now, in order; what is overwritten meanwhile may be left out. */
  snapshot(spec: TableSpec, filter: string, signal: AbortSignal): AsyncIterable<StoredEntry>;
  /** Resolves once the log holds everything of the table that was stored before this call. @throws in 5 s if not */
  caughtUpWith(spec: TableSpec, signal: AbortSignal): Promise<void>;
  /** Newest sequence that the table's stream has given out, whatever has been removed since. */
  tableExtent(spec: TableSpec, signal: AbortSignal): Promise<TableExtent>;
  /** The newest entry of a table; null: none. */
  loggedExtent(spec: TableSpec, signal: AbortSignal): Promise<TableExtent | null>;
  /** Tells of everything that the logged tables take, over every reconnect, until the signal aborts. */
  accepted(sink: AcceptedSink, signal: AbortSignal): Promise<void>;
  /**
   * Puts entries behind the one with sequence `after`, all or a first part of them.
   * @returns sequence of the last
   * @throws LogConflictError when somebody else has put some there
   */
  append(
    entries: readonly Omit<LogEntry, "seq" | "at">[],
    after: number,
    signal: AbortSignal,
  ): Promise<number>;
  boot(signal: AbortSignal): Promise<string>;
  /** Makes the log keep this much from now on. */
  keep(
    limits: { readonly maxBytes: number; readonly maxAgeSeconds: number },
    signal: AbortSignal,
  ): Promise<void>;
  readonly checkpoints: CheckpointStore;
  readonly events: EventStream;
}

export interface LogRange {
  readonly from: number;
  /** Last sequence of interest. */
  readonly to?: number;
  /** Only this table. */
  readonly table?: string;
  readonly follow?: boolean;
}

/** The log was deleted and began anew: sequences from before say nothing of it. */
export class LogReplacedError extends Error {
  override name = "LogReplacedError";
}

/** Somebody else feeds the log as well. */
export class LogConflictError extends Error {
  override name = "LogConflictError";
}
