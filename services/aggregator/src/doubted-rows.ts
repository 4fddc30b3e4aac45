import type { TableView } from "@sluice/bus";
import { decodeToken, type SliceValue, sliceKeys } from "@sluice/contracts";
import { type Kit, slept } from "@sluice/service-kit";
import type { ServiceIndex } from "./service-index.ts";

/** How soon a row is looked at again whose records were in doubt, ms; most doubts end within a round trip. */
const AGAIN_MS = 50;

/**
 * Rows of `topology` whose records in `slices` are in doubt: the predecessor may have made the row of newer ones, so it
 * stays until they are confirmed or replaced. Then it is compared again.
 */
export class DoubtedRows {
  readonly #slices: Pick<TableView<SliceValue>, "isDoubtful" | "doubts">;
  readonly #index: Pick<ServiceIndex, "get">;
  readonly #kit: Pick<Kit, "clock" | "signal">;
  readonly #onSure: (rows: ReadonlySet<string>) => void;
  readonly #waiting = new Set<string>();
  /** Of these, the ones that the table lacks. */
  readonly #empty = new Set<string>();

  constructor(
    slices: Pick<TableView<SliceValue>, "isDoubtful" | "doubts">,
    index: Pick<ServiceIndex, "get">,
    kit: Pick<Kit, "clock" | "signal">,
    onSure: (rows: ReadonlySet<string>) => void,
  ) {
    this.#slices = slices;
    this.#index = index;
    this.#kit = kit;
    this.#onSure = onSure;
  }

  /** Whether a row has to stay as it is for now. */
  has(row: string): boolean {
    if (this.#slices.doubts === 0 || !this.#isDoubtful(row)) return false;
    this.#waiting.add(row);
    if (this.#waiting.size === 1) void this.#lookAgain();
    return true;
  }

  /** The same of a row that the table lacks: nobody may take that for absence before it is there. */
  leavesEmpty(row: string): boolean {
    if (!this.has(row)) return false;
    this.#empty.add(row);
    return true;
  }

  /** Resolves when no row is missing for doubt; rejects with the signal's reason. */
  async filled(signal: AbortSignal): Promise<void> {
    while (this.#empty.size > 0) {
      await slept(this.#kit.clock, AGAIN_MS, signal);
      signal.throwIfAborted();
    }
  }

  #isDoubtful(row: string): boolean {
    const [namespace, service, cluster] = row.split(".").map((token) => decodeToken(token));
    // Of a name that is only a hash nothing can be looked up.
    if (namespace == null || service == null || cluster == null) return false;
    const copies = this.#index.get(namespace, service)?.copies;
    // `_service` is made of all exports; a name holds no `_`, so decoding has made a dot of it.
    const clusters = cluster === ".service" ? [...(copies?.keys() ?? [])] : [cluster];
    return clusters.some((each) => {
      if (this.#slices.isDoubtful(sliceKeys.export(each, namespace, service))) return true;
      if (cluster === ".service") return false;
      for (const slice of copies?.get(each)?.slices.keys() ?? []) {
        if (this.#slices.isDoubtful(sliceKeys.slice(each, namespace, service, slice))) return true;
      }
      return false;
    });
  }

  /** Never rejects: `slept` answers false once the signal has aborted. */
  async #lookAgain(): Promise<void> {
    while (this.#waiting.size > 0 && (await slept(this.#kit.clock, AGAIN_MS, this.#kit.signal))) {
      const sure = new Set(
        [...this.#waiting].filter((row) => this.#slices.doubts === 0 || !this.#isDoubtful(row)),
      );
      for (const row of sure) {
        this.#waiting.delete(row);
        this.#empty.delete(row);
      }
      if (sure.size > 0) this.#onSure(sure);
    }
  }
}
