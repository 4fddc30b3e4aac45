import type { NginxObserver, NginxRow, SimNginx } from "./sim-nginx.ts";
import { type SliceTruth, type Truth, textOf } from "./truth.ts";
import type { Violation, ViolationName } from "./violation.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** What one nginx shows of one slice. */
interface Shown {
  /** Number of the state that is shown; of an empty one the earliest that it may be. */
  state: number;
  text: string;
}

type Saved = Parameters<NginxObserver["saved"]>[1];

/**
 * Holds every nginx to what the member APIs have said, at each change of a row: peers go only when some API has said
 * so, never come back, and are those of one moment of each slice.
 */
export class NginxChecks implements NginxObserver {
  readonly violations: Violation[] = [];
  readonly #truth: Truth;
  readonly #time: VirtualTime;
  readonly #shown = new Map<SimNginx, Map<string, Shown>>();
  /** What a last good copy holds, which may be a moment old. */
  readonly #saved = new Map<SimNginx, Map<string, number>>();
  /** Services whose route or import was away at some time: what nginx had of them may go. */
  readonly unwanted = new Set<string>();

  constructor(truth: Truth, time: VirtualTime) {
    this.#truth = truth;
    this.#time = time;
  }

  #violate(name: ViolationName, what: string): void {
    this.violations.push({ name, at: this.#time.now, what });
  }

  #of(nginx: SimNginx): Map<string, Shown> {
    let shown = this.#shown.get(nginx);
    if (shown === undefined) {
      shown = new Map();
      this.#shown.set(nginx, shown);
    }
    return shown;
  }

  row(nginx: SimNginx, name: string, row: NginxRow | null): void {
    const [kind, upstream = "", cluster = ""] = name.split(" ");
    if (kind !== "peers") return;
    const bySlice = new Map<SliceTruth, string[]>();
    if (row?.k === "peers" && "peers" in row) {
      for (const [address] of row.peers) {
        const slice = this.#truth.sliceOf(address);
        if (slice === undefined || slice.cluster !== cluster) {
          this.#violate("torn", `${nginx.name} has ${address} for ${cluster}, which no slice of it ever had`);
          continue;
        }
        const group = bySlice.get(slice);
        if (group === undefined) bySlice.set(slice, [address]);
        else group.push(address);
      }
    }
    for (const slice of this.#truth.slices.values()) {
      if (slice.cluster !== cluster || !upstream.includes(slice.service)) continue;
      this.#slice(nginx, slice, bySlice.get(slice) ?? []);
    }
  }

  #slice(nginx: SimNginx, slice: SliceTruth, addresses: readonly string[]): void {
    const shown = this.#of(nginx);
    const before = shown.get(slice.id);
    const text = textOf(addresses);
    if ((before?.text ?? "") === text) return;
    const from = before?.state ?? 0;
    const state = text === "" ? this.#emptySince(slice, from) : (slice.byText.get(text) ?? -1);
    const where = `${nginx.name}, ${slice.id}`;
    if (text !== "" && state === -1) {
      this.#violate("torn", `${where}: ${text} was never the slice's`);
    } else if (text === "" && state === -1) {
      if (this.unwanted.has(slice.service)) shown.delete(slice.id);
      else {
        const emptied = this.#isEmptied(nginx, slice);
        const what = `${where}: ${before?.text} went, though the API has had it, or what came after, all the time`;
        this.#violate(emptied ? "emptied" : "removed-out-of-ignorance", what);
      }
    } else if (state < from) {
      this.#violate("went-back", `${where}: ${text} is of version ${state}, it has shown version ${from}`);
    }
    if (state >= 0) shown.set(slice.id, { state, text });
  }

  /** The first state from `from` on in which the slice had no peers; -1: there was none. */
  #emptySince({ states }: SliceTruth, from: number): number {
    for (let i = from; i < states.length; i++) if (states[i]!.addresses.length === 0) return i;
    return -1;
  }

  #isEmptied(nginx: SimNginx, slice: SliceTruth): boolean {
    for (const [id, { text }] of this.#of(nginx)) {
      if (id !== slice.id && text !== "" && this.#truth.slices.get(id)?.service === slice.service)
        return false;
    }
    return true;
  }

  saved(nginx: SimNginx, entries: Saved): void {
    const saved = new Map<string, number>();
    for (const { row } of entries) {
      if (row?.k !== "peers" || !("peers" in row)) continue;
      for (const [address] of row.peers) {
        const slice = this.#truth.sliceOf(address);
        if (slice === undefined) continue;
        const shown = this.#of(nginx).get(slice.id);
        if (shown !== undefined) saved.set(slice.id, shown.state);
      }
    }
    this.#saved.set(nginx, saved);
  }

  restarted(nginx: SimNginx): void {
    const before = new Map(this.#of(nginx));
    const saved = this.#saved.get(nginx);
    // What is seeded may be as old as the last copy on disk; it must not be older.
    for (const [id, { state }] of before) {
      this.#of(nginx).set(id, { state: Math.min(state, saved?.get(id) ?? 0), text: "" });
    }
    for (const [id, shown] of before) if (shown.text === "") this.#of(nginx).delete(id);
  }

  /** Peers that an nginx lacks, or has beyond what the APIs say now. */
  differences(nginx: SimNginx): string[] {
    const differences: string[] = [];
    for (const slice of this.#truth.slices.values()) {
      const wanted = textOf(this.#truth.now(slice));
      const shown = this.#of(nginx).get(slice.id)?.text ?? "";
      if (shown !== wanted)
        differences.push(`${nginx.name}, ${slice.id}: has [${shown}], the API says [${wanted}]`);
    }
    return differences;
  }
}
