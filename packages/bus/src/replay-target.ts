import {
  BusUnreachableError,
  Claim,
  clustersTable,
  decode,
  intentsTable,
  membersTable,
  parseJson,
  ReplayTargetError,
  slicesTable,
  type TableSpec,
} from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";
import type { BusFiles } from "./credentials.ts";
import { NatsStore } from "./nats-store.ts";
import type { FollowSink } from "./store.ts";

/** What a replay feeds: everything else follows from these. */
export const recordedTables: readonly TableSpec[] = [slicesTable, clustersTable, intentsTable];

/** A record as it was on the recorded bus. */
export interface RecordedRecord {
  readonly table: string;
  readonly key: string;
  readonly value: Uint8Array;
}

export interface ReplayTargetOptions {
  /** e.g. `nats://127.0.0.1:4222` */
  readonly url: string;
  readonly files?: BusFiles;
  /** Of the recorded bus: it is no target of its own recording. */
  readonly recordedBoot: string;
  /** How long the bus may take to answer for the first time, ms. */
  readonly answerMs: number;
  readonly kit: Pick<Kit, "log" | "clock" | "random" | "signal">;
}

/** A bus that lives through a recording: as empty as the recorded one was before its first record. */
export class ReplayTarget implements AsyncDisposable {
  readonly #store: NatsStore;
  readonly #signal: AbortSignal;
  readonly #boot: string;

  private constructor(store: NatsStore, signal: AbortSignal, boot: string) {
    this.#store = store;
    this.#signal = signal;
    this.#boot = boot;
  }

  /** @throws ReplayTargetError, BusUnreachableError */
  static async open(options: ReplayTargetOptions): Promise<ReplayTarget> {
    const { url, files, kit, recordedBoot, answerMs } = options;
    const store = new NatsStore({ url, name: "replay", ...(files === undefined ? {} : { files }), kit });
    const patience = AbortSignal.any([kit.signal, AbortSignal.timeout(answerMs)]);
    try {
      const boot = await store.boot(patience);
      if (boot === recordedBoot) {
        throw new ReplayTargetError(`${url} is the bus that was recorded; give --into another`);
      }
      await refuseOccupied(store, url, patience);
      return new ReplayTarget(store, kit.signal, boot);
    } catch (error) {
      await store.close();
      kit.signal.throwIfAborted();
      if (patience.aborted)
        throw new BusUnreachableError(`no NATS server answers at ${url}`, { cause: error });
      throw error;
    }
  }

  /**
   * Writes records one after the other, as they were, but for claims of the recorded life of the servers: those are of
   * this bus's life, so that readers here judge them as they were judged there.
   * @param recordedBoot of the recorded servers when the records were written
   */
  async write(records: readonly RecordedRecord[], recordedBoot: string): Promise<void> {
    // One connection keeps their order, so all may be on their way.
    await Promise.all(
      records.map(({ table, key, value }) => {
        const spec = recordedTables.find(({ name }) => name === table);
        if (spec === undefined) throw new Error(`${table} is not replayed`);
        const given = spec === slicesTable ? this.#rewritten(key, value, recordedBoot) : value;
        return this.#store.put(spec, key, given, null, this.#signal);
      }),
    );
  }

  #rewritten(key: string, value: Uint8Array, recordedBoot: string): Uint8Array {
    if (slicesTable.keys.classify(key).kind !== "claim") return value;
    const subject = `slices/${key}`;
    const claim = parseJson(value, subject);
    if (decode(Claim, claim, subject).boot !== recordedBoot) return value;
    return Buffer.from(JSON.stringify({ ...(claim as Claim), boot: this.#boot }));
  }

  async close(): Promise<void> {
    await this.#store.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Whatever is there would be mixed with what is recorded, and whoever lives there would take it back. */
async function refuseOccupied(store: NatsStore, url: string, signal: AbortSignal): Promise<void> {
  const watchers = await liveWatchers(store, signal);
  if (watchers.length > 0) {
    throw new ReplayTargetError(`${url} has live watchers (${watchers.sort().join(", ")}); stop them first`);
  }
  for (const spec of recordedTables) {
    if ((await store.lastRevision(spec, signal)) > 0) {
      throw new ReplayTargetError(`${url} holds ${spec.name} already; give --into a bus with an empty store`);
    }
  }
}

async function liveWatchers(store: NatsStore, signal: AbortSignal): Promise<string[]> {
  const found = new Set<string>();
  const read = new AbortController();
  const sink: FollowSink = {
    restart: () => found.clear(),
    entry: ({ key }) => found.add(key),
    caughtUp: () => read.abort(),
    disconnected: () => {},
  };
  await store.follow(membersTable, "member-watcher.*", sink, AbortSignal.any([signal, read.signal]));
  signal.throwIfAborted();
  return [...found];
}
