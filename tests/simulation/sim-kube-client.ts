import { KubeStatusError, KubeUnreachableError } from "@sluice/contracts";
import {
  type Answer,
  type ApplyOptions,
  type DeleteOptions,
  type KubeClient,
  type KubeObject,
  knownResource,
  type ListOptions,
  type ListPage,
  matchesLabels,
  type ObjectRef,
  objectKey,
  type PageOptions,
  type RequestInit,
  type ResourceType,
  resourcePath,
  resources,
  type WatchEvent,
  type WatchOptions,
  type WriteOptions,
} from "@sluice/kube";
import type { SeededRandom } from "./seeded-random.ts";
import type { AuditLine, Logged, SimCluster, WatchSession } from "./sim-cluster.ts";
import type { SimProcess } from "./sim-process.ts";
import type { Timer } from "./virtual-time.ts";

/** What a request may take at most, ms, as the real client has it. */
const REQUEST_MS = 30_000;
const WATCH_HEAD_MS = 15_000;

interface CallOptions {
  readonly ms?: number;
  /** It is a list that lists can be slow by. */
  readonly list?: boolean;
  /** The answer is on its way for so long. */
  told?(forMs: number): void;
}

/** Objects a page of a list: few, so that most lists have several. */
const PAGE = 3;

/** Where a list goes on. */
interface ListToken {
  readonly version: number;
  readonly rest: readonly KubeObject[];
}

/** How many faults cut this process off from this API now. */
export interface ApiLink {
  cut: number;
}

/** One process's client of one API. */
export class SimKubeClient implements KubeClient {
  readonly name: string;
  readonly server: string;
  readonly #cluster: SimCluster;
  readonly #process: SimProcess;
  readonly #link: ApiLink;
  readonly #random: SeededRandom;
  readonly #watches = new Set<OpenWatch>();

  constructor(cluster: SimCluster, process: SimProcess, link: ApiLink, random: SeededRandom) {
    this.name = cluster.name;
    this.server = `https://${cluster.name}.example.test`;
    this.#cluster = cluster;
    this.#process = process;
    this.#link = link;
    this.#random = random;
  }

  /** To be called when the link's faults have changed. */
  linkChanged(): void {
    for (const watch of [...this.#watches]) watch.linkChanged(this.#random);
  }

  /** One request: there and back, unless something is wrong on the way. */
  #call<T>(
    atServer: () => T,
    signal: AbortSignal,
    { ms = REQUEST_MS, list = false, told }: CallOptions = {},
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const timers: Timer[] = [];
      const settle = (finish: () => void) => {
        signal.removeEventListener("abort", abort);
        for (const timer of timers) timer.cancel();
        finish();
      };
      const abort = () => settle(() => reject(signal.reason));
      signal.addEventListener("abort", abort, { once: true });
      const fail = (error: unknown) => settle(() => reject(error));
      const late = () => fail(new KubeUnreachableError(`${this.name}: no answer within ${ms / 1000} s`));
      timers.push(this.#process.after(ms, late));
      const latency = () => 1 + Math.floor(this.#random.next() * 3);
      const { faults } = this.#cluster;
      const back = (finish: () => void, after = 0) => {
        const wait = latency() + after;
        this.#process.time.after(wait, () => {
          if (this.#link.cut === 0) this.#process.deliver(() => settle(finish));
        });
      };
      if (this.#link.cut > 0) return;
      this.#process.time.after(latency(), () => {
        if (this.#link.cut > 0) return;
        if (faults.down > 0)
          return back(() => reject(new KubeUnreachableError(`${this.name}: connection refused`)));
        if (faults.unauthorized > 0) return back(() => reject(statusError(this.name, 401, "Unauthorized")));
        if (list && faults.stuckList > 0) {
          // Whoever asked waits for it until he gives up.
          told?.(ms);
          return;
        }
        try {
          const answer = atServer();
          const slow = list && faults.slowList > 0 ? this.#random.between(1000, 20_000) : 0;
          back(() => resolve(answer), slow);
          told?.(slow);
        } catch (error) {
          back(() => reject(error));
        }
      });
    });
  }

  async version(signal: AbortSignal): Promise<string> {
    return this.#call(() => "v1.34.0", signal);
  }

  async get<T extends KubeObject>(
    type: ResourceType<T>,
    ref: ObjectRef,
    signal: AbortSignal,
  ): Promise<T | null> {
    return this.#call(() => this.#cluster.get(type, ref), signal);
  }

  async list<T extends KubeObject>(type: ResourceType<T>, options: ListOptions, signal: AbortSignal) {
    const items: T[] = [];
    let resourceVersion = "";
    for await (const page of this.pages(type, options, signal)) {
      if (page.first) items.length = 0;
      items.push(...page.items);
      resourceVersion = page.resourceVersion;
    }
    return { items, resourceVersion };
  }

  /** A few objects a page, all as of the first; one that comes after a compaction begins anew, once. */
  async *pages<T extends KubeObject>(
    type: ResourceType<T>,
    options: PageOptions,
    signal: AbortSignal,
  ): AsyncGenerator<ListPage<T>, void, void> {
    const labels = labelsOf(options.labelSelector);
    let left = this.#cluster.list(type, labels).length;
    let token: ListToken | null = null;
    let expired = false;
    for (;;) {
      const from: ListToken | null = token;
      const answer: ListToken & { page: T[] } = await this.#call(
        () => {
          if (from !== null && from.version < this.#cluster.compacted && !expired) {
            expired = true;
            return { version: -1, rest: [], page: [] };
          }
          const all = from?.rest ?? this.#cluster.list(type, labels);
          const version = from?.version ?? this.#cluster.version;
          return { version, rest: all.slice(PAGE), page: all.slice(0, PAGE) as T[] };
        },
        signal,
        // A list that is slow, or never comes whole, has told most of what it says by then.
        { list: left <= PAGE, told: (forMs) => this.#cluster.onListed?.(type, forMs) },
      );
      if (answer.version < 0) {
        token = null;
        left = this.#cluster.list(type, labels).length;
        continue;
      }
      left = answer.rest.length;
      const resourceVersion = String(answer.version);
      yield { items: answer.page, resourceVersion, first: from === null, last: left === 0 };
      if (left === 0) return;
      token = answer;
    }
  }

  async *watch<T extends KubeObject>(
    type: ResourceType<T>,
    options: WatchOptions,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<T>, void, void> {
    const watch = new OpenWatch(
      this.#process,
      this.#link,
      type.plural,
      labelsOf(options.labelSelector),
      this.#random,
    );
    const open = () => {
      // Its caller may have given up meanwhile.
      if (!this.#watches.has(watch)) return;
      watch.stop = this.#cluster.watch(watch, Number(options.resourceVersion));
    };
    this.#watches.add(watch);
    try {
      await this.#call(open, signal, { ms: WATCH_HEAD_MS });
      options.onOpen?.();
      for (;;) {
        const event = await watch.next(signal);
        if (event === null) return;
        options.onBytes?.();
        yield event as WatchEvent<T>;
      }
    } finally {
      this.#watches.delete(watch);
      watch.stop();
    }
  }

  #audit(line: Omit<AuditLine, "cluster">): void {
    this.#cluster.audit.push({ cluster: this.name, ...line });
  }

  async apply<T extends KubeObject>(object: T, options: ApplyOptions, signal: AbortSignal): Promise<T> {
    const type = knownResource(object.apiVersion, object.kind);
    if (type === undefined) throw statusError(this.name, 404, "NotFound");
    return this.#call(() => {
      const there = this.#cluster.get(type, object.metadata);
      const { fieldManager, subresource = "" } = options;
      this.#audit({
        verb: "apply",
        plural: type.plural,
        key: objectKey(object),
        manager: fieldManager,
        subresource,
        force: options.force === true,
        maker: this.#cluster.makerOf(there),
      });
      if (subresource !== "") {
        if (there === null) throw statusError(this.name, 404, "NotFound");
        const { status } = object as { status?: object };
        const before = (there as { status?: object }).status;
        if (JSON.stringify(status) === JSON.stringify(before)) return there as T;
        const next = { ...there, status } as KubeObject;
        return this.#cluster.write(type, next, fieldManager, subresource) as T;
      }
      return this.#cluster.write(type, { ...there, ...object }, fieldManager) as T;
    }, signal);
  }

  async create<T extends KubeObject>(
    type: ResourceType<T>,
    object: NoInfer<T>,
    signal: AbortSignal,
    options: Pick<WriteOptions, "fieldManager"> = {},
  ): Promise<T> {
    return this.#call(() => {
      const there = this.#cluster.get(type, object.metadata);
      if (there !== null) throw statusError(this.name, 409, "AlreadyExists");
      const manager = options.fieldManager ?? "";
      this.#audit({
        verb: "create",
        plural: type.plural,
        key: objectKey(object),
        manager,
        subresource: "",
        force: false,
        maker: "",
      });
      return this.#cluster.write(type, object, manager) as T;
    }, signal);
  }

  async delete(
    type: ResourceType,
    ref: ObjectRef,
    _options: DeleteOptions,
    signal: AbortSignal,
  ): Promise<boolean> {
    return this.#call(() => {
      const there = this.#cluster.get(type, ref);
      if (there === null) return false;
      const maker = this.#cluster.makerOf(there);
      this.#audit({
        verb: "delete",
        plural: type.plural,
        key: objectKey(there),
        manager: "",
        subresource: "",
        force: false,
        maker,
      });
      return this.#cluster.remove(type, ref);
    }, signal);
  }

  async mergePatch<T extends KubeObject>(
    type: ResourceType<T>,
    ref: ObjectRef,
    patch: unknown,
    options: WriteOptions,
    signal: AbortSignal,
  ): Promise<T> {
    return this.#call(() => {
      const there = this.#cluster.get(type, ref);
      if (there === null) throw statusError(this.name, 404, "NotFound");
      const { fieldManager = "", subresource = "" } = options;
      const maker = this.#cluster.makerOf(there);
      this.#audit({
        verb: "patch",
        plural: type.plural,
        key: objectKey(there),
        manager: fieldManager,
        subresource,
        force: false,
        maker,
      });
      return this.#cluster.write(type, { ...there, ...(patch as object) }, fieldManager, subresource) as T;
    }, signal);
  }

  async replace<T extends KubeObject>(): Promise<T> {
    throw new Error("Sluice replaces nothing");
  }

  async discover(apiVersion: string, kind: string): Promise<ResourceType | null> {
    return knownResource(apiVersion, kind) ?? null;
  }

  /** As much as is asked for: the first page of a list. */
  async request(init: RequestInit, signal: AbortSignal): Promise<Answer> {
    const path = init.path.split("?")[0];
    const type = Object.values(resources).find((each) => resourcePath(each) === path);
    if (init.method !== "GET" || type === undefined) throw statusError(this.name, 404, "NotFound");
    try {
      return await this.#call(() => {
        const metadata = { resourceVersion: String(this.#cluster.version) };
        const items = this.#cluster.list(type, null).slice(0, 1);
        return { status: 200, body: JSON.stringify({ metadata, items }) };
      }, signal);
    } catch (error) {
      if (error instanceof KubeStatusError) return { status: error.status, body: "{}" };
      throw error;
    }
  }

  close(): void {
    for (const watch of this.#watches) watch.end(null);
  }

  /** The process is gone: its watches are closed at the server. */
  abandon(): void {
    for (const watch of this.#watches) watch.stop();
    this.#watches.clear();
  }
}

type Event = WatchEvent<KubeObject>;

/** One watch: events in order over a connection of its own. */
class OpenWatch implements WatchSession {
  readonly plural: string;
  /** Closes it at the server. */
  stop: () => void = () => {};
  readonly #process: SimProcess;
  readonly #link: ApiLink;
  readonly #labels: Readonly<Record<string, string>> | null;
  readonly #random: SeededRandom;
  /** Not sent yet: the link is cut. */
  #held: (() => void)[] = [];
  #queue: Event[] = [];
  #over: { readonly error: Error | null } | null = null;
  #wake: (() => void) | null = null;
  #at = 0;

  constructor(
    process: SimProcess,
    link: ApiLink,
    plural: string,
    labels: Readonly<Record<string, string>> | null,
    random: SeededRandom,
  ) {
    this.#process = process;
    this.#link = link;
    this.plural = plural;
    this.#labels = labels;
    this.#random = random;
  }

  push({ event, old }: Logged): void {
    const labels = this.#labels;
    if (labels === null) return this.#send(event);
    const was = old !== undefined && matchesLabels(labels, old.metadata.labels);
    const is = event.type !== "DELETED" && matchesLabels(labels, event.object.metadata.labels);
    if (is) this.#send({ type: was ? "MODIFIED" : "ADDED", object: event.object });
    else if (was) this.#send({ type: "DELETED", object: event.object });
  }

  bookmark(version: number): void {
    this.#send({ type: "BOOKMARK", resourceVersion: String(version) });
  }

  end(error: Error | null): void {
    this.#later(() => {
      this.#over ??= { error };
    });
  }

  #send(event: Event): void {
    this.#later(() => this.#queue.push(event));
  }

  #later(run: () => void): void {
    if (this.#link.cut > 0) {
      this.#held.push(run);
      return;
    }
    this.#at = Math.max(this.#at, this.#process.time.now + 1 + Math.floor(this.#random.next() * 3));
    this.#process.time.at(this.#at, () => {
      if (this.#link.cut > 0) {
        this.#held.push(run);
        return;
      }
      this.#process.deliver(() => {
        run();
        this.#wake?.();
      });
    });
  }

  linkChanged(random: SeededRandom): void {
    if (this.#link.cut > 0 || this.#held.length === 0) return;
    const held = this.#held.splice(0);
    // Either TCP sends it all again, or some box in between has forgotten the connection.
    if (random.chance(0.6)) for (const run of held) this.#later(run);
    else this.end(new KubeUnreachableError("connection reset"));
  }

  /** The next event; null: the server has ended the watch. */
  async next(signal: AbortSignal): Promise<Event | null> {
    for (;;) {
      signal.throwIfAborted();
      const event = this.#queue.shift();
      if (event !== undefined) return event;
      if (this.#over !== null) {
        if (this.#over.error !== null) throw this.#over.error;
        return null;
      }
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const abort = () => reject(signal.reason);
      this.#wake = resolve;
      signal.addEventListener("abort", abort, { once: true });
      try {
        await promise;
      } finally {
        this.#wake = null;
        signal.removeEventListener("abort", abort);
      }
    }
  }
}

function statusError(name: string, status: number, reason: string): KubeStatusError {
  return new KubeStatusError(`${name}: ${status} ${reason}`, { status, reason });
}

/** `a=b,c=d`, which is all that Sluice asks for. */
function labelsOf(selector: string | undefined): Readonly<Record<string, string>> | null {
  if (selector === undefined) return null;
  return Object.fromEntries(selector.split(",").map((pair) => pair.split("=", 2) as [string, string]));
}
