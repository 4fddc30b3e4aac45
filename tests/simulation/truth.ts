/** One EndpointSlice's visible peers from some moment on; empty: nobody may be sent there. */
interface State {
  /** Virtual time, ms. */
  readonly at: number;
  readonly addresses: readonly string[];
}

/** What one slice has been: its states in order. No address ever comes back, so a state is known by its addresses. */
export interface SliceTruth {
  readonly id: string;
  readonly cluster: string;
  readonly service: string;
  readonly states: State[];
  /** Number of the state in which an address was seen first, and in which it was missing for the first time after. */
  readonly byText: Map<string, number>;
}

export function textOf(addresses: readonly string[]): string {
  return [...addresses].sort().join();
}

/** What the member APIs have said, from the first moment on. */
export class Truth {
  readonly slices = new Map<string, SliceTruth>();
  readonly #sliceOf = new Map<string, SliceTruth>();

  /** What may be sent to of a slice, from now on. */
  set(at: number, cluster: string, service: string, slice: string, addresses: readonly string[]): void {
    const id = `${cluster}/${service}/${slice}`;
    let known = this.slices.get(id);
    if (known === undefined) {
      known = { id, cluster, service, states: [{ at: 0, addresses: [] }], byText: new Map() };
      this.slices.set(id, known);
    }
    const last = known.states.at(-1)!;
    const text = textOf(addresses);
    if (textOf(last.addresses) === text) return;
    known.states.push({ at, addresses });
    if (addresses.length > 0) known.byText.set(text, known.states.length - 1);
    for (const address of addresses) this.#sliceOf.set(address, known);
  }

  sliceOf(address: string): SliceTruth | undefined {
    return this.#sliceOf.get(address);
  }

  now({ states }: SliceTruth): readonly string[] {
    return states.at(-1)!.addresses;
  }
}
