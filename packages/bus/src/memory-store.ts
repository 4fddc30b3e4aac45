import { randomUUID } from "node:crypto";
import type { TableSpec } from "@sluice/contracts";
import { type Clock, slept, systemClock } from "@sluice/service-kit";
import type { FollowSink, PutResult, Store, StoredEntry } from "./store.ts";

interface Follower {
  readonly table: string;
  readonly matches: (key: string) => boolean;
  readonly sink: FollowSink;
  queue: (() => void)[];
  scheduled: boolean;
}

/** What a NATS server keeps, in memory: stands in for it where a test needs its faults on demand. */
export class MemoryServer {
  readonly #tables = new Map<string, { entries: Map<string, StoredEntry>; last: number }>();
  readonly #followers = new Set<Follower>();
  readonly #clock: Clock;
  #boot: string = randomUUID();

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** Ends the servers' life: memory tables and `boot` are lost, every client reconnects; `wipe` takes the files too. */
  restart(options: { readonly wipe?: boolean } = {}): void {
    this.#boot = randomUUID();
    if (options.wipe === true) this.#tables.clear();
    for (const follower of this.#followers) {
      follower.queue = [];
      follower.sink.disconnected();
      this.#snapshot(follower);
    }
  }

  connect(): Store {
    return new MemoryStore(this);
  }

  get boot(): string {
    return this.#boot;
  }

  #table(name: string) {
    let table = this.#tables.get(name);
    if (table === undefined) {
      table = { entries: new Map(), last: 0 };
      this.#tables.set(name, table);
    }
    return table;
  }

  get(name: string, key: string): StoredEntry | null {
    return this.#table(name).entries.get(key) ?? null;
  }

  put(name: string, key: string, value: Uint8Array, expected: number | null): PutResult {
    const table = this.#table(name);
    if (expected !== null && (table.entries.get(key)?.revision ?? 0) !== expected) return { ok: false };
    const entry = { key, value, revision: ++table.last, storedAt: this.#clock.now() };
    // Deleted first, so that the map's order is the stream's order.
    table.entries.delete(key);
    table.entries.set(key, entry);
    for (const follower of this.#followers) {
      if (follower.table === name && follower.matches(key))
        this.#deliver(follower, () => follower.sink.entry(entry));
    }
    return { ok: true, revision: entry.revision };
  }

  removeMessage(name: string, revision: number): void {
    const { entries } = this.#table(name);
    for (const [key, entry] of entries) if (entry.revision === revision) entries.delete(key);
  }

  lastRevision(name: string): number {
    return Math.max(0, ...[...this.#table(name).entries.values()].map((e) => e.revision));
  }

  addFollower(name: string, filter: string, sink: FollowSink): () => void {
    const follower = { table: name, matches: subjectFilter(filter), sink, queue: [], scheduled: false };
    this.#followers.add(follower);
    this.#snapshot(follower);
    return () => {
      this.#followers.delete(follower);
      follower.queue = [];
    };
  }

  #snapshot(follower: Follower): void {
    const boot = this.#boot;
    this.#deliver(follower, () => follower.sink.restart(boot));
    for (const entry of this.#table(follower.table).entries.values()) {
      if (follower.matches(entry.key)) this.#deliver(follower, () => follower.sink.entry(entry));
    }
    this.#deliver(follower, () => follower.sink.caughtUp());
  }

  #deliver(follower: Follower, event: () => void): void {
    follower.queue.push(event);
    if (follower.scheduled) return;
    follower.scheduled = true;
    setImmediate(() => {
      follower.scheduled = false;
      const events = follower.queue;
      follower.queue = [];
      for (const run of events) run();
    });
  }
}

/** A NATS subject filter over keys: `*` one token, `>` the rest. */
function subjectFilter(filter: string): (key: string) => boolean {
  if (filter === ">") return () => true;
  const tokens = filter.split(".");
  return (key) => {
    const given = key.split(".");
    for (const [i, token] of tokens.entries()) {
      if (token === ">") return given.length > i;
      if (given[i] === undefined || (token !== "*" && token !== given[i])) return false;
    }
    return given.length === tokens.length;
  };
}

class MemoryStore implements Store {
  readonly #server: MemoryServer;

  constructor(server: MemoryServer) {
    this.#server = server;
  }

  get connected(): boolean {
    return true;
  }

  async get(spec: TableSpec, key: string, _signal: AbortSignal): Promise<StoredEntry | null> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    return this.#server.get(spec.name, key);
  }

  async put(
    spec: TableSpec,
    key: string,
    value: Uint8Array,
    expected: number | null,
    _signal: AbortSignal,
  ): Promise<PutResult> {
    const result = this.#server.put(spec.name, key, value, expected);
    await new Promise<void>((resolve) => setImmediate(resolve));
    return result;
  }

  async removeMessage(spec: TableSpec, revision: number): Promise<void> {
    this.#server.removeMessage(spec.name, revision);
  }

  async lastRevision(spec: TableSpec): Promise<number> {
    return this.#server.lastRevision(spec.name);
  }

  async follow(spec: TableSpec, filter: string, sink: FollowSink, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const stop = this.#server.addFollower(spec.name, filter, sink);
    try {
      while (await slept(systemClock, 3_600_000, signal));
    } finally {
      stop();
    }
  }

  async boot(): Promise<string> {
    return this.#server.boot;
  }

  async close(): Promise<void> {}
}
