import { type SliceTruth, type Truth, textOf } from "./truth.ts";
import type { ViolationName } from "./violation.ts";

/** What somebody shows of one slice. */
interface Shown {
  /** The earliest state of the slice that this may be. */
  readonly state: number;
  /** The same by whether anything is shown at all, whatever it is. */
  readonly visible: number;
  /** The newest content that was shown. */
  readonly content: number;
  /** The oldest one of which something is still shown: a list that is not whole yet takes nothing away. */
  readonly oldest: number;
  readonly text: string;
}

const NOTHING: Shown = { state: 0, visible: 0, content: 0, oldest: 0, text: "" };

export type Snapshot = ReadonlyMap<string, Shown>;

/**
 * What one reader of slices shows, against what the APIs have said: peers go only when some API has said so, never come
 * back, and are those of one moment of each slice, with what was there just before for as long as a list is not whole.
 */
export class ShownSlices {
  readonly #who: string;
  readonly #truth: Truth;
  readonly #now: () => number;
  readonly #violate: (name: ViolationName, what: string) => void;
  readonly #shown = new Map<string, Shown>();

  /** @param now ms of virtual time */
  constructor(
    who: string,
    truth: Truth,
    now: () => number,
    violate: (name: ViolationName, what: string) => void,
  ) {
    this.#who = who;
    this.#truth = truth;
    this.#now = now;
    this.#violate = violate;
  }

  text(id: string): string {
    return this.#shown.get(id)?.text ?? "";
  }

  /** The addresses of a slice are these now. */
  show(slice: SliceTruth, addresses: readonly string[]): void {
    const before = this.#shown.get(slice.id) ?? NOTHING;
    const text = textOf(addresses);
    if (before.text === text) return;
    const where = `${this.#who}, ${slice.id}`;
    const exact = text === "" ? before.content : slice.byText.get(text);
    const content = exact ?? newestWithin(slice, addresses, before.oldest);
    if (content === undefined || (exact === undefined && !this.#wasListed(slice, before.oldest))) {
      return this.#violate("torn", `${where}: ${text} was never the slice's`);
    }
    if (content < before.content) {
      const what = `${where}: ${text} is version ${content}, it has shown version ${before.content}`;
      return this.#violate("went-back", what);
    }
    const wanted = text === "" ? null : content;
    const state = stateOf(slice, wanted, before.state);
    const visible = visibleOf(slice, text !== "", before.visible);
    // It was hidden and shown again while the watch that tells so was away; the slice's own was there before.
    const late = visible !== -1 && this.#truth.mayLag(slice.cluster, this.#now());
    if (state === -1 && text === "" && !late) {
      const what = `${where}: ${before.text} went, though the API has had it, or what came after, all the time`;
      return this.#violate(this.#isEmptied(slice) ? "emptied" : "removed-out-of-ignorance", what);
    }
    const oldest = exact === undefined ? before.oldest : content;
    this.#shown.set(slice.id, {
      state: Math.max(state, before.state),
      visible: Math.max(visible, before.visible),
      content,
      oldest,
      text,
    });
  }

  /** The reader knows nothing any more; what it shows next may be as old as a copy of it. */
  forget(copy: Snapshot | undefined): void {
    for (const [id, { state, visible, content, oldest }] of this.#shown) {
      const known = copy?.get(id) ?? NOTHING;
      const older = {
        state: Math.min(state, known.state),
        visible: Math.min(visible, known.visible),
        content: Math.min(content, known.content),
        oldest: Math.min(oldest, known.oldest),
        text: "",
      };
      this.#shown.set(id, older);
    }
  }

  copy(): Snapshot {
    return new Map(this.#shown);
  }

  /** Somebody has asked for a list since this content was replaced: what it brings comes beside what was there. */
  #wasListed({ cluster, states }: SliceTruth, content: number): boolean {
    const replaced = states.find((state) => state.content > content);
    return replaced !== undefined && this.#truth.listedAt(cluster) >= replaced.at;
  }

  #isEmptied(slice: SliceTruth): boolean {
    for (const [id, { text }] of this.#shown) {
      if (id === slice.id || text === "") continue;
      if (this.#truth.slices.get(id)?.service === slice.service) return false;
    }
    return true;
  }
}

/**
 * The newest content that is there whole, where everything else is of contents from `oldest` up to it; undefined: it is
 * a mixture.
 */
function newestWithin(
  { contents }: SliceTruth,
  addresses: readonly string[],
  oldest: number,
): number | undefined {
  const shown = new Set(addresses);
  const newest = contents.findLastIndex(
    (text) => text !== "" && text.split(",").every((address) => shown.has(address)),
  );
  const known = new Set(contents.slice(oldest, newest + 1).flatMap((text) => text.split(",")));
  return newest !== -1 && addresses.every((address) => known.has(address)) ? newest : undefined;
}

/**
 * The first state from `from` on in which the slice had this content, visible if there is one; null: in which nobody was
 * to be sent to it. -1: there was none.
 */
function stateOf({ states, contents }: SliceTruth, wanted: number | null, from: number): number {
  let hidden = -1;
  for (let i = from; i < states.length; i++) {
    const { content, visible } = states[i]!;
    if (wanted === null) {
      if (!visible || contents[content] === "") return i;
    } else if (content === wanted) {
      if (visible) return i;
      if (hidden === -1) hidden = i;
    }
  }
  return hidden;
}

/** The first state from `from` on in which anybody was to be sent to it, or nobody; -1: there was none. */
function visibleOf({ states }: SliceTruth, shown: boolean, from: number): number {
  for (let i = from; i < states.length; i++) if (states[i]!.visible === shown) return i;
  return -1;
}
