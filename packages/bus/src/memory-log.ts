import { randomUUID } from "node:crypto";
import {
  type Boot,
  bootTable,
  encodeEnvelope,
  loggedTables,
  logStream,
  type TableSpec,
} from "@sluice/contracts";
import { slept, systemClock } from "@sluice/service-kit";
import type {
  AcceptedSink,
  BusLog,
  CheckpointInfo,
  CheckpointStore,
  EventStream,
  LogEntry,
  LogExtent,
  LogRange,
  PublishedEvent,
  TableExtent,
} from "./log.ts";
import { Signal } from "./signal.ts";
import type { StoredEntry } from "./store.ts";
import { subjectFilter } from "./subject-filter.ts";

/** What the log needs to know of the tables beside it. */
export interface LoggedServer {
  readonly boot: string;
  entriesOf(table: string): Iterable<StoredEntry>;
  extentOf(table: string): TableExtent;
}

const filters = new Map(loggedTables.map(({ name, logged }) => [name, (logged ?? []).map(subjectFilter)]));

/** The log of a server in memory, fed as the server itself would feed it. */
export class MemoryLog implements BusLog {
  readonly #server: LoggedServer;
  readonly #now: () => number;
  readonly #appended = new Signal();
  #entries: LogEntry[] = [];
  #id: string = randomUUID();
  #last = 0;
  #limits = { maxBytes: logStream.maxBytes as number, maxAgeSeconds: logStream.maxAgeSeconds as number };
  readonly #checkpoints = new Map<CheckpointInfo, Map<string, StoredEntry[]>>();
  readonly #events: PublishedEvent[] = [];

  constructor(server: LoggedServer, now: () => number) {
    this.#server = server;
    this.#now = now;
  }

  note(table: string, entry: StoredEntry, previous: number): void {
    if (filters.get(table)?.some((matches) => matches(entry.key)) !== true) return;
    const { key, value, revision } = entry;
    const { life } = this.#server.extentOf(table);
    this.#entries.push({
      seq: ++this.#last,
      at: this.#now(),
      table,
      key,
      value,
      revision,
      previous,
      life,
      late: false,
    });
    this.#appended.notify();
  }

  /** The servers began another life. */
  appendBoot(): void {
    this.note(bootTable.name, this.#bootEntry(), 0);
  }

  #bootEntry(): StoredEntry {
    const boot: Boot = { v: 1, id: this.#server.boot, at: this.#now() };
    return { key: "id", value: encodeEnvelope({ v: 1, data: boot }), revision: 1, storedAt: boot.at };
  }

  /** Everything before a sequence is gone, as if it were too old. */
  drop(before: number): void {
    this.#entries = this.#entries.filter(({ seq }) => seq >= before);
  }

  wipe(): void {
    this.#entries = [];
    this.#last = 0;
    this.#id = randomUUID();
    this.#checkpoints.clear();
    this.#events.length = 0;
  }

  async boot(): Promise<string> {
    return this.#server.boot;
  }

  async extent(): Promise<LogExtent> {
    const first = this.#entries[0];
    return {
      id: this.#id,
      first: first?.seq ?? this.#last + 1,
      last: this.#last,
      firstAt: first?.at ?? 0,
      lastAt: this.#entries.at(-1)?.at ?? 0,
      bytes: this.#entries.reduce((sum, { value }) => sum + value.byteLength, 0),
      ...this.#limits,
    };
  }

  async keep(limits: { maxBytes: number; maxAgeSeconds: number }): Promise<void> {
    this.#limits = { ...limits };
  }

  async firstAfter(at: number): Promise<number> {
    return this.#entries.find((entry) => entry.at > at)?.seq ?? this.#last + 1;
  }

  async *read(range: LogRange, signal: AbortSignal): AsyncGenerator<LogEntry> {
    const end =
      range.follow === true ? Number.POSITIVE_INFINITY : Math.min(range.to ?? this.#last, this.#last);
    for (let next = range.from; next <= end; ) {
      signal.throwIfAborted();
      const entry = this.#entries[Math.max(0, next - (this.#entries[0]?.seq ?? next))];
      if (entry === undefined) {
        if (range.follow !== true) return;
        await this.#appended.wait(signal);
        continue;
      }
      next = entry.seq + 1;
      if (entry.seq <= end && (range.table === undefined || range.table === entry.table)) yield entry;
    }
  }

  async *snapshot(spec: TableSpec, filter: string): AsyncGenerator<StoredEntry> {
    const matches = subjectFilter(filter);
    if (spec.name === bootTable.name) yield this.#bootEntry();
    for (const entry of [...this.#server.entriesOf(spec.name)]) if (matches(entry.key)) yield entry;
  }

  async tableExtent(spec: TableSpec): Promise<TableExtent> {
    return this.#server.extentOf(spec.name);
  }

  async loggedExtent(spec: TableSpec): Promise<TableExtent | null> {
    return this.#entries.findLast(({ table }) => table === spec.name) ?? null;
  }

  /** Here the log is fed by the server itself: there is nothing that would have to be told. */
  async accepted(sink: AcceptedSink, signal: AbortSignal): Promise<void> {
    sink.begun();
    while (await slept(systemClock, 3_600_000, signal));
  }

  async append(_entries: readonly unknown[], after: number): Promise<number> {
    return after;
  }

  async caughtUpWith(): Promise<void> {}

  readonly checkpoints: CheckpointStore = {
    list: async () => [...this.#checkpoints.keys()].sort((a, b) => a.seq - b.seq),
    read: (of, table) => this.#readCheckpoint(of, table),
    write: async (tables, finish) => {
      const read = new Map<string, StoredEntry[]>();
      for (const [table, entries] of tables) read.set(table, await Array.fromAsync(entries));
      const all = [...read.values()].flat();
      const info = { ...(await finish()), bytes: all.reduce((sum, { value }) => sum + value.byteLength, 0) };
      this.#checkpoints.set(info, read);
      return info;
    },
    remove: async (of) => {
      for (const each of this.#checkpoints.keys()) if (each.seq === of.seq) this.#checkpoints.delete(each);
    },
  };

  async *#readCheckpoint(of: CheckpointInfo, table: string): AsyncGenerator<StoredEntry> {
    for (const [info, tables] of this.#checkpoints) if (info.seq === of.seq) yield* tables.get(table) ?? [];
  }

  readonly events: EventStream = {
    last: async () => this.#events.at(-1)?.value ?? null,
    publish: async (event) => {
      if (!this.#events.some(({ id }) => id === event.id)) this.#events.push(event);
    },
  };

  /** Everything that was published, for tests. */
  get published(): readonly PublishedEvent[] {
    return this.#events;
  }
}
