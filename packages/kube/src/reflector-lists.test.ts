import assert from "node:assert/strict";
import { test } from "node:test";
import { KubeStatusError, KubeUnreachableError } from "@sluice/contracts";
import { type Clock, systemClock } from "@sluice/service-kit";
import type { KubeClient, ListPage, PageOptions, WatchOptions } from "./client.ts";
import type { KubeLogger } from "./logger.ts";
import type { Service } from "./objects.ts";
import { type Change, type Reflector, reflect } from "./reflector.ts";
import { objectKey, type ResourceType, resources, versionNumber } from "./resources.ts";
import type { WatchEvent } from "./watch-stream.ts";

const limit = AbortSignal.timeout(240_000);
const quiet: KubeLogger = { debug() {}, info() {}, warn() {}, child: () => quiet };
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

async function until(what: string, holds: () => boolean): Promise<void> {
  while (!holds()) {
    if (limit.aborted) throw new Error(`still waiting for: ${what}`);
    await turn();
  }
}

/** An API of Services in memory. What it does when is the test's to say. */
class MemoryApi {
  readonly objects = new Map<string, Service>();
  version = 10;
  pageSize = 500;
  /** Events of before it are forgotten. */
  floor = 0;
  /** Called before a page, and before an event, is given out. */
  pass: (what: "page" | "event") => Promise<void> = async () => {};
  /** Each list's first page: how many objects it was to have at most. */
  readonly begun: (number | undefined)[] = [];
  /** Versions from which watches began. */
  readonly watched: string[] = [];
  #log: { version: number; event: WatchEvent<Service> }[] = [];
  #changed = Promise.withResolvers<void>();

  put(name: string): void {
    const known = this.objects.has(`shop/${name}`);
    const object = this.#made(name);
    this.objects.set(objectKey(object), object);
    this.#record({ type: known ? "MODIFIED" : "ADDED", object });
  }

  remove(name: string): void {
    if (this.objects.delete(`shop/${name}`)) this.#record({ type: "DELETED", object: this.#made(name) });
  }

  /** As after a restore: the version is an older one, and nothing of what was later is there. */
  restore(version: number): void {
    this.version = version;
    this.#log = [];
    for (const [key, { metadata }] of this.objects) {
      if (versionNumber(metadata.resourceVersion) > version) this.objects.delete(key);
    }
  }

  forget(): void {
    this.floor = ++this.version;
    this.#log = [];
    this.#wake();
  }

  #made(name: string): Service {
    const metadata = { name, namespace: "shop", uid: name, resourceVersion: String(++this.version) };
    return { apiVersion: "v1", kind: "Service", metadata };
  }

  #record(event: WatchEvent<Service>): void {
    this.#log.push({ version: this.version, event });
    this.#wake();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  async *pages(
    _type: ResourceType<Service>,
    { first }: PageOptions,
    signal: AbortSignal,
  ): AsyncGenerator<ListPage<Service>, void, void> {
    this.begun.push(first);
    let all: Service[] | null = null;
    let version = "";
    for (let at = 0; ; ) {
      await this.pass("page");
      signal.throwIfAborted();
      all ??= [...this.objects.values()].sort((a, b) => (objectKey(a) < objectKey(b) ? -1 : 1));
      version ||= String(this.version);
      const end = at + (at === 0 ? (first ?? this.pageSize) : this.pageSize);
      const last = end >= all.length;
      yield { items: all.slice(at, end), resourceVersion: version, first: at === 0, last };
      if (last) return;
      at = end;
    }
  }

  async *watch(
    _type: ResourceType<Service>,
    { resourceVersion, onBytes }: WatchOptions,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<Service>, void, void> {
    this.watched.push(resourceVersion);
    let from = versionNumber(resourceVersion);
    signal.addEventListener("abort", () => this.#wake(), { once: true });
    for (;;) {
      const changed = this.#changed.promise;
      if (from < this.floor) throw new KubeStatusError("too old", { status: 410, reason: "Expired" });
      const next = this.#log.find(({ version }) => version > from);
      if (next !== undefined) {
        from = next.version;
        await this.pass("event");
        signal.throwIfAborted();
        onBytes?.();
        yield next.event;
      } else await changed;
      signal.throwIfAborted();
    }
  }
}

interface Stand extends AsyncDisposable {
  readonly reflector: Reflector<Service>;
  readonly changes: Change<Service>[];
}

function reflected(api: MemoryApi, clock: Clock = systemClock): Stand {
  const stopping = new AbortController();
  const changes: Change<Service>[] = [];
  const reflector = reflect({
    client: Object.assign(api, { name: "member1" }) as unknown as KubeClient,
    type: resources.service,
    kit: { log: quiet, clock, signal: stopping.signal },
    timing: { failure: [1, 2], startup: [1, 2], missing: [1, 2] },
    onChange: (change) => changes.push(change),
  });
  return {
    reflector,
    changes,
    async [Symbol.asyncDispose]() {
      stopping.abort(new Error("over"));
      await reflector.done;
    },
  };
}

/** A reflector that has listed three hundred objects, and watches. */
async function watching(): Promise<Stand & { readonly api: MemoryApi }> {
  const api = new MemoryApi();
  for (const name of crowd(300)) api.put(name);
  const stand = reflected(api);
  await stand.reflector.listed(limit);
  await until("a watch", () => api.watched.length === 1);
  return { ...stand, api };
}

const crowd = (n: number) => Array.from({ length: n }, (_, i) => `s${String(i).padStart(5, "0")}`);

test("ten thousand objects are told of in bursts, and whatever else there is has its turn in between", async () => {
  const api = new MemoryApi();
  for (const name of crowd(10_000)) api.put(name);
  const bursts: number[] = [];
  let told = 0;
  // Time stands still: only the number of objects ends a burst.
  const rest = async () => {
    bursts.push(stand.changes.length - told);
    told = stand.changes.length;
    await turn();
  };
  const clock: Clock = {
    now: () => 0,
    monotonic: () => 0,
    sleep: (ms, signal) => (ms > 0 ? systemClock.sleep(ms, signal) : rest()),
  };
  // A page comes by a turn of the event loop.
  api.pass = (what) => (what === "page" ? rest() : Promise.resolve());
  const stand = reflected(api, clock);
  await using _stop = stand;
  await stand.reflector.listed(limit);
  assert.equal(stand.changes.length, 10_000);
  assert.ok(bursts.length >= 20, `${bursts.length} bursts`);
  assert.ok(Math.max(...bursts) <= 500, `${Math.max(...bursts)} objects in one go`);
  // All of them gone at once: what a list takes away, too.
  api.objects.clear();
  bursts.length = 0;
  await stand.reflector.relist(limit);
  assert.equal(stand.changes.length, 20_000);
  assert.ok(bursts.length >= 20 && Math.max(...bursts) <= 500, `${Math.max(...bursts)} of ${bursts.length}`);
});

test("thousands of events that come in one go are told of in bursts, too", async () => {
  const api = new MemoryApi();
  let rests = 0;
  const clock: Clock = {
    now: () => 0,
    monotonic: () => 0,
    sleep: async (ms, signal) => {
      if (ms > 0) return systemClock.sleep(ms, signal);
      rests += 1;
      await turn();
    },
  };
  const stand = reflected(api, clock);
  await using _stop = stand;
  await until("a watch", () => api.watched.length === 1);
  // All of them are of one chunk.
  const watch = api.watch.bind(api);
  api.watch = (type, options, signal) => watch(type, { ...options, onBytes: () => {} }, signal);
  api.forget();
  await until("a second watch", () => api.watched.length === 2);
  rests = 0;
  for (const name of crowd(2500)) api.put(name);
  await until("all events", () => stand.changes.length === 2500);
  assert.ok(rests >= 4, `${rests} rests`);
});

test("what a page adds is told of before the next page comes", async () => {
  await using stand = await watching();
  const { api } = stand;
  api.pageSize = 100;
  api.remove("s00299");
  api.put("s00001");
  let pages = 0;
  const { promise: held, resolve: go } = Promise.withResolvers<void>();
  api.pass = (what) => (what === "event" || ++pages === 3 ? held : Promise.resolve());
  const before = stand.changes.length;
  const relisted = stand.reflector.relist(limit);
  await until("the first pages", () => pages === 3);
  assert.deepEqual(
    stand.changes.slice(before).map(({ kind, key, fromList }) => `${kind} ${key} ${fromList}`),
    ["upsert shop/s00001 true"],
  );
  assert.equal(stand.reflector.partial, true);
  go();
  await relisted;
  assert.equal(stand.reflector.partial, false);
  assert.equal(stand.changes.at(-1)?.kind, "delete");
});

test("a relist does not end the watch: what it tells while no page has come is told of at once, and stays", async () => {
  await using stand = await watching();
  const { api } = stand;
  const at = String(api.version);
  const { promise: held, resolve: go } = Promise.withResolvers<void>();
  api.pass = (what) => (what === "page" ? held : Promise.resolve());
  const before = stand.changes.length;
  const relisted = stand.reflector.relist(limit);
  api.put("s00007");
  api.remove("s00008");
  await until("both events", () => stand.changes.length === before + 2);
  assert.equal(api.watched[1], at, "from where the watch was");
  assert.deepEqual(
    stand.changes.slice(before).map(({ kind, fromList }) => `${kind} ${fromList}`),
    ["upsert false", "delete false"],
  );
  go();
  await relisted;
  assert.equal(stand.changes.length, before + 2, "nothing of the list was news");
  assert.deepEqual(new Map(stand.reflector.objects), api.objects);
});

test("a watch that lags behind a page takes nothing back", async () => {
  await using stand = await watching();
  const { api } = stand;
  const { promise: heldEvents, resolve: events } = Promise.withResolvers<void>();
  const { promise: heldPage, resolve: last } = Promise.withResolvers<void>();
  let pages = 0;
  api.pageSize = 150;
  api.pass = (what) => {
    if (what === "event") return heldEvents;
    return ++pages === 3 ? heldPage : Promise.resolve();
  };
  api.put("s00001");
  api.put("s00001");
  api.put("s00002");
  api.remove("s00002");
  const newest = api.objects.get("shop/s00001");
  const relisted = stand.reflector.relist(limit);
  await until("a page", () => stand.reflector.objects.get("shop/s00001") === newest);
  const before = stand.changes.length;
  events();
  await until("the removal", () => !stand.reflector.objects.has("shop/s00002"));
  const told = stand.changes.slice(before).map(({ kind, key }) => `${kind} ${key}`);
  assert.deepEqual(
    told,
    ["upsert shop/s00002", "delete shop/s00002"],
    "the older s00001 is told of by nobody",
  );
  last();
  await relisted;
  assert.deepEqual(new Map(stand.reflector.objects), api.objects);
});

test("an API that was restored is believed, whatever a watch from before would say", async () => {
  await using stand = await watching();
  const { api } = stand;
  const old = api.version;
  api.put("late");
  api.put("s00001");
  await until("both", () => stand.reflector.objects.has("shop/late"));
  api.restore(old);
  api.put("s00002");
  await stand.reflector.relist(limit);
  assert.deepEqual(new Map(stand.reflector.objects), api.objects);
  assert.equal(stand.reflector.actedOn, api.version);
});

/** Numbers below n, the same for one seed. */
function seeded(seed: number): (n: number) => number {
  let state = seed * 2_654_435_761 + 1;
  return (n) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x6d2b79f5) | 0;
    return ((state ^ (state >>> 13)) >>> 0) % n;
  };
}

test("whatever breaks off, lags and is forgotten, nothing told goes back and in the end all is as it is", async () => {
  const relisted = { resumed: 0, whole: 0 };
  for (let seed = 1; seed <= 25; seed++) {
    const random = seeded(seed);
    const api = new MemoryApi();
    const names = crowd(160);
    for (const name of names) api.put(name);
    let broken = true;
    const stand = reflected(api);
    await using _stop = stand;
    await stand.reflector.listed(limit);
    api.pageSize = 25;
    api.pass = async (what) => {
      for (let n = random(what === "page" ? 6 : 3); n > 0; n--) await turn();
      if (broken && random(what === "page" ? 12 : 60) === 0)
        throw new KubeUnreachableError(`${what} cut off`);
    };
    for (let step = 0; step < 400; step++) {
      const name = names[random(names.length)] ?? "";
      if (random(3) > 0) api.put(name);
      else if (api.objects.size > 110) api.remove(name);
      if (random(40) === 0) void stand.reflector.relist(limit).catch(() => {});
      if (random(60) === 0) api.forget();
      if (random(2) === 0) await turn();
    }
    broken = false;
    await stand.reflector.relist(limit);
    relisted.whole += 1;
    relisted.resumed += api.begun.filter((first) => first === 1).length;
    const same = () =>
      stand.reflector.objects.size === api.objects.size &&
      [...api.objects].every(([key, object]) => stand.reflector.objects.get(key) === object);
    await until(`all is as it is, seed ${seed}`, same);
    const newest = new Map<string, number>();
    for (const change of stand.changes) {
      const object = change.kind === "upsert" ? change.object : change.old;
      const version = versionNumber(object.metadata.resourceVersion);
      assert.ok(version >= (newest.get(change.key) ?? 0), `${change.key} went back, seed ${seed}`);
      newest.set(change.key, version);
    }
  }
  assert.ok(relisted.resumed > relisted.whole, "lists of many were begun by their version");
});
