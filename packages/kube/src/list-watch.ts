import { KubeStatusError } from "@sluice/contracts";
import { Bursts, slept, systemRandom } from "@sluice/service-kit";
import type { ListPage } from "./client.ts";
import { IdleBound } from "./idle-bound.ts";
import type { KubeLogger } from "./logger.ts";
import type { KubeObject } from "./objects.ts";
import type { ReflectOptions, Reflector, ReflectorState, ReflectorTiming } from "./reflector.ts";
import { ReflectorHealth } from "./reflector-health.ts";
import { ReflectorProgress } from "./reflector-progress.ts";
import { objectKey, versionNumber } from "./resources.ts";
import { ToldObjects } from "./told-objects.ts";
import { WatchBeside } from "./watch-beside.ts";

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

/** A reflector's loop: list, watch from there, list again where a watch cannot go on. */
export class ListWatch<T extends KubeObject> implements Reflector<T> {
  readonly objects: ReadonlyMap<string, T>;
  readonly done: Promise<void>;
  readonly #options: ReflectOptions<T>;
  readonly #timing: ReflectorTiming;
  readonly #log: KubeLogger;
  readonly #signal: AbortSignal;
  readonly #random: () => number;
  readonly #health: ReflectorHealth;
  readonly #progress: ReflectorProgress;
  readonly #told: ToldObjects<T>;
  #resourceVersion: string | null = null;
  /** Where the watch was that a relist interrupted; null: there is none that could go on. */
  #interruptedAt: string | null = null;
  #partial = false;
  /** Ends the watch, or the pause, in progress. */
  #interrupt = new AbortController();

  constructor(options: ReflectOptions<T>) {
    this.#options = options;
    this.#timing = { ...defaults, ...options.timing };
    this.#signal = options.kit.signal;
    this.#random = (options.kit.random ?? systemRandom).next;
    this.#log = options.kit.log.child({ cluster: options.client.name, kind: options.type.kind });
    this.#health = new ReflectorHealth(options.kit, this.#log, this.#timing, this.#random, (state) =>
      options.onState?.(state),
    );
    this.#progress = new ReflectorProgress(options.kit.signal);
    this.#told = new ToldObjects(options);
    this.objects = this.#told.byKey;
    this.done = this.#run();
  }

  get state(): ReflectorState {
    return this.#health.state;
  }

  get partial(): boolean {
    return this.#partial;
  }

  async listed(signal: AbortSignal): Promise<void> {
    await this.#progress.list(1, signal);
  }

  async relist(signal: AbortSignal): Promise<void> {
    const reached = this.#progress.list(this.#progress.begun + 1, signal);
    this.#interruptedAt = this.#resourceVersion ?? this.#interruptedAt;
    this.#resourceVersion = null;
    this.#interrupt.abort();
    await reached;
  }

  get actedOn(): number | undefined {
    return this.#told.actedOn;
  }

  async reach(resourceVersion: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options.kit;
    await this.listed(signal);
    const { reachMs } = this.#timing;
    if (!(await this.#progress.version(resourceVersion, reachMs, clock, signal))) await this.relist(signal);
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
      if (barren > 1) await this.#pause(this.#health.nextFailureMs());
    }
  }

  async #list(): Promise<void> {
    const { client, type, namespace, labelSelector, fieldSelector, kit } = this.#options;
    const selectors = { namespace, labelSelector, fieldSelector };
    this.#health.listing();
    // Before the first list nobody waits for a change.
    const long = this.#progress.listed && this.objects.size > LONG_LIST;
    const resumeAt = long && this.actedOn !== undefined ? this.#interruptedAt : null;
    this.#interruptedAt = null;
    const listing: Listing = {
      number: this.#progress.begin(),
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
    this.#interruptedAt = null;
    await this.#pause(this.#health.notServed(error, this.objects.size));
  }

  /** Sees that a watch runs beside a list of several pages. */
  #keepBeside(page: ListPage<T>, listing: Listing, beside: WatchBeside<T>): void {
    const { resourceVersion } = page;
    if (page.first) {
      listing.version = resourceVersion;
      listing.seen = new Set();
      this.#told.number(resourceVersion);
      const sameHistory =
        listing.resumed && versionNumber(beside.from ?? undefined) <= versionNumber(resourceVersion);
      if (!sameHistory) {
        beside.forget();
        this.#told.restartedAt(resourceVersion);
      }
    }
    if (page.last || beside.alive || !this.#progress.listed) return;
    if (beside.from === null) beside.begin(listing.version);
    else beside.goOn(newer(listing.version, beside.reached));
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
        this.#told.listed(key, object, seenAt);
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
    this.#told.changed(deleted, object, seenAt);
  }

  /** The list is whole: what neither it nor the watch beside it has shown is gone. */
  async #conclude({ number, version, seen }: Listing, beside: WatchBeside<T>, bursts: Bursts): Promise<void> {
    this.#health.listed();
    const seenAt = this.#options.kit.clock.now();
    for (const [key, old] of this.objects) {
      if (!seen.has(key) && !beside.knowsBetter(key, version)) {
        this.#told.absent(key, old, version, seenAt);
      }
      if (bursts.over() && !(await bursts.rest())) return;
    }
    const reached = newer(version, beside.reached);
    beside.stop();
    // A relist asked for meanwhile wants a list that begins after it was asked for.
    const again = this.#progress.wantsAfter(number);
    this.#resourceVersion = again ? null : reached;
    this.#interruptedAt = again ? reached : null;
    this.#partial = false;
    this.#progress.note(this.#told.number(reached));
    this.#progress.apply(number);
    this.#health.watching(this.objects.size);
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
        onOpen: () => this.#health.watching(this.objects.size),
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
          this.#progress.note(this.#told.number(event.resourceVersion));
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
    this.#told.changed(deleted, object, seenAt);
    if (version !== undefined) this.#progress.note(this.#told.number(version));
  }

  async #failed(error: unknown, what: string): Promise<void> {
    await this.#pause(this.#health.failed(error, what, this.#progress.listed));
  }

  async #pause(ms: number): Promise<void> {
    await slept(this.#options.kit.clock, ms, AbortSignal.any([this.#signal, this.#interrupt.signal]));
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
