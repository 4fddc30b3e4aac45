import {
  type KubeClient,
  type KubeLogger,
  type KubeObject,
  type Reflector,
  type ResourceType,
  reflect,
} from "@sluice/kube";
import type { Kit } from "@sluice/service-kit";

export interface NamedWatchesOptions<T extends KubeObject> {
  readonly type: ResourceType<T>;
  /**
   * @param object null: the hub has none of that name
   * @param seenAt when a watch told of it, ms since 1970; undefined: a list did, and it may have happened long before
   */
  came(key: string, object: T | null, seenAt: number | undefined): void;
  /** How a watch is doing has changed. */
  changed(): void;
}

interface NamedWatch<T extends KubeObject> {
  readonly reflector: Reflector<T>;
  readonly end: AbortController;
}

/** Objects of one kind that are each watched by their name, by `namespace/name`: each is a connection to the hub. */
export class NamedWatches<T extends KubeObject> {
  readonly #hub: KubeClient;
  readonly #options: NamedWatchesOptions<T>;
  readonly #kit: Kit;
  readonly #watches = new Map<string, NamedWatch<T>>();
  readonly #ended = new Set<Promise<void>>();

  constructor(hub: KubeClient, options: NamedWatchesOptions<T>, kit: Kit) {
    this.#hub = hub;
    this.#options = options;
    this.#kit = kit;
  }

  get size(): number {
    return this.#watches.size;
  }

  get(key: string): Reflector<T> | undefined {
    return this.#watches.get(key)?.reflector;
  }

  /** The hub does not let one of them be read for now. */
  get failing(): boolean {
    return [...this.#watches.values()].some(({ reflector }) => reflector.state.kind === "failing");
  }

  add(key: string): void {
    if (this.#watches.has(key)) return;
    const [namespace = "", name = ""] = key.split("/");
    const end = new AbortController();
    const { clock, random, metrics } = this.#kit;
    const { type, came, changed } = this.#options;
    const reflector = reflect<T>({
      client: this.#hub,
      type,
      namespace,
      fieldSelector: `metadata.name=${name}`,
      // A line for each of a thousand tells no more than one of them all does.
      kit: {
        clock,
        random,
        metrics,
        log: quiet(this.#kit.log),
        signal: AbortSignal.any([this.#kit.signal, end.signal]),
      },
      onChange: ({ kind, fromList, seenAt, ...change }) => {
        if (this.#watches.get(key)?.end !== end) return;
        const object = kind === "upsert" && "object" in change ? change.object : null;
        came(key, object, fromList ? undefined : seenAt);
      },
      onListed: () => {
        const watch = this.#watches.get(key);
        if (watch?.end !== end) return;
        if (watch.reflector.objects.size === 0) came(key, null, undefined);
      },
      onState: changed,
    });
    this.#watches.set(key, { reflector, end });
  }

  delete(key: string): void {
    const watch = this.#watches.get(key);
    if (watch === undefined) return;
    this.#watches.delete(key);
    watch.end.abort(new Error("no longer named"));
    this.#ended.add(watch.reflector.done);
    watch.reflector.done.finally(() => this.#ended.delete(watch.reflector.done)).catch(() => {});
  }

  /** Lists each anew; one that is no longer watched then is `ended`. */
  relisted(
    signal: AbortSignal,
  ): { readonly reflector: Reflector<T>; readonly read: Promise<void>; ended(): boolean }[] {
    return [...this.#watches.values()].map(({ reflector, end }) => ({
      reflector,
      read: reflector.relist(AbortSignal.any([signal, end.signal])),
      ended: () => end.signal.aborted,
    }));
  }

  get done(): Promise<void> {
    const all = [...this.#watches.values()].map(({ reflector }) => reflector.done);
    return Promise.all([...this.#ended, ...all]).then(() => {});
  }
}

function quiet(log: KubeLogger): KubeLogger {
  const debug: KubeLogger["debug"] = (fields, message) => log.debug(fields, message);
  return { debug, info: debug, warn: debug, child: (fields) => quiet(log.child(fields)) };
}
