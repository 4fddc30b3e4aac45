import { type SliceTruth, type Truth, textOf } from "./truth.ts";
import type { ViolationName } from "./violation.ts";

/** What somebody shows of one slice. */
interface Shown {
  /** The earliest state of the slice that this may be. */
  readonly state: number;
  /** The newest content that was shown. */
  readonly content: number;
  readonly text: string;
}

export type Snapshot = ReadonlyMap<string, Shown>;

/**
 * What one reader of slices shows, against what the APIs have said: peers go only when some API has said so, never come
 * back, and are those of one moment of each slice.
 */
export class ShownSlices {
  readonly #who: string;
  readonly #truth: Truth;
  readonly #violate: (name: ViolationName, what: string) => void;
  readonly #shown = new Map<string, Shown>();

  constructor(who: string, truth: Truth, violate: (name: ViolationName, what: string) => void) {
    this.#who = who;
    this.#truth = truth;
    this.#violate = violate;
  }

  text(id: string): string {
    return this.#shown.get(id)?.text ?? "";
  }

  /** The addresses of a slice are these now. */
  show(slice: SliceTruth, addresses: readonly string[]): void {
    const before = this.#shown.get(slice.id) ?? { state: 0, content: 0, text: "" };
    const text = textOf(addresses);
    if (before.text === text) return;
    const where = `${this.#who}, ${slice.id}`;
    const content = text === "" ? before.content : slice.byText.get(text);
    if (content === undefined) return this.#violate("torn", `${where}: ${text} was never the slice's`);
    if (content < before.content) {
      const what = `${where}: ${text} is version ${content}, it has shown version ${before.content}`;
      return this.#violate("went-back", what);
    }
    const wanted = text === "" ? null : content;
    const state = stateOf(slice, wanted, before.state);
    if (state === -1 && text === "") {
      const what = `${where}: ${before.text} went, though the API has had it, or what came after, all the time`;
      return this.#violate(this.#isEmptied(slice) ? "emptied" : "removed-out-of-ignorance", what);
    }
    this.#shown.set(slice.id, { state: Math.max(state, before.state), content, text });
  }

  /** The reader knows nothing any more; what it shows next may be as old as a copy of it. */
  forget(copy: Snapshot | undefined): void {
    for (const [id, { state, content }] of this.#shown) {
      const known = copy?.get(id) ?? { state: 0, content: 0 };
      const older = {
        state: Math.min(state, known.state),
        content: Math.min(content, known.content),
        text: "",
      };
      this.#shown.set(id, older);
    }
  }

  copy(): Snapshot {
    return new Map(this.#shown);
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
