import type { Trace } from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";

export interface HoldOptions {
  readonly kit: Pick<Kit, "log" | "metrics" | "clock" | "signal" | "health" | "injectDelay">;
  /** `<role>.<process>`, written into the claim for people, and to find out whether its holder still lives. */
  readonly holder: string;
  /**
   * Called after each new claim. Resolves when the desired state reflects a source that was read after the claim; a
   * warm cache from before it would delete what the predecessor wrote. Then what the table holds beyond the desired
   * state is removed, and `synced` is put.
   */
  fresh(signal: AbortSignal): Promise<void>;
  /**
   * Whether what is wanted of a key, or that it is not wanted, is knowledge; default: always. Where it is not, what
   * the table holds stays (the predecessor may have known better), and only an empty place is filled.
   * @param there what the table holds at the key; undefined: nothing, or a record that does not parse
   */
  knows?(key: string, there: unknown): boolean;
  /** Resolves when `knows` is true of every key that there may be; only then `synced` is put. Default: at once. */
  complete?(signal: AbortSignal): Promise<void>;
  /** In a settling pass rows of a lower number are written before, and removed after, those of a higher one. */
  order?(key: string): number;
  /** Whether the process named in a claim still lives; default: no. */
  isLive?(holder: string): boolean;
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
  /** The table holds records of this part, tombstones aside; meaningful while it is held. */
  readonly occupied: boolean;
  /** Resolves when every difference known now is written. */
  idle(): Promise<void>;
  /** Resolves when the signal of its kit has aborted and nothing of it runs. */
  readonly done: Promise<void>;
}
