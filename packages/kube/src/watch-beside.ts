import { Bursts, type Clock, LinkedAbort } from "@sluice/service-kit";
import type { KubeClient, ListOptions } from "./client.ts";
import type { KubeLogger } from "./logger.ts";
import type { KubeObject } from "./objects.ts";
import { objectKey, type ResourceType, versionNumber } from "./resources.ts";

/** Longer than any list takes, seconds. */
const WATCH_SECONDS = 300;

interface WatchBesideOptions<T extends KubeObject> {
  readonly client: KubeClient;
  readonly type: ResourceType<T>;
  readonly selectors: ListOptions;
  readonly clock: Clock;
  readonly log: KubeLogger;
  readonly signal: AbortSignal;
  tell(deleted: boolean, object: T, seenAt: number): void;
}

/**
 * A watch that runs while a long list is still coming: what changes meanwhile is told of at once. It begins at the
 * version that all pages of the list show or, where a watch ended well before that, goes on from there.
 */
export class WatchBeside<T extends KubeObject> {
  readonly #options: WatchBesideOptions<T>;
  #stop = new LinkedAbort();
  readonly #running: Promise<void>[] = [];
  #touched = new Map<string, number>();
  #from: string | null = null;
  #reached: string | null = null;
  #alive = false;

  constructor(options: WatchBesideOptions<T>) {
    this.#options = options;
  }

  /** It runs, as far as is known. */
  get alive(): boolean {
    return this.#alive;
  }

  /** Where it began; null: it never did. */
  get from(): string | null {
    return this.#from;
  }

  /** Everything from where it began up to this version has been told of; null: it never began. */
  get reached(): string | null {
    return this.#reached;
  }

  /** Whether it told of the object with that key, and what a list says of it is no newer. */
  knowsBetter(key: string, listed: string | undefined): boolean {
    const at = this.#touched.get(key);
    return at !== undefined && !(versionNumber(listed) > at);
  }

  /** Begins, knowing nothing. */
  begin(resourceVersion: string): void {
    this.forget();
    this.#from = resourceVersion;
    this.goOn(resourceVersion);
  }

  /** Ends, as if it had never begun. */
  forget(): void {
    this.stop();
    this.#touched = new Map();
    this.#from = null;
    this.#reached = null;
  }

  /** Begins again where it ended. */
  goOn(resourceVersion: string): void {
    this.stop();
    const stop = new LinkedAbort(this.#options.signal);
    this.#stop = stop;
    this.#reached = resourceVersion;
    this.#alive = true;
    this.#running.push(this.#watch(resourceVersion, stop.signal));
  }

  /** It tells of nothing after this. */
  stop(): void {
    this.#alive = false;
    this.#stop.abort();
  }

  /** Resolves when nothing of it runs any more. */
  async end(): Promise<void> {
    this.stop();
    await Promise.all(this.#running);
  }

  async #watch(resourceVersion: string, stopped: AbortSignal): Promise<void> {
    const { client, type, selectors, clock, log, tell } = this.#options;
    const bursts = new Bursts(clock, stopped);
    let seenAt = clock.now();
    const watch = client.watch(
      type,
      {
        ...selectors,
        resourceVersion,
        timeoutSeconds: WATCH_SECONDS,
        onBytes: () => {
          seenAt = clock.now();
          bursts.begin();
        },
      },
      stopped,
    );
    try {
      for await (const event of watch) {
        if (stopped.aborted) return;
        if (event.type === "BOOKMARK") {
          if (event.resourceVersion !== "") this.#reached = event.resourceVersion;
          continue;
        }
        const { resourceVersion: version } = event.object.metadata;
        this.#touched.set(objectKey(event.object), versionNumber(version));
        tell(event.type === "DELETED", event.object, seenAt);
        this.#reached = version ?? this.#reached;
        if (bursts.over() && !(await bursts.rest())) return;
      }
    } catch (err) {
      // What it has told of stands; whatever follows goes on behind it, or says what is wrong.
      if (!stopped.aborted) log.debug({ err }, "the watch beside a list ended");
    }
    if (!stopped.aborted) this.#alive = false;
  }
}
