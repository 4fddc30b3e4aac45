import { type BusLog, type CheckpointInfo, isUsable, PastTable } from "@sluice/bus";
import { loggedTables, slicesTable, type TableSpec } from "@sluice/contracts";
import { Backoff, type Kit, slept } from "@sluice/service-kit";

export interface CheckpointOptions {
  /** Milliseconds between two. */
  readonly everyMs: number;
  /** Bytes of log behind which another is due earlier. */
  readonly everyBytes: number;
  /** Bytes that all of them may take; the oldest go first, and with them the reach of the log. */
  readonly maxBytes: number;
}

const LOOK_MS = 2000;
/** However large they are: the newest, and the one before it while the newest is young. */
const LEAST_KEPT = 2;

/** Says whether another checkpoint is due, and keeps their number bounded. */
export class CheckpointKeeper {
  readonly #log: BusLog;
  readonly #options: CheckpointOptions;
  readonly #kit: Kit;
  readonly #written;
  readonly #newest;
  readonly #logBytes;
  #asked = false;
  /** undefined: not looked for yet, or none. */
  #last: CheckpointInfo | undefined;
  /** Since when it is known to be the last, ms on the monotonic clock. */
  #lastSince = 0;

  constructor(log: BusLog, options: CheckpointOptions, kit: Kit) {
    this.#log = log;
    this.#options = options;
    this.#kit = kit;
    const { metrics } = kit;
    this.#written = metrics.counter("sluice_checkpoints_total", "Checkpoints by outcome.", ["result"]);
    this.#newest = metrics.gauge(
      "sluice_checkpoint_sequence",
      "Sequence of the log at the newest checkpoint.",
    );
    this.#logBytes = metrics.gauge("sluice_log_bytes", "Bytes that the log holds.");
  }

  /** Another one as soon as may be, e.g. because the log lacks something that only a checkpoint can mend. */
  ask(): void {
    this.#asked = true;
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, random } = this.#kit;
    const backoff = new Backoff(LOOK_MS, 60_000, random.next);
    for (let waitMs = 0; await slept(clock, waitMs, signal); ) {
      waitMs = LOOK_MS;
      try {
        if (await this.#due(signal)) {
          await this.#write(signal);
          await this.#prune(signal);
        }
        backoff.reset();
      } catch (err) {
        if (signal.aborted) return;
        this.#written.inc({ result: "failed" });
        log.warn({ err }, "no checkpoint could be written, trying again");
        waitMs = LOOK_MS + backoff.next();
      }
    }
  }

  async #due(signal: AbortSignal): Promise<boolean> {
    const extent = await this.#log.extent(signal);
    this.#logBytes.set(extent.bytes);
    if (extent.last === 0) return false;
    if (this.#last === undefined || !isUsable(this.#last, extent)) {
      this.#knows((await this.#log.checkpoints.list(signal)).findLast((each) => isUsable(each, extent)));
    }
    const last = this.#last;
    if (last !== undefined && last.seq === extent.last) return false;
    const bytesEach = extent.bytes / Math.max(1, extent.last - extent.first + 1);
    const due =
      last === undefined ||
      this.#asked ||
      (this.#options.everyMs > 0 && this.#ageMs(last, extent.lastAt) >= this.#options.everyMs) ||
      (extent.last - last.seq) * bytesEach >= this.#options.everyBytes;
    return due && (await isKnown(this.#log, signal));
  }

  #knows(last: CheckpointInfo | undefined): void {
    this.#last = last;
    this.#lastSince = this.#kit.clock.monotonic();
  }

  /** Its age by times of the bus's server, or by ours that has passed meanwhile: what a wall clock here says is not asked. */
  #ageMs(last: CheckpointInfo, newestAt: number): number {
    return Math.max(newestAt - last.at, this.#kit.clock.monotonic() - this.#lastSince);
  }

  async #write(signal: AbortSignal): Promise<void> {
    this.#asked = false;
    const log = this.#log;
    const begun = await log.extent(signal);
    const extents: CheckpointInfo["extents"] = {};
    for (const spec of loggedTables) {
      const { life, revision } = await log.tableExtent(spec, signal);
      extents[spec.name] = { life: (await log.loggedExtent(spec, signal))?.life ?? life, revision };
    }
    const tables = new Map(loggedTables.map((spec) => [spec.name, logged(log, spec, signal)]));
    const finish = async () => {
      // What was overwritten while the tables were read may be in none of them, but the log has it by now.
      for (const spec of loggedTables) await log.caughtUpWith(spec, signal);
      const { last, lastAt } = await log.extent(signal);
      return { log: begun.id, from: begun.last, seq: last, at: lastAt, extents };
    };
    const written = await log.checkpoints.write(tables, finish, signal);
    this.#knows(written);
    this.#written.inc({ result: "written" });
    this.#newest.set(written.seq);
    this.#kit.log.info({ sequence: written.seq, bytes: written.bytes }, "checkpoint written");
  }

  async #prune(signal: AbortSignal): Promise<void> {
    const extent = await this.#log.extent(signal);
    const all = await this.#log.checkpoints.list(signal);
    let bytes = 0;
    for (const [age, checkpoint] of all.toReversed().entries()) {
      bytes += checkpoint.bytes;
      const fits = bytes <= this.#options.maxBytes || age < LEAST_KEPT;
      if (isUsable(checkpoint, extent) && fits) continue;
      await this.#log.checkpoints.remove(checkpoint, signal);
    }
  }
}

/** What of a table the log takes: the rest would never be told that it is gone. */
async function* logged(log: BusLog, spec: TableSpec, signal: AbortSignal) {
  for (const filter of spec.logged ?? []) yield* log.snapshot(spec, filter, signal);
}

/**
 * Whether the bus knows of anybody's slices that they are whole. While it does not, its tables say less than the last
 * checkpoint, and that is what an aggregator begins with.
 */
export async function isKnown(log: BusLog, signal: AbortSignal): Promise<boolean> {
  const slices = new PastTable(slicesTable);
  for await (const entry of log.snapshot(slicesTable, "*._meta.>", signal)) slices.load(entry);
  slices.begin(await log.boot(signal));
  return slices.settled;
}
