import {
  Boot,
  bootTable,
  decode,
  decodeEnvelope,
  type LogGap,
  LogOutOfReachError,
  type LogPlace,
  type LogReach,
  type Moment,
  type TableSpec,
} from "@sluice/contracts";
import type { BusLog, CheckpointInfo, LogEntry, LogExtent, LogRange } from "./log.ts";
import { type PastChange, PastTable } from "./past-table.ts";

/** Tables that are read each by itself; of more the whole log is read. */
const MOST_READS = 4;
/** Gaps that are told; a log with more is no worse for being told fewer. */
const MOST_GAPS = 100;

/** Some tables as they were at one sequence of the log, and on from there. */
export class Past {
  readonly #tables = new Map<string, PastTable>();
  readonly gaps: LogGap[] = [];
  #boot = "";
  #seq = 0;
  #at = 0;

  constructor(specs: readonly TableSpec[]) {
    for (const spec of new Set([...specs, bootTable])) this.#tables.set(spec.name, new PastTable(spec));
  }

  /** Sequence of the entry that was applied last. */
  get seq(): number {
    return this.#seq;
  }

  /** When that was stored, ms since 1970. */
  get at(): number {
    return this.#at;
  }

  /** Of the servers' life then. */
  get boot(): string {
    return this.#boot;
  }

  table(spec: TableSpec): PastTable {
    const table = this.#tables.get(spec.name);
    if (table === undefined) throw new Error(`${spec.name} was not asked for`);
    return table;
  }

  get tables(): Iterable<PastTable> {
    return this.#tables.values();
  }

  /** An entry from before the checkpoint is whole. */
  fold(entry: LogEntry): void {
    const table = this.#tables.get(entry.table);
    if (table !== undefined) this.#note(entry, table.fold(entry));
  }

  begin(place: LogPlace): void {
    this.#seq = place.seq;
    this.#at = place.at;
    this.#boot = bootOf(this.table(bootTable).raw.get("id")?.value) ?? "";
    for (const table of this.#tables.values()) table.begin(this.#boot);
  }

  apply(entry: LogEntry): readonly PastChange[] {
    this.#seq = entry.seq;
    this.#at = entry.at;
    const table = this.#tables.get(entry.table);
    if (table === undefined) return [];
    const { changes, gap } = table.apply(entry);
    this.#note(entry, gap);
    if (entry.table !== bootTable.name) return changes;
    const boot = bootOf(entry.value);
    if (boot === null || boot === this.#boot) return [];
    this.#boot = boot;
    return [...this.#tables.values()].flatMap((each) => each.life(boot));
  }

  /** Nothing concerned these tables up to there. */
  reached(place: LogPlace): void {
    if (place.seq < this.#seq) return;
    this.#seq = place.seq;
    this.#at = place.at;
  }

  #note({ seq, at, table }: LogEntry, reason: LogGap["reason"] | null): void {
    if (reason !== null && this.gaps.length < MOST_GAPS) this.gaps.push({ seq, at, table, reason });
  }
}

function bootOf(value: Uint8Array | undefined): string | null {
  if (value === undefined) return null;
  const { data } = decodeEnvelope(Boot, value, "boot/id");
  return data === undefined ? null : decode(Boot, data, "boot/id").id;
}

interface Known {
  readonly extent: LogExtent;
  /** Those from which the log goes on without a hole; oldest first. */
  readonly checkpoints: readonly CheckpointInfo[];
  /** Null: the log is empty. */
  readonly oldest: LogPlace | null;
}

/** How far back a state can be told. */
async function known(log: BusLog, signal: AbortSignal): Promise<Known> {
  const [extent, all] = await Promise.all([log.extent(signal), log.checkpoints.list(signal)]);
  const checkpoints = all.filter((each) => isUsable(each, extent));
  if (extent.last === 0) return { extent, checkpoints, oldest: null };
  // Nothing has been dropped yet: before the first entry there was nothing.
  if (extent.first === 1) return { extent, checkpoints, oldest: { seq: 1, at: extent.firstAt } };
  const [first] = checkpoints;
  return { extent, checkpoints, oldest: first === undefined ? null : { seq: first.seq, at: first.at } };
}

/** The log still holds everything from where the checkpoint leaves off. */
export function isUsable(checkpoint: CheckpointInfo, extent: LogExtent): boolean {
  return checkpoint.log === extent.id && checkpoint.from + 1 >= extent.first && checkpoint.seq <= extent.last;
}

export async function reachOf(log: BusLog, signal: AbortSignal): Promise<LogReach> {
  const [{ extent, checkpoints, oldest }, boot] = await Promise.all([known(log, signal), log.boot(signal)]);
  const { last, lastAt, bytes, maxBytes, maxAgeSeconds } = extent;
  return {
    oldest,
    newest: last === 0 ? null : { seq: last, at: lastAt },
    bytes,
    maxBytes,
    maxAgeSeconds,
    checkpoints: checkpoints.length,
    boot,
  };
}

/**
 * The tables as they were at a moment: the newest checkpoint up to it, and the log from there. In memory bounded by
 * what the tables hold.
 * @throws LogOutOfReachError
 */
export async function pastAt(
  log: BusLog,
  moment: Moment,
  specs: readonly TableSpec[],
  signal: AbortSignal,
): Promise<Past> {
  const { extent, checkpoints, oldest } = await known(log, signal);
  const target = "seq" in moment ? moment.seq : (await log.firstAfter(moment.at, signal)) - 1;
  if (oldest === null || target < oldest.seq || target > extent.last) {
    throw new LogOutOfReachError(outOfReach(moment, oldest, extent));
  }
  const past = new Past(specs);
  const checkpoint = checkpoints.findLast(({ seq }) => seq <= target);
  let next = 1;
  if (checkpoint === undefined) past.begin({ seq: 0, at: extent.firstAt });
  else {
    next = checkpoint.from + 1;
    for (const table of past.tables) {
      const extent = checkpoint.extents[table.spec.name];
      if (extent !== undefined) table.loaded(extent);
      for await (const entry of log.checkpoints.read(checkpoint, table.spec.name, signal)) table.load(entry);
    }
    for await (const entry of entriesOf(log, specs, { from: next, to: checkpoint.seq }, signal))
      past.fold(entry);
    past.begin(checkpoint);
    next = checkpoint.seq + 1;
  }
  for await (const entry of entriesOf(log, specs, { from: next, to: target }, signal)) past.apply(entry);
  past.reached({ seq: target, at: "at" in moment ? Math.min(moment.at, extent.lastAt) : past.at });
  return past;
}

function outOfReach(moment: Moment, oldest: LogPlace | null, extent: LogExtent): string {
  const asked = "seq" in moment ? `#${moment.seq}` : isoTime(moment.at);
  if (oldest === null) {
    return extent.last === 0
      ? `the log is empty, so nothing can be said of ${asked}`
      : `the log has no checkpoint that reaches into it yet, so nothing can be said of ${asked}`;
  }
  return `${asked} is out of reach: the oldest reachable time is ${isoTime(Math.ceil(oldest.at))} (#${oldest.seq}), the newest ${isoTime(extent.lastAt)} (#${extent.last})`;
}

function isoTime(at: number): string {
  return new Date(at).toISOString();
}

/** Entries that concern some tables, beside the servers' lives; a few tables are asked for by their subjects. */
export async function* entriesOf(
  log: BusLog,
  specs: readonly TableSpec[],
  range: LogRange,
  signal: AbortSignal,
): AsyncGenerator<LogEntry> {
  const names = new Set([...specs, bootTable].map(({ name }) => name));
  if (names.size > MOST_READS || range.follow === true) {
    for await (const entry of log.read(range, signal)) if (names.has(entry.table)) yield entry;
    return;
  }
  // All of them end at one sequence, whatever comes meanwhile.
  const to = range.to ?? (await log.extent(signal)).last;
  yield* inOrder(
    [...names].map((table) => log.read({ ...range, to, table }, signal)[Symbol.asyncIterator]()),
  );
}

/** What several readers have, by sequence. */
async function* inOrder(readers: readonly AsyncIterator<LogEntry>[]): AsyncGenerator<LogEntry> {
  try {
    const heads = await Promise.all(readers.map((reader) => reader.next()));
    for (;;) {
      let first = -1;
      for (const [i, { done, value }] of heads.entries()) {
        if (done !== true && (first < 0 || value.seq < heads[first]!.value.seq)) first = i;
      }
      if (first < 0) return;
      yield heads[first]!.value;
      heads[first] = await readers[first]!.next();
    }
  } finally {
    await Promise.all(readers.map((reader) => reader.return?.()));
  }
}

export interface PlacedChange {
  readonly entry: LogEntry;
  readonly change: PastChange;
}

/** What changed from a state on, in order; takes the state along. */
export async function* changesSince(
  log: BusLog,
  past: Past,
  specs: readonly TableSpec[],
  range: Omit<LogRange, "from">,
  signal: AbortSignal,
): AsyncGenerator<PlacedChange> {
  for await (const entry of entriesOf(log, specs, { ...range, from: past.seq + 1 }, signal)) {
    for (const change of past.apply(entry)) yield { entry, change };
  }
}
