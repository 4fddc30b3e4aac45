import { allTables, membersTable, type TableSpec } from "@sluice/contracts";
import type { EventTrace } from "./event-trace.ts";
import { SeededRandom } from "./seeded-random.ts";
import { BEGAN_AT } from "./virtual-globals.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** One message of a table as the server keeps it. */
export interface ServerEntry {
  readonly key: string;
  readonly value: Uint8Array;
  readonly revision: number;
  readonly storedAt: number;
}

interface Table {
  readonly spec: TableSpec;
  /** Of its stream: another text is another stream. */
  created: string;
  entries: Map<string, ServerEntry>;
  last: number;
}

export interface ServerFollower {
  readonly table: string;
  readonly matches: (key: string) => boolean;
  push(entry: ServerEntry): void;
}

/**
 * What nats-server with JetStream is to Sluice: tables of newest values, compare-and-set by the key's revision, and one
 * stream of everything in order. It loses what real servers lose: memory at a restart, everything when it is wiped.
 */
export class SimBus {
  readonly #time: VirtualTime;
  readonly #trace: EventTrace;
  readonly #random: SeededRandom;
  #tables = new Map<string, Table>();
  #copy: Map<string, Table> | null = null;
  readonly #followers = new Set<ServerFollower>();
  /** Called once a write has been stored. */
  readonly onStored = new Set<(table: string, key: string) => void>();
  /** Called when every connection breaks, or may come again. */
  readonly onChange = new Set<() => void>();
  #boot: string;
  #up = true;
  #fencedWrites = 0;
  /** No leader: nothing that is asked gets an answer. */
  #leaderless = 0;

  constructor(time: VirtualTime, trace: EventTrace, seed: string) {
    this.#time = time;
    this.#trace = trace;
    this.#random = new SeededRandom(`${seed}/bus`);
    this.#boot = this.#random.uuid();
    for (const spec of allTables)
      this.#tables.set(spec.name, { spec, created: "1", entries: new Map(), last: 0 });
  }

  get boot(): string {
    return this.#boot;
  }

  get up(): boolean {
    return this.#up;
  }

  /** Writes into tables that are written under claims, so far. */
  get fencedWrites(): number {
    return this.#fencedWrites;
  }

  get leaderless(): boolean {
    return this.#leaderless > 0;
  }

  #now(): number {
    return BEGAN_AT + this.#time.now;
  }

  #table(name: string): Table {
    const table = this.#tables.get(name);
    if (table === undefined) throw new Error(`there is no table ${name}`);
    return table;
  }

  get(name: string, key: string): ServerEntry | null {
    const { spec, entries } = this.#table(name);
    const entry = entries.get(key);
    return entry === undefined || this.#expired(spec, entry) ? null : entry;
  }

  #expired(spec: TableSpec, entry: ServerEntry): boolean {
    return spec.ttlSeconds !== undefined && this.#now() - entry.storedAt > spec.ttlSeconds * 1000;
  }

  /** @returns the new revision, or null when another revision is there */
  put(name: string, key: string, value: Uint8Array, expected: number | null): number | null {
    const table = this.#table(name);
    if (expected !== null && (this.get(name, key)?.revision ?? 0) !== expected) return null;
    const entry = { key, value, revision: ++table.last, storedAt: this.#now() };
    // Deleted first, so that the map's order is the stream's order.
    table.entries.delete(key);
    table.entries.set(key, entry);
    if (table.spec.keys !== undefined) this.#fencedWrites++;
    if (name !== membersTable.name) this.#trace.note(this.#time.now, `${name} ${entry.revision} ${key}`);
    for (const follower of this.#followers) {
      if (follower.table === name && follower.matches(key)) follower.push(entry);
    }
    for (const listener of this.onStored) listener(name, key);
    return entry.revision;
  }

  removeMessage(name: string, revision: number): void {
    const { entries } = this.#table(name);
    for (const [key, entry] of entries) {
      if (entry.revision !== revision) continue;
      entries.delete(key);
      this.#trace.note(this.#time.now, `${name} ${revision} ${key} removed`);
    }
  }

  lastRevision(name: string, matches: (key: string) => boolean): number {
    let last = 0;
    for (const [key, { revision }] of this.#table(name).entries) {
      if (revision > last && matches(key)) last = revision;
    }
    return last;
  }

  /** Every newest value from a revision on, in stream order. */
  *entries(name: string, from: number): Generator<ServerEntry> {
    const { spec, entries } = this.#table(name);
    for (const entry of entries.values())
      if (entry.revision >= from && !this.#expired(spec, entry)) yield entry;
  }

  /** What tells one life of a table from another. */
  found(name: string): { readonly boot: string; readonly created: string; readonly lastSequence: number } {
    const { created, last } = this.#table(name);
    return { boot: this.#boot, created, lastSequence: last };
  }

  follow(follower: ServerFollower): () => void {
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }

  // --- faults -------------------------------------------------------------------------------------------------------

  /** The servers end; what they keep in memory, and their life's id, are lost. */
  stop(): void {
    this.#up = false;
    this.#followers.clear();
    for (const table of this.#tables.values()) if (table.spec.storage === "memory") empty(table);
    for (const listener of [...this.onChange]) listener();
  }

  start(): void {
    if (this.#up) return;
    this.#up = true;
    this.#boot = this.#random.uuid();
    for (const listener of [...this.onChange]) listener();
  }

  /** Of a stopped server: its disk is empty. */
  wipe(): void {
    for (const table of this.#tables.values()) empty(table);
  }

  backUp(): void {
    this.#copy = copyOf(this.#tables);
  }

  /** Of a stopped server: its disk is what it was at the last `backUp`; without one, empty. */
  restore(): void {
    if (this.#copy === null) this.wipe();
    else this.#tables = copyOf(this.#copy);
    for (const table of this.#tables.values()) if (table.spec.storage === "memory") empty(table);
  }

  loseLeader(): void {
    this.#leaderless++;
  }

  findLeader(): void {
    this.#leaderless--;
  }
}

function empty(table: Table): void {
  table.entries = new Map();
  table.last = 0;
  table.created = String(Number(table.created) + 1);
}

function copyOf(tables: ReadonlyMap<string, Table>): Map<string, Table> {
  return new Map([...tables].map(([name, t]) => [name, { ...t, entries: new Map(t.entries) }]));
}
