import type { Trace } from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";
import type { DroppedRecords } from "./dropped-records.ts";
import type { Turns } from "./membership.ts";
import type { WriteWindow } from "./write-window.ts";

/** What a holder learns from the table with its claim. */
export interface TakenOver {
  /**
   * Newest resourceVersion by kind that anybody who wrote this part had acted upon: a cache that has reached them has
   * seen no less than the predecessors. null: not every record says, so only a new list will do.
   */
  readonly sources: ReadonlyMap<string, number> | null;
}

export interface HoldOptions {
  readonly kit: Pick<Kit, "log" | "metrics" | "clock" | "random" | "signal" | "health" | "injectDelay"> & {
    readonly dropped?: Pick<DroppedRecords, "note" | "mend">;
  };
  /** `<role>.<process>`, written into the claim for people, and to find out whether its holder still lives. */
  readonly holder: string;
  readonly turns: Turns;
  /** Bounds what this process has in flight. */
  readonly window: WriteWindow;
  /**
   * Into how many shards the scope is cut where this holder is made for one of them; it ends when that changes. Records
   * from before a layout are delivered before it. Default: as the newest layout delivered says.
   */
  readonly shards?: number;
  /** Ends this holder alone, e.g. because its cluster is cut otherwise now; default: only the kit's signal does. */
  readonly signal?: AbortSignal;
  /**
   * Resolves once the source has been read once. Before that nothing is claimed, so that whoever holds the part goes on
   * until its heir can do as well. Default: at once.
   */
  warm?(signal: AbortSignal): Promise<void>;
  /**
   * Called after each new claim. Resolves when the desired state reflects a source that was read after the claim; a
   * warm cache from before it would delete what the predecessor wrote. Then what the table holds beyond the desired
   * state is removed, and `synced` is put.
   */
  fresh(signal: AbortSignal, over: TakenOver): Promise<void>;
  /** After this long without `warm` or `fresh` the part is left to others, ms; default 30,000. */
  readonly patienceMs?: number;
  /** Of each kind of source the newest resourceVersion acted upon; undefined where they cannot be compared. */
  source?(): Readonly<Record<string, number>> | undefined;
  /**
   * Whether what is wanted of a key, or that it is not wanted, is knowledge; default: always. Where it is not, what
   * the table holds stays (the predecessor may have known better), and only an empty place is filled.
   * @param there reads what the table holds at the key; undefined: nothing, or a record that does not parse
   */
  knows?(key: string, there: () => unknown): boolean;
  /**
   * Whether an empty place may be filled with what is wanted of it; default: always. Where that is in doubt, nothing is
   * better: readers may still hold something newer from before the table was lost.
   */
  fills?(key: string): boolean;
  /** Resolves when `knows` is true of every key that there may be; only then `synced` is put. Default: at once. */
  complete?(signal: AbortSignal): Promise<void>;
  /**
   * Rank of a key: when the part is brought in order, lower ranks are written before higher ones and removed after
   * them (make before break). Default: all the same.
   */
  order?(key: string): number;
}

/** What one process wants a part of a table to be, and keeps it so for as long as it holds the part. */
export interface PartHolder<T> {
  set(key: string, value: T, trace?: Trace): void;
  remove(key: string, trace?: Trace): void;
  /** Compares every key again, or those asked for: to be called when `knows` has come to know more. */
  recheck(concerns?: (key: string) => boolean): void;
  /** Its claim is the newest, and the first pass over its source is written. */
  readonly synced: boolean;
  readonly holding: boolean;
  /** 0: this process should hold the part, 1: it should stand by for it; -1: it is not known yet, or neither. */
  readonly rank: number;
  /** Keys of which something is wanted. */
  keys(): Iterable<string>;
  /**
   * Keys at which the table does not hold what is wanted, each with what it holds: undefined is nothing, a tombstone or
   * what does not parse. Meaningful while the part is held; may be gone through slowly.
   */
  unwritten(): Iterable<readonly [key: string, published: T | undefined]>;
  /** The table holds records of this part, tombstones aside; meaningful while it is held. */
  readonly occupied: boolean;
  /** Resolves when every difference known now is written. */
  idle(): Promise<void>;
  /** Resolves when the signal of its kit has aborted and nothing of it runs. */
  readonly done: Promise<void>;
}
