/** One EndpointSlice from some moment on. */
interface State {
  /** Virtual time, ms. */
  readonly at: number;
  /** Which of its contents it had. */
  readonly content: number;
  /** Its Service is there and exported, and the slice itself: somebody may be sent there. */
  readonly visible: boolean;
}

/**
 * What one slice has been, in order. No address ever comes back in another content, so a content is known by its
 * addresses. Content and visibility are told apart, because an API tells of slices, Services and exports over watches of
 * their own: a reader may see an old content under a new export, but never a content again after a newer one.
 */
export interface SliceTruth {
  readonly id: string;
  readonly cluster: string;
  readonly service: string;
  readonly states: State[];
  readonly contents: string[];
  readonly byText: Map<string, number>;
}

export interface SliceName {
  readonly cluster: string;
  readonly service: string;
  readonly slice: string;
}

export function textOf(addresses: readonly string[]): string {
  return [...addresses].sort().join();
}

/** Once an API answers again, its watches are back within this, ms: what one of them missed is told until then. */
const WATCHED_AGAIN_MS = 15_000;

/** What the member APIs have said, from the first moment on. */
export class Truth {
  readonly slices = new Map<string, SliceTruth>();
  readonly #sliceOf = new Map<string, SliceTruth>();
  readonly #listedAt = new Map<string, number>();
  readonly #hinderedUntil = new Map<string, number>();

  /** Somebody lists a cluster's slices, and is told of them until then, ms of virtual time. */
  listed(cluster: string, until: number): void {
    this.#listedAt.set(cluster, Math.max(until, this.listedAt(cluster)));
  }

  listedAt(cluster: string): number {
    return this.#listedAt.get(cluster) ?? Number.NEGATIVE_INFINITY;
  }

  /** Watches of a cluster's API break, or cannot be opened, until then, ms of virtual time. */
  hinder(cluster: string, until: number): void {
    this.#hinderedUntil.set(cluster, Math.max(until, this.#hinderedUntil.get(cluster) ?? 0));
  }

  /** One of its kinds may be told of later than another, each in order. */
  mayLag(cluster: string, now: number): boolean {
    return now - (this.#hinderedUntil.get(cluster) ?? Number.NEGATIVE_INFINITY) < WATCHED_AGAIN_MS;
  }

  /** What a slice is from now on. */
  set(
    at: number,
    { cluster, service, slice }: SliceName,
    addresses: readonly string[],
    visible: boolean,
  ): void {
    const id = `${cluster}/${service}/${slice}`;
    let known = this.slices.get(id);
    if (known === undefined) {
      const states = [{ at: 0, content: 0, visible: false }];
      known = { id, cluster, service, states, contents: [""], byText: new Map() };
      this.slices.set(id, known);
    }
    const text = textOf(addresses);
    const last = known.states.at(-1)!;
    let { content } = last;
    if (known.contents[content] !== text) {
      content = known.contents.push(text) - 1;
      if (text !== "") known.byText.set(text, content);
      for (const address of addresses) this.#sliceOf.set(address, known);
    }
    if (content !== last.content || visible !== last.visible) known.states.push({ at, content, visible });
  }

  sliceOf(address: string): SliceTruth | undefined {
    return this.#sliceOf.get(address);
  }

  /** Addresses that may be sent to now, as text. */
  now({ states, contents }: SliceTruth): string {
    const { content, visible } = states.at(-1)!;
    return visible ? contents[content]! : "";
  }
}
