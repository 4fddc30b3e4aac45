import { type Change, type KubeClient, type KubeObject, type ResourceType, reflect } from "@sluice/kube";
import type { WorkloadsKit } from "./kit.ts";

/** How long a write of ours may take to come back through the watch before we go on without having seen it. */
const ECHO_MS = 2000;

/** One kind's objects, by namespace, with what a controller needs to never act on a view older than its own writes. */
export class Mirror<T extends KubeObject> {
  readonly done: Promise<void>;
  readonly listed: Promise<void>;
  readonly #byNamespace = new Map<string, Map<string, T>>();
  readonly #listeners: ((change: Change<T>) => void)[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(client: KubeClient, type: ResourceType<T>, kit: WorkloadsKit) {
    const reflector = reflect({
      client,
      type,
      kit,
      onChange: (change) => {
        this.#index(change);
        for (const listener of this.#listeners) listener(change);
        for (const wake of [...this.#waiting]) wake();
      },
    });
    this.done = reflector.done;
    // Stopped before the API ever answered: nothing is left to wait for.
    this.listed = reflector.listed(kit.signal).catch((error: unknown) => {
      if (!kit.signal.aborted) throw error;
    });
  }

  /** Called with each change from now on, after it is visible here. */
  onChange(listener: (change: Change<T>) => void): void {
    this.#listeners.push(listener);
  }

  get(namespace: string, name: string): T | undefined {
    return this.#byNamespace.get(namespace)?.get(name);
  }

  in(namespace: string): IterableIterator<T> {
    return (this.#byNamespace.get(namespace) ?? new Map<string, T>()).values();
  }

  *all(): Generator<T> {
    for (const objects of this.#byNamespace.values()) yield* objects.values();
  }

  /** Resolves when the object, as the watch shows it, passes; or after a while without. */
  async until(namespace: string, name: string, passes: (object: T | undefined) => boolean): Promise<void> {
    if (passes(this.get(namespace, name))) return;
    await new Promise<void>((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        this.#waiting.delete(check);
        resolve();
      };
      const check = () => {
        if (passes(this.get(namespace, name))) finish();
      };
      const timer = setTimeout(finish, ECHO_MS);
      this.#waiting.add(check);
    });
  }

  #index(change: Change<T>): void {
    const { namespace = "", name } = change.kind === "delete" ? change.old.metadata : change.object.metadata;
    let objects = this.#byNamespace.get(namespace);
    if (change.kind === "delete") {
      objects?.delete(name);
      if (objects?.size === 0) this.#byNamespace.delete(namespace);
      return;
    }
    if (objects === undefined) {
      objects = new Map();
      this.#byNamespace.set(namespace, objects);
    }
    objects.set(name, change.object);
  }
}
