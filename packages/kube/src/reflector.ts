import { KubeStatusError, SluiceError } from "@sluice/contracts";
import {
  Backoff,
  Bursts,
  type Clock,
  type Kit,
  LinkedAbort,
  type Random,
  slept,
  systemRandom,
} from "@sluice/service-kit";
import type { KubeClient, ListPage } from "./client.ts";
import type { KubeLogger } from "./logger.ts";
import type { KubeObject } from "./objects.ts";
import { objectKey, type ResourceType, versionNumber } from "./resources.ts";
import { WatchBeside } from "./watch-beside.ts";

export type Change<T> =
  | {
      readonly kind: "upsert";
      /** `namespace/name`, or `name` for a cluster-scoped object. */
      readonly key: string;
      readonly object: T;
      /** What was there before; another uid means that it was deleted and made again unseen. */
      readonly old: T | undefined;
      /** Milliseconds since 1970 at which the bytes came in. */
      readonly seenAt: number;
      /** A list told of it, not a watch event: it may have happened long before. */
      readonly fromList: boolean;
    }
  | {
      readonly kind: "delete";
      readonly key: string;
      /** The last state known; of a watch event, the state at its deletion. */
      readonly old: T;
      readonly seenAt: number;
      readonly fromList: boolean;
    };

export interface ReflectorState {
  /** `waiting-for-resource`: the API serves no such kind (yet). What was known before is kept. */
  readonly kind: "waiting-for-resource" | "listing" | "watching" | "failing";
  readonly error?: string;
  /** Milliseconds since 1970. */
  readonly since: number;
}

/** What of a service's kit a reflector uses; any Kit will do. */
export interface ReflectorKit {
  readonly log: KubeLogger;
  readonly clock: Clock;
  /** Default: the system's. */
  readonly random?: Pick<Random, "next">;
  readonly signal: AbortSignal;
  readonly metrics?: Pick<Kit["metrics"], "errors">;
}

export interface ReflectOptions<T extends KubeObject> {
  readonly client: KubeClient;
  readonly type: ResourceType<T>;
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly kit: ReflectorKit;
  /** Called in order, one at a time, `objects` being changed already. Must not throw: that would end the reflector. */
  onChange(change: Change<T>): void;
  /** After each complete list has been applied. */
  onListed?(): void;
  onState?(state: ReflectorState): void;
  readonly timing?: Partial<ReflectorTiming>;
}

export interface Reflector<T extends KubeObject> {
  readonly objects: ReadonlyMap<string, T>;
  readonly state: ReflectorState;
  /** A list has been told of in part: of what it has not told yet nobody knows whether it lacks it. */
  readonly partial: boolean;
  /** Resolves after the first complete list. Rejects when the signal or the kit's aborts. */
  listed(signal: AbortSignal): Promise<void>;
  /** Resolves when a list that started after this call has been applied whole. */
  relist(signal: AbortSignal): Promise<void>;
  /**
   * The newest resourceVersion whose change has been told of, as a number (KEP-5504: resourceVersions of one kind may be
   * compared as such); -1 before the first list. undefined: this API's versions are no numbers.
   */
  readonly actedOn: number | undefined;
  /**
   * Resolves when everything up to this resourceVersion has been told of. The watch brings that at once where there is
   * anything to bring; where it does not, e.g. because the API was restored from an older copy, a new list does.
   */
  reach(resourceVersion: number, signal: AbortSignal): Promise<void>;
  /** Resolves once kit.signal has aborted and nothing runs any more. */
  readonly done: Promise<void>;
}

/** Milliseconds, but for `watchSeconds`. */
export interface ReflectorTiming {
  /**
   * Full jitter up to the first, doubling to the second. Base and reset are client-go's (tools/cache/reflector.go), the
   * cap is not: with its 30 s an API that was down for five is seen again up to half a minute after it is back, and
   * failures of two minutes ago still count. Peers shall be right ten seconds after a fault is over.
   */
  readonly failure: readonly [baseMs: number, capMs: number];
  /** Before the first list succeeded: a server that is just starting is met soon after it listens. */
  readonly startup: readonly [baseMs: number, capMs: number];
  /** While the kind is not served: its CRD may come any moment. */
  readonly missing: readonly [baseMs: number, capMs: number];
  /** How long `reach` waits for the watch before it lists. */
  readonly reachMs: number;
  /** Quiet for so long, and failures count from the base again. */
  readonly resetMs: number;
  /** What the server is asked to keep a watch open for: a random time between the two. */
  readonly watchSeconds: readonly [min: number, max: number];
  /**
   * A watch without a byte for so long is opened anew, from where it was. API servers send a bookmark each minute, so
   * two are missing by then; for a server that sends none it costs one request every so often.
   */
  readonly idleMs: number;
}

const defaults: ReflectorTiming = {
  failure: [800, 5000],
  startup: [100, 2000],
  missing: [200, 2000],
  reachMs: 1000,
  resetMs: 120_000,
  watchSeconds: [300, 600],
  idleMs: 150_000,
};

/** With more objects than that a list takes long enough that changes shall not wait for it. */
const LONG_LIST = 100;

/** One list, as far as it has come. */
interface Listing {
  readonly number: number;
  /** A watch that a relist interrupted goes on beside it. */
  readonly resumed: boolean;
  /** As of which its pages show the objects; empty before the first. */
  version: string;
  /** Keys of the objects that it has shown. */
  seen: Set<string>;
}

/**
 * Keeps a map of one kind's objects like its API: list, watch, and again from where it was. Objects are removed by a
 * DELETED event or by their absence from a complete list, never because the API, or the kind, could not be asked.
 * A list is told of page by page, in bursts of milliseconds, and a watch beside it tells of what changes meanwhile.
 */
export function reflect<T extends KubeObject>(options: ReflectOptions<T>): Reflector<T> {
  return new ListWatch(options);
}

class ListWatch<T extends KubeObject> implements Reflector<T> {
  readonly objects = new Map<string, T>();
  readonly done: Promise<void>;
  readonly #options: ReflectOptions<T>;
  readonly #timing: ReflectorTiming;
  readonly #log: KubeLogger;
  readonly #signal: AbortSignal;
  readonly #random: () => number;
  readonly #failures: Backoff;
  readonly #startup: Backoff;
  readonly #missing: Backoff;
  #state: ReflectorState;
  #lastFailureAt = Number.NEGATIVE_INFINITY;
  #resourceVersion: string | null = null;
  /** Where the watch was that a relist interrupted; null: there is none that could go on. */
  #interruptedAt: string | null = null;
  #partial = false;
  /** Lists begun, and the number of the last one that was applied whole; 0: none. */
  #begun = 0;
  #applied = 0;
  #waiters = new Set<{ readonly from: number; resolve(): void }>();
  /** Everything up to this version has been told of. */
  #reached = -1;
  #actedOn = -1;
  #comparable = true;
  #progress = new Set<() => void>();
  /** Ends the watch, or the pause, in progress. */
  #interrupt = new AbortController();

  constructor(options: ReflectOptions<T>) {
    this.#options = options;
    this.#timing = { ...defaults, ...options.timing };
    this.#signal = options.kit.signal;
    this.#random = (options.kit.random ?? systemRandom).next;
    this.#log = options.kit.log.child({ cluster: options.client.name, kind: options.type.kind });
    this.#failures = new Backoff(...this.#timing.failure, this.#random);
    this.#startup = new Backoff(...this.#timing.startup, this.#random);
    this.#missing = new Backoff(...this.#timing.missing, this.#random);
    this.#state = { kind: "listing", since: options.kit.clock.now() };
    this.done = this.#run();
  }

  get state(): ReflectorState {
    return this.#state;
  }

  get partial(): boolean {
    return this.#partial;
  }

  async listed(signal: AbortSignal): Promise<void> {
    await this.#listReached(1, signal);
  }

  async relist(signal: AbortSignal): Promise<void> {
    const reached = this.#listReached(this.#begun + 1, signal);
    this.#interruptedAt = this.#resourceVersion ?? this.#interruptedAt;
    this.#resourceVersion = null;
    this.#interrupt.abort();
    await reached;
  }

  get actedOn(): number | undefined {
    return this.#comparable ? this.#actedOn : undefined;
  }

  async reach(resourceVersion: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options.kit;
    await this.listed(signal);
    if (this.#reached >= resourceVersion) return;
    const over = new LinkedAbort(signal, this.#signal);
    let tell = () => {};
    const brought = new Promise<void>((resolve) => {
      tell = () => {
        if (this.#reached >= resourceVersion) resolve();
      };
      this.#progress.add(tell);
    });
    try {
      await Promise.race([brought, slept(clock, this.#timing.reachMs, over.signal)]);
    } finally {
      over.abort();
      this.#progress.delete(tell);
    }
    signal.throwIfAborted();
    this.#signal.throwIfAborted();
    if (!(this.#reached >= resourceVersion)) await this.relist(signal);
  }

  /** @param resourceVersion of a list, an event or a bookmark that has been told of whole */
  #note(resourceVersion: string): void {
    this.#reached = this.#number(resourceVersion);
    for (const tell of [...this.#progress]) tell();
  }

  async #listReached(list: number, signal: AbortSignal): Promise<void> {
    if (this.#applied >= list) return;
    signal.throwIfAborted();
    this.#signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const signals = [signal, this.#signal];
      const waiter = { from: list, resolve: () => settle(resolve) };
      const abort = () => settle(() => reject(signal.aborted ? signal.reason : this.#signal.reason));
      const settle = (finish: () => void) => {
        this.#waiters.delete(waiter);
        for (const each of signals) each.removeEventListener("abort", abort);
        finish();
      };
      for (const each of signals) each.addEventListener("abort", abort, { once: true });
      this.#waiters.add(waiter);
    });
  }

  async #run(): Promise<void> {
    // Watches that ended at once with nothing to tell, in a row. The first is opened anew without a pause.
    let barren = 0;
    while (!this.#signal.aborted) {
      if (this.#interrupt.signal.aborted) this.#interrupt = new AbortController();
      if (this.#resourceVersion === null) {
        await this.#list();
        continue;
      }
      const fruitful = await this.#watch(this.#resourceVersion);
      barren = fruitful ? 0 : barren + 1;
      if (barren > 1) await this.#pause(this.#nextFailureMs());
    }
  }

  async #list(): Promise<void> {
    const { client, type, namespace, labelSelector, fieldSelector, kit } = this.#options;
    const selectors = { namespace, labelSelector, fieldSelector };
    if (this.#state.kind === "watching") this.#become({ kind: "listing" });
    // Before the first list nobody waits for a change.
    const long = this.#applied > 0 && this.objects.size > LONG_LIST;
    const resumeAt = long && this.#comparable ? this.#interruptedAt : null;
    this.#interruptedAt = null;
    const listing: Listing = {
      number: ++this.#begun,
      resumed: resumeAt !== null,
      version: "",
      seen: new Set(),
    };
    const beside = new WatchBeside<T>({
      client,
      type,
      selectors,
      clock: kit.clock,
      log: this.#log,
      signal: this.#signal,
      tell: (deleted, object, seenAt) => this.#toldBeside(listing, deleted, object, seenAt),
    });
    if (resumeAt !== null) beside.begin(resumeAt);
    const bursts = new Bursts(kit.clock, this.#signal);
    // The sooner a long list's version is known, the sooner a watch from there tells of what changes.
    const pages = client.pages(type, { ...selectors, first: long ? 1 : undefined }, this.#signal);
    try {
      for (;;) {
        const page = await nextOf(pages);
        if (page instanceof Failure) {
          // Behind what its pages and the watch have told of a watch may go on.
          if (beside.reached !== null) this.#interruptedAt ??= newer(listing.version, beside.reached);
          beside.stop();
          return await this.#listFailed(page.error);
        }
        if (page === null) break;
        bursts.begin();
        this.#keepBeside(page, listing, beside);
        if (!(await this.#applyPage(page, listing, beside, bursts))) return;
      }
      await this.#conclude(listing, beside, bursts);
    } finally {
      await beside.end();
    }
  }

  async #listFailed(error: unknown): Promise<void> {
    if (this.#signal.aborted) return;
    if (!(error instanceof KubeStatusError) || error.status !== 404) {
      return await this.#failed(error, "list failed");
    }
    if (this.#state.kind !== "waiting-for-resource") {
      this.#log.info({ known: this.objects.size }, "the API does not serve this kind, waiting for it");
    }
    this.#interruptedAt = null;
    this.#become({ kind: "waiting-for-resource", error: error.message });
    await this.#pause(this.#missing.next());
  }

  /** Sees that a watch runs beside a list of several pages. */
  #keepBeside(page: ListPage<T>, listing: Listing, beside: WatchBeside<T>): void {
    const { resourceVersion } = page;
    if (page.first) {
      listing.version = resourceVersion;
      listing.seen = new Set();
      this.#number(resourceVersion);
      const sameHistory =
        listing.resumed && versionNumber(beside.from ?? undefined) <= versionNumber(resourceVersion);
      if (!sameHistory) {
        beside.forget();
        this.#restartedAt(resourceVersion);
      }
    }
    if (page.last || beside.alive || this.#applied === 0) return;
    if (beside.from === null) beside.begin(listing.version);
    else beside.goOn(newer(listing.version, beside.reached));
  }

  /** An API that was restored from an older copy counts from there. */
  #restartedAt(resourceVersion: string): void {
    this.#actedOn = Math.min(this.#actedOn, this.#number(resourceVersion));
  }

  /** False: the signal has aborted. */
  async #applyPage(
    { items }: ListPage<T>,
    { seen }: Listing,
    beside: WatchBeside<T>,
    bursts: Bursts,
  ): Promise<boolean> {
    this.#partial = true;
    const seenAt = this.#options.kit.clock.now();
    for (const object of items) {
      const key = objectKey(object);
      seen.add(key);
      const { resourceVersion } = object.metadata;
      const old = this.objects.get(key);
      const known = old !== undefined && sameVersion(old, object);
      if (!known && !beside.knowsBetter(key, resourceVersion)) {
        this.objects.set(key, object);
        this.#act(resourceVersion);
        this.#options.onChange({ kind: "upsert", key, object, old, seenAt, fromList: true });
      }
      if (bursts.over() && !(await bursts.rest())) return false;
    }
    return true;
  }

  /** Older than what a page has shown meanwhile: the watch beside the list goes on from before it. */
  #toldBeside(listing: Listing, deleted: boolean, object: T, seenAt: number): void {
    const { resourceVersion } = object.metadata;
    const known = this.objects.get(objectKey(object))?.metadata.resourceVersion;
    const at = versionNumber(resourceVersion);
    if (at <= versionNumber(listing.version) && at <= versionNumber(known)) return;
    this.#act(resourceVersion);
    this.#tell(deleted, object, seenAt);
  }

  /** The list is whole: what neither it nor the watch beside it has shown is gone. */
  async #conclude({ number, version, seen }: Listing, beside: WatchBeside<T>, bursts: Bursts): Promise<void> {
    this.#missing.reset();
    this.#startup.reset();
    const seenAt = this.#options.kit.clock.now();
    for (const [key, old] of this.objects) {
      if (!seen.has(key) && !beside.knowsBetter(key, version)) {
        this.objects.delete(key);
        // When it went is not known, only that it was before this list.
        this.#act(version);
        this.#options.onChange({ kind: "delete", key, old, seenAt, fromList: true });
      }
      if (bursts.over() && !(await bursts.rest())) return;
    }
    const reached = newer(version, beside.reached);
    beside.stop();
    // A relist asked for meanwhile wants a list that begins after it was asked for.
    const again = [...this.#waiters].some((waiter) => waiter.from > number);
    this.#resourceVersion = again ? null : reached;
    this.#interruptedAt = again ? reached : null;
    this.#partial = false;
    this.#applied = number;
    this.#note(reached);
    for (const waiter of [...this.#waiters]) if (waiter.from <= number) waiter.resolve();
    this.#become({ kind: "watching" });
    this.#options.onListed?.();
  }

  /** One watch, until it ends. False when it ended at once and told nothing. */
  async #watch(resourceVersion: string): Promise<boolean> {
    const { client, type, namespace, labelSelector, fieldSelector, kit } = this.#options;
    const [min, max] = this.#timing.watchSeconds;
    const timeoutSeconds = Math.round(min + this.#random() * (max - min));
    // The server ends the watch at its time; one that does not is left soon after.
    const idleMs = Math.min(this.#timing.idleMs, timeoutSeconds * 1000 + 30_000);
    const interrupt = this.#interrupt.signal;
    const bound = new IdleBound(kit.clock, idleMs, [this.#signal, interrupt]);
    const begunAt = kit.clock.monotonic();
    const bursts = new Bursts(kit.clock, this.#signal);
    let seenAt = kit.clock.now();
    let events = 0;
    const fruitful = () => events > 0 || kit.clock.monotonic() - begunAt > 1000;
    const watch = client.watch(
      type,
      {
        namespace,
        labelSelector,
        fieldSelector,
        resourceVersion,
        timeoutSeconds,
        onOpen: () => this.#become({ kind: "watching" }),
        onBytes: () => {
          seenAt = kit.clock.now();
          bound.touch();
          bursts.begin();
        },
      },
      bound.signal,
    );
    try {
      for await (const event of watch) {
        // A relist was asked for: what this watch still has in hand is older than the list.
        if (interrupt.aborted) return true;
        if (event.type !== "BOOKMARK") {
          events += 1;
          this.#apply(event.type === "DELETED", event.object, seenAt);
        } else if (event.resourceVersion !== "") {
          this.#resourceVersion = event.resourceVersion;
          this.#note(event.resourceVersion);
        }
        if (bursts.over() && !(await bursts.rest())) return true;
      }
      return fruitful();
    } catch (error) {
      if (this.#signal.aborted || interrupt.aborted) return true;
      if (bound.expired) {
        this.#log.warn({ idleMs }, "watch went silent, opening it anew");
        return true;
      }
      if (error instanceof KubeStatusError && (error.status === 410 || error.status === 404)) {
        // 404: the kind is gone, which the list finds out and says.
        this.#log.info({ status: error.status }, "watch cannot go on, listing again");
        this.#resourceVersion = null;
        return fruitful();
      }
      await this.#failed(error, "watch failed");
      return true;
    } finally {
      bound.end();
    }
  }

  #apply(deleted: boolean, object: T, seenAt: number): void {
    const version = object.metadata.resourceVersion;
    if (version !== undefined && this.#resourceVersion !== null) this.#resourceVersion = version;
    this.#act(version);
    this.#tell(deleted, object, seenAt);
    if (version !== undefined) this.#note(version);
  }

  #tell(deleted: boolean, object: T, seenAt: number): void {
    const key = objectKey(object);
    const old = this.objects.get(key);
    if (!deleted) {
      this.objects.set(key, object);
      this.#options.onChange({ kind: "upsert", key, object, old, seenAt, fromList: false });
    } else if (old !== undefined) {
      this.objects.delete(key);
      this.#options.onChange({ kind: "delete", key, old: object, seenAt, fromList: false });
    }
  }

  #act(resourceVersion: string | undefined): void {
    this.#actedOn = Math.max(this.#actedOn, this.#number(resourceVersion));
  }

  #number(resourceVersion: string | undefined): number {
    const number = versionNumber(resourceVersion);
    if (!Number.isNaN(number)) return number;
    this.#comparable = false;
    return -1;
  }

  async #failed(error: unknown, what: string): Promise<void> {
    const { metrics } = this.#options.kit;
    const code = error instanceof SluiceError ? error.code : "unexpected";
    metrics?.errors.inc({ error_type: code });
    const first = this.#state.kind !== "failing";
    const retryInMs = this.#applied === 0 ? this.#startup.next() : this.#nextFailureMs();
    this.#become({ kind: "failing", error: error instanceof Error ? error.message : String(error) });
    // One line an outage; the state says the rest.
    if (first) this.#log.warn({ err: error, retryInMs }, what);
    else this.#log.debug({ err: error, retryInMs }, what);
    await this.#pause(retryInMs);
  }

  #nextFailureMs(): number {
    const now = this.#options.kit.clock.monotonic();
    if (now - this.#lastFailureAt > this.#timing.resetMs) this.#failures.reset();
    this.#lastFailureAt = now;
    return this.#failures.next();
  }

  async #pause(ms: number): Promise<void> {
    await slept(this.#options.kit.clock, ms, AbortSignal.any([this.#signal, this.#interrupt.signal]));
  }

  #become(state: Omit<ReflectorState, "since">): void {
    if (state.kind === this.#state.kind && state.error === this.#state.error) return;
    const wasFailing = this.#state.kind === "failing" || this.#state.kind === "waiting-for-resource";
    if (state.kind === "watching" && wasFailing) {
      this.#log.info({ objects: this.objects.size }, "watching again");
    }
    const since = state.kind === this.#state.kind ? this.#state.since : this.#options.kit.clock.now();
    this.#state = { ...state, since };
    this.#options.onState?.(this.#state);
  }
}

class Failure {
  readonly error: unknown;
  constructor(error: unknown) {
    this.error = error;
  }
}

/** The next page, null after the last, or why there is none. */
async function nextOf<T>(
  pages: AsyncGenerator<ListPage<T>, void, void>,
): Promise<ListPage<T> | null | Failure> {
  try {
    const { value } = await pages.next();
    return value ?? null;
  } catch (error) {
    return new Failure(error);
  }
}

/** The later of a list's version and of what a watch beside it has reached. */
function newer(listed: string, watched: string | null): string {
  return watched === null || versionNumber(listed) > versionNumber(watched) ? listed : watched;
}

/** Object for object, nothing changed between two lists. */
function sameVersion(a: KubeObject, b: KubeObject): boolean {
  return a.metadata.uid === b.metadata.uid && a.metadata.resourceVersion === b.metadata.resourceVersion;
}

/** A signal that aborts with any of the given ones, or when nobody calls `touch` for `idleMs`. */
class IdleBound {
  expired = false;
  readonly #ended = new LinkedAbort();
  readonly #bound: LinkedAbort;
  readonly #clock: Clock;
  readonly #idleMs: number;
  #touchedAt: number;

  constructor(clock: Clock, idleMs: number, signals: readonly AbortSignal[]) {
    this.#clock = clock;
    this.#idleMs = idleMs;
    this.#touchedAt = clock.monotonic();
    this.#bound = new LinkedAbort(...signals);
    void this.#wait();
  }

  get signal(): AbortSignal {
    return this.#bound.signal;
  }

  touch(): void {
    this.#touchedAt = this.#clock.monotonic();
  }

  end(): void {
    this.#bound[Symbol.dispose]();
    this.#ended.abort();
  }

  /** Never rejects: `slept` answers false once the watch has ended. */
  async #wait(): Promise<void> {
    for (;;) {
      const leftMs = this.#touchedAt + this.#idleMs - this.#clock.monotonic();
      if (leftMs <= 0) break;
      if (!(await slept(this.#clock, leftMs, this.#ended.signal))) return;
    }
    this.expired = true;
    this.#bound.abort();
  }
}
