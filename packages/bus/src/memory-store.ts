import { randomUUID } from "node:crypto";
import type { TableSpec } from "@sluice/contracts";
import { type Clock, slept, systemClock } from "@sluice/service-kit";
import type { TableExtent } from "./log.ts";
import { type LoggedServer, MemoryLog } from "./memory-log.ts";
import { type ResumePoint, resumeFrom } from "./resume-point.ts";
import type { FollowSink, PutResult, Store, StoredEntry } from "./store.ts";
import { subjectFilter } from "./subject-filter.ts";

interface Follower {
  readonly table: string;
  readonly matches: (key: string) => boolean;
  readonly sink: FollowSink;
  queue: (() => void)[];
  scheduled: boolean;
  /** How far its sink has been told; null: nothing yet. */
  point: ResumePoint | null;
}

interface Table {
  readonly entries: Map<string, StoredEntry>;
  readonly created: string;
  last: number;
}

/** What a NATS server keeps, in memory: stands in for it where a test needs its faults on demand. */
export class MemoryServer implements LoggedServer {
  readonly #tables = new Map<string, Table>();
  readonly #followers = new Set<Follower>();
  readonly #clock: Clock;
  #boot: string = randomUUID();
  #tablesMade = 0;
  readonly log: MemoryLog;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
    this.log = new MemoryLog(this, () => clock.now());
    this.log.appendBoot();
  }

  /** Ends the servers' life: memory tables and `boot` are lost, every client reconnects; `wipe` takes the files too. */
  restart(options: { readonly wipe?: boolean } = {}): void {
    this.#boot = randomUUID();
    if (options.wipe === true) {
      this.#tables.clear();
      this.log.wipe();
    }
    this.log.appendBoot();
    this.cut();
  }

  /** Every client loses its connection, with what was on its way to it, and comes back. */
  cut(): void {
    for (const follower of this.#followers) {
      follower.queue = [];
      if (follower.point !== null) follower.point = { ...follower.point, heardAt: this.#clock.monotonic() };
      follower.sink.disconnected();
      this.#begin(follower);
    }
  }

  connect(): Store {
    return new MemoryStore(this);
  }

  get boot(): string {
    return this.#boot;
  }

  #table(name: string): Table {
    let table = this.#tables.get(name);
    if (table === undefined) {
      table = { entries: new Map(), created: String(++this.#tablesMade), last: 0 };
      this.#tables.set(name, table);
    }
    return table;
  }

  keys(name: string): string[] {
    return [...this.#table(name).entries.keys()];
  }

  get(name: string, key: string): StoredEntry | null {
    return this.#table(name).entries.get(key) ?? null;
  }

  put(name: string, key: string, value: Uint8Array, expected: number | null): PutResult {
    const table = this.#table(name);
    if (expected !== null && (table.entries.get(key)?.revision ?? 0) !== expected) return { ok: false };
    const entry = { key, value, revision: ++table.last, storedAt: this.#clock.now() };
    this.log.note(name, entry, table.entries.get(key)?.revision ?? 0);
    // Deleted first, so that the map's order is the stream's order.
    table.entries.delete(key);
    table.entries.set(key, entry);
    for (const follower of this.#followers) {
      if (follower.table === name && follower.matches(key)) this.#deliverEntry(follower, entry);
    }
    return { ok: true, revision: entry.revision };
  }

  entriesOf(name: string): Iterable<StoredEntry> {
    return this.#table(name).entries.values();
  }

  extentOf(name: string): TableExtent {
    const { created, last } = this.#table(name);
    return { life: created, revision: last };
  }

  removeMessage(name: string, revision: number): void {
    const { entries } = this.#table(name);
    for (const [key, entry] of entries) if (entry.revision === revision) entries.delete(key);
  }

  lastRevision(name: string, filter: string): number {
    const matches = subjectFilter(filter);
    const counted = [...this.#table(name).entries].filter(([key]) => matches(key));
    return Math.max(0, ...counted.map(([, { revision }]) => revision));
  }

  addFollower(name: string, filter: string, sink: FollowSink): () => void {
    const follower = {
      table: name,
      matches: subjectFilter(filter),
      sink,
      queue: [],
      scheduled: false,
      point: null,
    };
    this.#followers.add(follower);
    this.#begin(follower);
    return () => {
      this.#followers.delete(follower);
      follower.queue = [];
    };
  }

  /** Goes on behind what the follower was told, or tells everything anew. */
  #begin(follower: Follower): void {
    const boot = this.#boot;
    const { created, last, entries } = this.#table(follower.table);
    const now = this.#clock.monotonic();
    const from = resumeFrom(follower.point, { boot, created, lastSequence: last, now });
    if (from === null) {
      this.#deliver(follower, () => {
        follower.point = { boot, created, sequence: 0, heardAt: now };
        follower.sink.restart(boot);
      });
    } else this.#deliver(follower, () => follower.sink.resumed?.());
    for (const entry of entries.values()) {
      if (entry.revision >= (from ?? 0) && follower.matches(entry.key)) this.#deliverEntry(follower, entry);
    }
    this.#deliver(follower, () => follower.sink.caughtUp());
  }

  #deliverEntry(follower: Follower, entry: StoredEntry): void {
    this.#deliver(follower, () => {
      if (follower.point !== null) follower.point = { ...follower.point, sequence: entry.revision };
      follower.sink.entry(entry);
    });
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

class MemoryStore implements Store {
  readonly #server: MemoryServer;

  constructor(server: MemoryServer) {
    this.#server = server;
  }

  get connected(): boolean {
    return true;
  }

  get log(): MemoryLog {
    return this.#server.log;
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

  async lastRevision(spec: TableSpec, _signal: AbortSignal, filter = ">"): Promise<number> {
    return this.#server.lastRevision(spec.name, filter);
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
