import type { NginxObserver, NginxRow, SimNginx } from "./sim-nginx.ts";
import { type SliceTruth, type Truth, textOf } from "./truth.ts";
import type { Violation, ViolationName } from "./violation.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** What one nginx shows of one slice. */
interface Shown {
  /** The earliest state of the slice that this may be. */
  readonly state: number;
  /** The newest content that was shown. */
  readonly content: number;
  readonly text: string;
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
  readonly #saved = new Map<SimNginx, Map<string, Shown>>();
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
    const before = shown.get(slice.id) ?? { state: 0, content: 0, text: "" };
    const text = textOf(addresses);
    if (before.text === text) return;
    const where = `${nginx.name}, ${slice.id}`;
    if (text !== "") {
      const content = slice.byText.get(text);
      if (content === undefined) this.#violate("torn", `${where}: ${text} was never the slice's`);
      else if (content < before.content) {
        const what = `${where}: ${text} is version ${content}, it has shown version ${before.content}`;
        this.#violate("went-back", what);
      } else shown.set(slice.id, { state: stateOf(slice, content, before.state), content, text });
      return;
    }
    const state = hiddenSince(slice, before.state);
    if (state !== -1 || this.unwanted.has(slice.service)) {
      shown.set(slice.id, { state: Math.max(state, before.state), content: before.content, text });
      return;
    }
    const what = `${where}: ${before.text} went, though the API has had it, or what came after, all the time`;
    this.#violate(this.#isEmptied(nginx, slice) ? "emptied" : "removed-out-of-ignorance", what);
  }

  #isEmptied(nginx: SimNginx, slice: SliceTruth): boolean {
    for (const [id, { text }] of this.#of(nginx)) {
      if (id !== slice.id && text !== "" && this.#truth.slices.get(id)?.service === slice.service)
        return false;
    }
    return true;
  }

  saved(nginx: SimNginx, entries: Saved): void {
    const saved = new Map<string, Shown>();
    for (const { row } of entries) {
      if (row?.k !== "peers" || !("peers" in row)) continue;
      for (const [address] of row.peers) {
        const slice = this.#truth.sliceOf(address);
        const shown = slice === undefined ? undefined : this.#of(nginx).get(slice.id);
        if (slice !== undefined && shown !== undefined) saved.set(slice.id, shown);
      }
    }
    this.#saved.set(nginx, saved);
  }

  restarted(nginx: SimNginx): void {
    const saved = this.#saved.get(nginx);
    const shown = this.#of(nginx);
    // What is seeded may be as old as the last copy on disk; it must not be older.
    for (const [id, { state, content }] of shown) {
      const copy = saved?.get(id) ?? { state: 0, content: 0 };
      shown.set(id, {
        state: Math.min(state, copy.state),
        content: Math.min(content, copy.content),
        text: "",
      });
    }
  }

  /** Peers that an nginx lacks, or has beyond what the APIs say now. */
  differences(nginx: SimNginx): string[] {
    const differences: string[] = [];
    for (const slice of this.#truth.slices.values()) {
      const wanted = this.#truth.now(slice);
      const shown = this.#of(nginx).get(slice.id)?.text ?? "";
      if (shown !== wanted)
        differences.push(`${nginx.name}, ${slice.id}: has [${shown}], the API says [${wanted}]`);
    }
    return differences;
  }
}

/** The first state from `from` on in which the slice had this content, visible if there is one; else `from`. */
function stateOf({ states }: SliceTruth, content: number, from: number): number {
  let hidden = -1;
  for (let i = from; i < states.length; i++) {
    const state = states[i]!;
    if (state.content !== content) continue;
    if (state.visible) return i;
    if (hidden === -1) hidden = i;
  }
  return hidden === -1 ? from : hidden;
}

/** The first state from `from` on in which nobody was to be sent to the slice; -1: there was none. */
function hiddenSince({ states, contents }: SliceTruth, from: number): number {
  for (let i = from; i < states.length; i++) {
    const { content, visible } = states[i]!;
    if (!visible || contents[content] === "") return i;
  }
  return -1;
}
