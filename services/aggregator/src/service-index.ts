import { type ExportRecord, type SliceRecord, type SliceValue, sliceKeys } from "@sluice/contracts";

/** One cluster's copy of one service. */
export interface Copy {
  export: ExportRecord | undefined;
  readonly slices: Map<string, SliceRecord>;
}

export interface IndexedService {
  readonly namespace: string;
  readonly service: string;
  readonly copies: Map<string, Copy>;
}

export interface Touched {
  readonly indexed: IndexedService;
  readonly cluster: string;
  /** The export itself changed, not only a slice. */
  readonly exportChanged: boolean;
}

interface Identity {
  readonly cluster: string;
  readonly namespace: string;
  readonly service: string;
  /** null: the export. */
  readonly slice: string | null;
}

/** What readers of `slices` believe, by service and cluster: a change finds its service in one step. */
export class ServiceIndex {
  readonly #services = new Map<string, IndexedService>();
  /** Keys may be hashes of names that are too long, so what a key stands for is remembered. */
  readonly #identities = new Map<string, Identity>();

  get(namespace: string, service: string): IndexedService | undefined {
    return this.#services.get(`${namespace}/${service}`);
  }

  all(): Iterable<IndexedService> {
    return this.#services.values();
  }

  /** @returns what has to be looked at, or null when the key was never there */
  apply(key: string, value: SliceValue | undefined): Touched | null {
    const identity = value === undefined ? this.#identities.get(key) : identify(value);
    if (identity === undefined) return null;
    const { cluster, namespace, service, slice } = identity;
    const indexed = this.#service(namespace, service);
    let copy = indexed.copies.get(cluster);
    if (copy === undefined) {
      copy = { export: undefined, slices: new Map() };
      indexed.copies.set(cluster, copy);
    }
    if (value === undefined) this.#identities.delete(key);
    else this.#identities.set(key, identity);
    if (slice === null) copy.export = value as ExportRecord | undefined;
    else if (value === undefined) copy.slices.delete(slice);
    else copy.slices.set(slice, value as SliceRecord);
    if (copy.export === undefined && copy.slices.size === 0) indexed.copies.delete(cluster);
    if (indexed.copies.size === 0) this.#services.delete(`${namespace}/${service}`);
    return { indexed, cluster, exportChanged: slice === null };
  }

  #service(namespace: string, service: string): IndexedService {
    const id = `${namespace}/${service}`;
    let indexed = this.#services.get(id);
    if (indexed === undefined) {
      indexed = { namespace, service, copies: new Map() };
      this.#services.set(id, indexed);
    }
    return indexed;
  }
}

/** Where a record has to lie. One that lies elsewhere speaks of another cluster than the one that may write there. */
export function keyOf(value: SliceValue): string {
  const { cluster, namespace, service } = value;
  return "slice" in value
    ? sliceKeys.slice(cluster, namespace, service, value.slice)
    : sliceKeys.export(cluster, namespace, service);
}

function identify(value: SliceValue): Identity {
  const { cluster, namespace, service } = value;
  return { cluster, namespace, service, slice: "slice" in value ? value.slice : null };
}
