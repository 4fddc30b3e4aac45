import type { Clock } from "@sluice/service-kit";
import type { KubeClient, ListOptions } from "./client.ts";
import type { KubeLogger } from "./logger.ts";
import type { KubeObject } from "./objects.ts";
import { objectKey, type ResourceType } from "./resources.ts";

/** Longer than any list takes, seconds. */
const WATCH_SECONDS = 300;

interface WatchBesideOptions<T extends KubeObject> {
  readonly client: KubeClient;
  readonly type: ResourceType<T>;
  readonly selectors: Pick<ListOptions, "namespace" | "labelSelector" | "fieldSelector">;
  readonly clock: Clock;
  readonly log: KubeLogger;
  readonly signal: AbortSignal;
}

/**
 * A watch that runs while a long list is still coming, from the version that all pages of the list show: what changes
 * meanwhile is told of at once, and is newer than what the list says of the same object.
 */
export class WatchBeside<T extends KubeObject> {
  readonly #options: WatchBesideOptions<T>;
  #stop = new AbortController();
  #running: Promise<void>[] = [];
  #touched = new Set<string>();
  #reached: string | null = null;

  constructor(options: WatchBesideOptions<T>) {
    this.#options = options;
  }

  /** Keys of objects that it has told of. */
  get touched(): ReadonlySet<string> {
    return this.#touched;
  }

  get begun(): boolean {
    return this.#reached !== null;
  }

  /** Everything from the list's version up to this one has been told of; null: it never began. */
  get reached(): string | null {
    return this.#reached;
  }

  /** Begins, or begins anew because the list did. */
  begin(resourceVersion: string, tell: (deleted: boolean, object: T, seenAt: number) => void): void {
    this.stop();
    const stop = new AbortController();
    this.#stop = stop;
    this.#touched = new Set();
    this.#reached = resourceVersion;
    this.#running.push(this.#watch(resourceVersion, tell, stop.signal));
  }

  /** It tells of nothing after this. */
  stop(): void {
    this.#stop.abort();
  }

  /** Resolves when nothing of it runs any more. */
  async end(): Promise<void> {
    this.stop();
    await Promise.all(this.#running);
  }

  async #watch(
    resourceVersion: string,
    tell: (deleted: boolean, object: T, seenAt: number) => void,
    stopped: AbortSignal,
  ): Promise<void> {
    const { client, type, selectors, clock, signal, log } = this.#options;
    let seenAt = clock.now();
    const watch = client.watch(
      type,
      {
        ...selectors,
        resourceVersion,
        timeoutSeconds: WATCH_SECONDS,
        onBytes: () => {
          seenAt = clock.now();
        },
      },
      AbortSignal.any([signal, stopped]),
    );
    try {
      for await (const event of watch) {
        if (stopped.aborted) return;
        if (event.type === "BOOKMARK") {
          if (event.resourceVersion !== "") this.#reached = event.resourceVersion;
          continue;
        }
        this.#touched.add(objectKey(event.object));
        tell(event.type === "DELETED", event.object, seenAt);
        this.#reached = event.object.metadata.resourceVersion ?? this.#reached;
      }
    } catch (err) {
      // What it has told of stands; the watch that follows the list goes on behind it, or says what is wrong.
      if (!stopped.aborted && !signal.aborted) log.debug({ err }, "the watch beside a list ended");
    }
  }
}
