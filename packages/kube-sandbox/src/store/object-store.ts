import { asJson, type KubeObject } from "../json.ts";

export interface StoreEvent {
  type: "ADDED" | "MODIFIED" | "DELETED";
  version: number;
  /** For DELETED the last state, with the resourceVersion of the deletion. */
  object: KubeObject;
  previous: KubeObject | undefined;
}

/** What a resource's watcher is told: an event, or that the resource itself is gone. */
export interface StoreListener {
  onEvent(event: StoreEvent): void;
  onGone(): void;
}

interface Collection {
  objects: Map<string, KubeObject>;
  /** Keys in the order lists are given, or undefined after an object came or went. */
  sorted: string[] | undefined;
  history: StoreEvent[];
  /** Changes up to this version have left the window; a watch from before it is answered 410. */
  floor: number;
  listeners: Set<StoreListener>;
}

/** Changes kept per resource for watches that resume. kube-apiserver's own cache begins at 100 and grows by need. */
const WATCH_WINDOW = 4096;

/**
 * Objects of one cluster by resource (`deployments.apps`), one version counter for all of them, and a bounded history.
 * Listeners are called within the write: who watches learns of a change before the writer is answered.
 */
export class ObjectStore {
  readonly #collections = new Map<string, Collection>();
  readonly #observers = new Set<(resource: string, event: StoreEvent) => void>();
  #version = 1;
  #storedAt = 0;
  readonly #unobserved: { resource: string; event: StoreEvent }[] = [];
  #observing = false;

  get version(): number {
    return this.#version;
  }

  /** When the present version came to be, ms since 1970 with fractions: the moment from which a change is in the API. */
  get storedAt(): number {
    return this.#storedAt;
  }

  get(resource: string, namespace: string, name: string): KubeObject | undefined {
    return this.#collections.get(resource)?.objects.get(keyOf(namespace, name));
  }

  /** All objects of a resource ("" = in every namespace), by namespace and name. */
  list(resource: string, namespace = ""): KubeObject[] {
    const collection = this.#collections.get(resource);
    if (collection === undefined) return [];
    collection.sorted ??= [...collection.objects.keys()].sort();
    const prefix = `${namespace}/`;
    const found: KubeObject[] = [];
    for (const key of collection.sorted) {
      if (namespace !== "" && !key.startsWith(prefix)) continue;
      const object = collection.objects.get(key);
      if (object !== undefined) found.push(object);
    }
    return found;
  }

  resources(): string[] {
    return [...this.#collections.keys()];
  }

  /** Stores a new object or a new state of one and returns it with its resourceVersion. */
  put(resource: string, object: KubeObject): KubeObject {
    const collection = this.#collection(resource);
    const key = keyOf(object.metadata.namespace ?? "", object.metadata.name ?? "");
    const previous = collection.objects.get(key);
    const version = ++this.#version;
    this.#storedAt = performance.timeOrigin + performance.now();
    const stored = withVersion(object, version);
    collection.objects.set(key, stored);
    if (previous === undefined) collection.sorted = undefined;
    this.#commit(resource, collection, {
      type: previous === undefined ? "ADDED" : "MODIFIED",
      version,
      object: stored,
      previous,
    });
    return stored;
  }

  remove(resource: string, object: KubeObject): KubeObject {
    const collection = this.#collection(resource);
    const version = ++this.#version;
    const removed = withVersion(object, version);
    const key = keyOf(object.metadata.namespace ?? "", object.metadata.name ?? "");
    const previous = collection.objects.get(key);
    collection.objects.delete(key);
    collection.sorted = undefined;
    this.#commit(resource, collection, { type: "DELETED", version, object: removed, previous });
    return removed;
  }

  /** Events after `version`, oldest first; undefined when they have left the window. */
  since(resource: string, version: number): StoreEvent[] | undefined {
    const collection = this.#collection(resource);
    if (version < collection.floor) return undefined;
    let first = collection.history.length;
    while (first > 0 && (collection.history[first - 1]?.version ?? 0) > version) first--;
    return collection.history.slice(first);
  }

  oldest(resource: string): number {
    return this.#collection(resource).floor;
  }

  subscribe(resource: string, listener: StoreListener): () => void {
    const { listeners } = this.#collection(resource);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  /** Told of every change of every resource, after the watchers: controllers hang here. */
  observe(observer: (resource: string, event: StoreEvent) => void): () => void {
    this.#observers.add(observer);
    return () => void this.#observers.delete(observer);
  }

  /** Forgets all history, as an etcd compaction does: every version handed out so far is too old to resume from. */
  compact(): void {
    const floor = ++this.#version;
    for (const collection of this.#collections.values()) {
      collection.history = [];
      collection.floor = floor;
    }
  }

  /** Drops an emptied resource; its watches end. */
  drop(resource: string): void {
    const collection = this.#collections.get(resource);
    if (collection === undefined) return;
    this.#collections.delete(resource);
    for (const listener of collection.listeners) listener.onGone();
  }

  #collection(resource: string): Collection {
    let collection = this.#collections.get(resource);
    if (collection === undefined) {
      collection = { objects: new Map(), sorted: undefined, history: [], floor: 0, listeners: new Set() };
      this.#collections.set(resource, collection);
    }
    return collection;
  }

  #commit(resource: string, collection: Collection, event: StoreEvent): void {
    collection.history.push(event);
    // Trimmed by halves, so that a busy resource does not shift the array at every change.
    if (collection.history.length > WATCH_WINDOW * 2) {
      const cut = collection.history.length - WATCH_WINDOW;
      collection.floor = collection.history[cut - 1]?.version ?? collection.floor;
      collection.history = collection.history.slice(cut);
    }
    for (const listener of collection.listeners) listener.onEvent(event);
    this.#unobserved.push({ resource, event });
    if (!this.#observing) this.#tellObservers();
  }

  /** Observers write too: what they change waits its turn, so that all of them see one order of events. */
  #tellObservers(): void {
    this.#observing = true;
    try {
      for (let next = this.#unobserved.shift(); next !== undefined; next = this.#unobserved.shift()) {
        for (const observer of this.#observers) observer(next.resource, next.event);
      }
    } finally {
      this.#observing = false;
    }
  }
}

function keyOf(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}

function withVersion(object: KubeObject, version: number): KubeObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
}

const texts = new WeakMap<KubeObject, string>();

/** The object as JSON text, made once for all watchers and readers of this state. */
export function textOf(object: KubeObject): string {
  let text = texts.get(object);
  if (text === undefined) {
    text = JSON.stringify(asJson(object));
    texts.set(object, text);
  }
  return text;
}
