import { loggedTables, type TableSpec } from "@sluice/contracts";
import { Backoff, type Kit, LinkedAbort, slept } from "@sluice/service-kit";
import {
  type Accepted,
  type BusLog,
  LogConflictError,
  type LogEntry,
  type LogExtent,
  type TableExtent,
} from "./log.ts";
import { Signal } from "./signal.ts";

/** What waits to be logged at most; beyond it the tables are read instead. */
const MOST_BYTES = 2 ** 26;
/** Entries in one go; each is one message. */
const BATCH = 256;
/** A standby keeps what came in this time: so long may the log's feeder be dead before another is. */
const STANDBY_MS = 15_000;
const LOOK_MS = 50;
const GATHER_MS = 5;

/** How far the log is with a table; nothing from before `since` (ms since 1970) is missing. */
interface Known extends TableExtent {
  readonly since: number;
}

type Unplaced = Omit<LogEntry, "seq" | "at">;

/**
 * Fills the log with what the server says it has stored in the logged tables. Of several only the one that leads
 * writes; the others keep what they heard lately, so that a change of leader loses nothing. What nobody heard is read
 * from the tables: the newest of each key, marked as late. Two that write at once find each other out, because each
 * entry says behind which it belongs.
 */
export class LogFeeder {
  readonly #log: BusLog;
  readonly #kit: Pick<Kit, "log" | "clock" | "random">;
  readonly #leads: () => boolean;
  readonly #heard = new Signal();
  #queue: { readonly entry: Accepted; readonly heardAt: number }[] = [];
  #bytes = 0;
  /** What is in the queue goes on behind what was there before. */
  #whole = false;
  #listening = false;

  constructor(log: BusLog, leads: () => boolean, kit: Pick<Kit, "log" | "clock" | "random">) {
    this.#log = log;
    this.#leads = leads;
    this.#kit = kit;
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#listen(signal), this.#work(signal)]);
  }

  async #listen(signal: AbortSignal): Promise<void> {
    const { clock } = this.#kit;
    await this.#log.accepted(
      {
        begun: () => {
          this.#listening = true;
          this.#heard.notify();
        },
        entry: (entry) => {
          this.#queue.push({ entry, heardAt: clock.monotonic() });
          this.#bytes += entry.value.byteLength;
          if (this.#bytes > MOST_BYTES) this.#drop();
          this.#heard.notify();
        },
        broken: () => {
          this.#listening = false;
          this.#drop();
          this.#heard.notify();
        },
      },
      signal,
    );
  }

  #drop(): void {
    this.#queue = [];
    this.#bytes = 0;
    this.#whole = false;
  }

  async #work(signal: AbortSignal): Promise<void> {
    const { clock, log, random } = this.#kit;
    const backoff = new Backoff(20, 2000, random.next);
    while (await slept(clock, LOOK_MS, signal)) {
      if (!this.#leads()) {
        this.#forgetOld();
        continue;
      }
      if (!this.#listening) continue;
      try {
        await this.#feed(signal);
        backoff.reset();
      } catch (err) {
        if (signal.aborted) return;
        if (err instanceof LogConflictError) log.info({ err }, "looking anew at where the log ends");
        else log.warn({ err }, "the log could not be fed, looking anew at where it ends");
        await slept(clock, backoff.next(), signal);
      }
    }
  }

  #forgetOld(): void {
    const before = this.#kit.clock.monotonic() - STANDBY_MS;
    const kept = this.#queue.findIndex(({ heardAt }) => heardAt >= before);
    if (kept === 0) return;
    const gone = this.#queue.splice(0, kept < 0 ? this.#queue.length : kept);
    for (const { entry } of gone) this.#bytes -= entry.value.byteLength;
  }

  /** Brings the log up to what was heard, then goes on; returns when it has to look anew. */
  async #feed(signal: AbortSignal): Promise<void> {
    this.#whole = true;
    const extent = await this.#log.extent(signal);
    let { last } = extent;
    const reached = new Map<string, TableExtent>();
    for (const spec of loggedTables) {
      const known = await this.#known(spec, extent, signal);
      const to = await this.#upTo(spec, known, signal);
      last = await this.#fill(spec, known, to, last, signal);
      reached.set(spec.name, { life: known.life, revision: Math.max(known.revision, to) });
    }
    while (this.#whole && this.#leads() && !signal.aborted) {
      const { batch, odd } = this.#next(reached);
      if (batch.length > 0) {
        last = await this.#log.append(batch, last, signal);
        if (!this.#whole) return;
        this.#shift(batch.length);
        for (const { table, life, revision } of batch) reached.set(table, { life, revision });
      }
      if (odd !== null && !(await this.#isRepeated(odd, reached, signal))) return;
      if (this.#queue.length === 0) await this.#pause(signal);
    }
  }

  /** How much of a table's present life the log has. */
  async #known(spec: TableSpec, { first, firstAt, last }: LogExtent, signal: AbortSignal): Promise<Known> {
    const table = await this.#log.tableExtent(spec, signal);
    const logged = await this.#log.loggedExtent(spec, signal);
    // What is older than the log reaches was in it, and has gone from it.
    if (logged === null) return { life: table.life, revision: 0, since: first > 1 ? firstAt : 0 };
    if (baseOf(logged.life) !== table.life) return { life: table.life, revision: 0, since: 0 };
    if (logged.revision <= table.revision) return { ...logged, since: 0 };
    // An older copy of it was put in its place: what it gives out now, it has given out before.
    return { life: `${table.life}${RESTORED}${last}`, revision: 0, since: 0 };
  }

  /** Up to which revision a table has to be read because nobody heard it. */
  async #upTo(spec: TableSpec, known: TableExtent, signal: AbortSignal): Promise<number> {
    const heard = this.#queue.find(
      ({ entry }) => entry.table === spec.name && entry.revision > known.revision,
    );
    if (heard !== undefined) return heard.entry.revision - 1;
    return (await this.#log.tableExtent(spec, signal)).revision;
  }

  /** What the log lacks of a table up to a revision: the newest record of each key. */
  async #fill(
    spec: TableSpec,
    known: Known,
    to: number,
    after: number,
    signal: AbortSignal,
  ): Promise<number> {
    if (to <= known.revision) return after;
    // One filter brings its records in order; of several each has its own.
    const filters = spec.logged ?? [];
    const ordered = filters.length === 1;
    let last = after;
    let missing: Unplaced[] = [];
    const flush = async () => {
      missing.sort((a, b) => a.revision - b.revision);
      for (let i = 0; i < missing.length; i += BATCH) {
        last = await this.#log.append(missing.slice(i, i + BATCH), last, signal);
      }
      missing = [];
    };
    for (const filter of filters) {
      for await (const { key, revision, value, storedAt } of this.#log.snapshot(spec, filter, signal)) {
        if (revision <= known.revision || revision > to || storedAt < known.since) continue;
        missing.push({ table: spec.name, key, revision, previous: 0, value, life: known.life, late: true });
        if (ordered && missing.length >= BATCH) await flush();
      }
    }
    await flush();
    return last;
  }

  /** The next entries that the log lacks, up to one that does not go on where the table was. */
  #next(reached: ReadonlyMap<string, TableExtent>): {
    readonly batch: Unplaced[];
    readonly odd: Accepted | null;
  } {
    const batch: Unplaced[] = [];
    const at = new Map(reached);
    for (const { entry } of this.#queue) {
      if (batch.length >= BATCH) break;
      const { life, revision } = at.get(entry.table)!;
      const next = loggedWhole.has(entry.table) ? entry.revision === revision + 1 : entry.revision > revision;
      if (!next) return { batch, odd: entry };
      at.set(entry.table, { life, revision: entry.revision });
      batch.push({ ...entry, life, late: false });
    }
    return { batch, odd: null };
  }

  #shift(count: number): void {
    for (const { entry } of this.#queue.splice(0, count)) this.#bytes -= entry.value.byteLength;
  }

  /** Whether it was read from the table before it was heard; then it is left out. */
  async #isRepeated(odd: Accepted, reached: Map<string, TableExtent>, signal: AbortSignal): Promise<boolean> {
    const before = reached.get(odd.table)!;
    if (odd.revision > before.revision) return false;
    const spec = loggedTables.find(({ name }) => name === odd.table)!;
    const table = await this.#log.tableExtent(spec, signal);
    if (table.life !== baseOf(before.life) || table.revision < before.revision) return false;
    if (this.#queue[0]?.entry === odd) this.#shift(1);
    return true;
  }

  /** Waits until something is heard, or it may be time to leave it to another. */
  async #pause(signal: AbortSignal): Promise<void> {
    const over = new LinkedAbort(signal);
    const heard = this.#heard.wait(over.signal).catch(() => {});
    await Promise.race([heard, slept(this.#kit.clock, LOOK_MS, over.signal)]);
    over.abort();
    await heard;
    // What comes right behind goes with it.
    if (this.#queue.length > 0) await slept(this.#kit.clock, GATHER_MS, signal);
  }
}

const RESTORED = "~";

/** The table's own life; what stands behind it tells copies that were put in its place apart. */
export function baseOf(life: string): string {
  return life.split(RESTORED)[0] ?? life;
}

const loggedWhole = new Set(
  loggedTables.filter(({ logged }) => logged?.includes(">") === true).map(({ name }) => name),
);
