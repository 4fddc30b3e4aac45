import {
  type ConsumerMessages,
  DeliverPolicy,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  type JsMsg,
  type OrderedConsumerOptions,
  PubHeaders,
  type StoredMsg,
} from "@nats-io/jetstream";
import { headers, type NatsConnection, nuid, type Subscription } from "@nats-io/transport-node";
import {
  acceptedSubject,
  BusUnreachableError,
  eventStream,
  loggedTables,
  logHeaders,
  logStream,
  logSubject,
  streamOf,
  subjectOf,
  type TableSpec,
} from "@sluice/contracts";
import { Backoff, type Kit, slept } from "@sluice/service-kit";
import {
  type AcceptedSink,
  type BusLog,
  type CheckpointStore,
  type EventStream,
  LogConflictError,
  type LogEntry,
  type LogExtent,
  type LogRange,
  LogReplacedError,
  type TableExtent,
} from "./log.ts";
import { baseOf } from "./log-feeder.ts";
import { NatsCheckpoints } from "./nats-checkpoints.ts";
import type { NatsPublisher } from "./nats-publisher.ts";
import type { StoredEntry } from "./store.ts";

/** JetStream's "wrong last sequence" and "wrong last msg ID": somebody else wrote first. */
const WRONG_LAST = new Set([10070, 10071]);

/** What of a connection's life the log needs. */
export interface LogLife {
  readonly connection: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  readonly publisher: NatsPublisher;
  readonly boot: string;
  readonly over: AbortController;
}

export interface LogLives {
  /** Waits for a connection. */
  alive(signal: AbortSignal): Promise<LogLife>;
  /** @throws BusUnreachableError when there is none */
  now(): LogLife;
  readonly kit: Pick<Kit, "log" | "clock">;
}

/** Entries that are on their way to a reader at most; with the pull that follows them, twice as many are in memory. */
const IN_FLIGHT = 128;
/** A bounded reader that hears nothing for so long asks what is left. */
const SILENCE_MS = 500;
const ANSWER_MS = 5000;
/** What the headers of an entry take at most; the bus counts them as payload. */
const HEADER_BYTES = 512;
const CATCH_UP_MS = 5000;
const CATCH_UP_POLL_MS = 10;

/** The log on a NATS server: a stream that LogFeeder fills with what the server republishes of the tables. */
export class NatsLog implements BusLog {
  readonly #lives: LogLives;
  readonly checkpoints: CheckpointStore;
  readonly events: EventStream;

  constructor(lives: LogLives) {
    this.#lives = lives;
    this.checkpoints = new NatsCheckpoints(lives);
    this.events = {
      last: async (signal) => {
        signal.throwIfAborted();
        const last = { last_by_subj: `${eventStream.prefix}>` };
        return (await lives.now().jsm.streams.getMessage(eventStream.name, last))?.data ?? null;
      },
      publish: async ({ subject, id, value }, signal) => {
        signal.throwIfAborted();
        const named = headers();
        named.set(PubHeaders.MsgIdHdr, id);
        await lives.now().publisher.publish({ subject, value, headers: named });
      },
    };
  }

  async boot(signal: AbortSignal): Promise<string> {
    return (await this.#lives.alive(signal)).boot;
  }

  async extent(signal: AbortSignal): Promise<LogExtent> {
    signal.throwIfAborted();
    return extentOf(this.#lives.now().jsm);
  }

  async keep(limits: { maxBytes: number; maxAgeSeconds: number }, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { jsm } = this.#lives.now();
    const { config } = await jsm.streams.info(logStream.name);
    const wanted = { max_bytes: limits.maxBytes, max_age: limits.maxAgeSeconds * 1e9 };
    if (config.max_bytes === wanted.max_bytes && config.max_age === wanted.max_age) return;
    await jsm.streams.update(logStream.name, { ...config, ...wanted });
  }

  async firstAfter(at: number, signal: AbortSignal): Promise<number> {
    signal.throwIfAborted();
    const { js, jsm } = this.#lives.now();
    const extent = await extentOf(jsm);
    if (extent.last < extent.first || at >= extent.lastAt) return extent.last + 1;
    if (at < extent.firstAt) return extent.first;
    // Times are kept to the nanosecond, and told with less: what has the very same time is not after it.
    const begin = new Date(Math.floor(at)).toISOString();
    const consumer = await js.consumers.get(logStream.name, {
      filter_subjects: `${logStream.prefix}>`,
      deliver_policy: DeliverPolicy.StartTime,
      opt_start_time: begin,
    });
    let from: number;
    try {
      const message = await consumer.next({ expires: ANSWER_MS });
      if (message === null) throw new BusUnreachableError(`the log did not say what came after ${begin}`);
      from = message.info.streamSequence;
    } finally {
      await consumer.delete().catch(() => false);
    }
    for await (const entry of this.read({ from, to: extent.last }, signal))
      if (entry.at > at) return entry.seq;
    return extent.last + 1;
  }

  async *read(range: LogRange, signal: AbortSignal): AsyncGenerator<LogEntry> {
    const { kit } = this.#lives;
    const backoff = new Backoff(50, 1000);
    let next = range.from;
    let id: string | null = null;
    for (;;) {
      signal.throwIfAborted();
      try {
        const life = range.follow === true ? await this.#lives.alive(signal) : this.#lives.now();
        const extent = await extentOf(life.jsm);
        id ??= extent.id;
        if (extent.id !== id) throw new LogReplacedError("the log was deleted and began anew");
        const end =
          range.follow === true ? Number.POSITIVE_INFINITY : Math.min(range.to ?? extent.last, extent.last);
        if (next > end) return;
        const filter = range.table === undefined ? `${logStream.prefix}>` : logSubject(range.table, ">");
        const wanted = { stream: logStream.name, filter, from: next, end };
        for await (const message of messages(life, wanted, signal)) {
          backoff.reset();
          next = message.info.streamSequence + 1;
          yield entryOf(message);
        }
        if (range.follow !== true) return;
      } catch (error) {
        signal.throwIfAborted();
        if (range.follow !== true || error instanceof LogReplacedError) throw error;
        kit.log.debug({ err: error }, "following the log broke off");
      }
      if (!(await slept(kit.clock, backoff.next() + 10, signal))) signal.throwIfAborted();
    }
  }

  async *snapshot(spec: TableSpec, filter: string, signal: AbortSignal): AsyncGenerator<StoredEntry> {
    signal.throwIfAborted();
    const life = this.#lives.now();
    const prefix = subjectOf(spec, "");
    const wanted = { stream: streamOf(spec), filter: prefix + filter, from: 1, end: Number.MAX_SAFE_INTEGER };
    for await (const message of messages(life, wanted, signal)) {
      const { streamSequence, timestampNanos } = message.info;
      yield {
        key: message.subject.slice(prefix.length),
        value: message.data,
        revision: streamSequence,
        storedAt: timestampNanos / 1e6,
      };
    }
  }

  async tableExtent(spec: TableSpec, signal: AbortSignal): Promise<TableExtent> {
    signal.throwIfAborted();
    const { created, state } = await this.#lives.now().jsm.streams.info(streamOf(spec));
    return { life: String(created), revision: state.last_seq };
  }

  async loggedExtent(spec: TableSpec, signal: AbortSignal): Promise<TableExtent | null> {
    signal.throwIfAborted();
    const { jsm } = this.#lives.now();
    let newest: StoredMsg | null = null;
    for (const filter of spec.logged ?? []) {
      const found = await jsm.streams.getMessage(logStream.name, {
        last_by_subj: logSubject(spec.name, filter),
      });
      if (found !== null && found.seq > (newest?.seq ?? 0)) newest = found;
    }
    if (newest === null) return null;
    return { life: newest.header.get(logHeaders.life), revision: revisionOf(newest) };
  }

  async accepted(sink: AcceptedSink, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const life = await this.#lives.alive(signal);
        const both = AbortSignal.any([signal, life.over.signal]);
        const heard = loggedTables.flatMap((spec) =>
          (spec.logged ?? []).map((filter) => this.#hear(life, spec, filter, sink)),
        );
        try {
          // The server knows of the subscriptions once it has answered what came behind them.
          await life.connection.flush();
          sink.begun();
          await aborted(both);
        } finally {
          for (const subscription of heard) subscription.unsubscribe();
          sink.broken();
        }
      } catch (err) {
        if (signal.aborted) return;
        this.#lives.kit.log.debug({ err }, "listening to what the bus takes broke off");
        await slept(this.#lives.kit.clock, 100, signal);
      }
    }
  }

  #hear({ connection }: LogLife, spec: TableSpec, filter: string, sink: AcceptedSink): Subscription {
    const prefix = acceptedSubject(spec.name, "");
    return connection.subscribe(acceptedSubject(spec.name, filter), {
      callback: (error, { subject, data, headers: given }) => {
        if (error !== null) return sink.broken();
        const key = subject.slice(prefix.length);
        // A member may have the server relay another message to this subject: it names where that one came from.
        if (given?.get("Nats-Subject") !== subjectOf(spec, key)) return;
        sink.entry({
          table: spec.name,
          key,
          revision: Number(given?.get("Nats-Sequence") ?? 0),
          previous: Number(given?.get("Nats-Last-Sequence") ?? 0),
          value: data,
        });
      },
    });
  }

  async append(
    entries: readonly Omit<LogEntry, "seq" | "at">[],
    after: number,
    signal: AbortSignal,
  ): Promise<number> {
    signal.throwIfAborted();
    const { publisher, connection } = this.#lives.now();
    // Each goes behind the one before it and nothing else: by their number alone, another's entries could stand in. So
    // the answer to the last one is the answer to all.
    const writer = nuid.next();
    const last = entries.length - 1;
    for (const [i, { table, key, revision, previous, life, late, value }] of entries.entries()) {
      const named = headers();
      named.set(logHeaders.revision, String(revision));
      named.set(logHeaders.previous, String(previous));
      named.set(logHeaders.life, life);
      if (late) named.set(logHeaders.late, "1");
      named.set("Nats-Msg-Id", `${writer}.${i}`);
      named.set("Nats-Expected-Last-Sequence", String(after + i));
      if (i > 0) named.set("Nats-Expected-Last-Msg-Id", `${writer}.${i - 1}`);
      const subject = logSubject(table, key);
      const most = (connection.info?.max_payload ?? Number.POSITIVE_INFINITY) - HEADER_BYTES;
      let logged = value;
      if (value.byteLength > most) {
        this.#lives.kit.log.error(
          { table, key, bytes: value.byteLength },
          "too large for the log, which lacks it",
        );
        logged = new Uint8Array();
      }
      const publication = { subject, value: logged, headers: named };
      if (i < last) publisher.send(publication);
      else await this.#acknowledged(publisher.publish(publication));
    }
    return after + entries.length;
  }

  async #acknowledged(going: Promise<unknown>): Promise<void> {
    try {
      await going;
    } catch (cause) {
      if (!(cause instanceof JetStreamApiError && WRONG_LAST.has(cause.code))) throw cause;
      throw new LogConflictError("somebody else feeds the log as well", { cause });
    }
  }

  async caughtUpWith(spec: TableSpec, signal: AbortSignal): Promise<void> {
    const { clock } = this.#lives.kit;
    const { jsm } = this.#lives.now();
    const deadline = clock.monotonic() + CATCH_UP_MS;
    const { life } = await this.tableExtent(spec, signal);
    const { first, firstAt } = await extentOf(jsm);
    for (const filter of spec.logged ?? []) {
      const stored = await jsm.streams.getMessage(streamOf(spec), { last_by_subj: subjectOf(spec, filter) });
      if (stored === null) continue;
      const subject = logSubject(spec.name, filter);
      for (;;) {
        const logged = await jsm.streams.getMessage(logStream.name, { last_by_subj: subject });
        // It was in the log, and has gone from it with age.
        if (logged === null && first > 1 && stored.time.getTime() < firstAt) break;
        const same = logged !== null && baseOf(logged.header.get(logHeaders.life)) === life;
        if (same && revisionOf(logged) >= stored.seq) break;
        if (clock.monotonic() > deadline) {
          throw new Error(`the log lacks record ${stored.seq} of ${spec.name}: nobody feeds it`);
        }
        await clock.sleep(CATCH_UP_POLL_MS, signal);
      }
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

async function extentOf(jsm: JetStreamManager): Promise<LogExtent> {
  const { created, config, state } = await jsm.streams.info(logStream.name);
  const empty = state.messages === 0;
  return {
    id: String(created),
    first: empty ? state.last_seq + 1 : state.first_seq,
    last: state.last_seq,
    firstAt: empty ? 0 : millis(state.first_ts),
    lastAt: empty ? 0 : millis(state.last_ts),
    bytes: state.bytes,
    maxBytes: config.max_bytes,
    maxAgeSeconds: config.max_age / 1e9,
  };
}

/** A server's time with nanoseconds, as messages carry it: ms since 1970. */
function millis(time: string): number {
  const [whole = "", fraction = ""] = time.replace("Z", "").split(".");
  const nanos = BigInt(Date.parse(`${whole}Z`)) * 1_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, "0"));
  return Number(nanos) / 1e6;
}

/** Messages of a stream from a sequence on. */
interface Wanted {
  readonly stream: string;
  readonly filter: string;
  readonly from: number;
  /** Last sequence of interest; beyond what is there: all that is there now; Infinity: what comes, too. */
  readonly end: number;
}

/**
 * Pulled as they are taken, so that what waits in memory is bounded. Where they end is asked for by sequence: what the
 * server counts as pending is wrong where a consumer begins in the middle of a file that the server has read again
 * (2.9.10: too few, and also below 0).
 * @throws BusUnreachableError when not all of it came
 */
async function* messages(life: LogLife, wanted: Wanted, signal: AbortSignal): AsyncGenerator<JsMsg> {
  const { stream, filter } = wanted;
  const bounded = Number.isFinite(wanted.end);
  let next = Math.max(1, wanted.from);
  let { end } = wanted;
  if (bounded) {
    const newest = await life.jsm.streams.getMessage(stream, { last_by_subj: filter });
    end = Math.min(end, newest?.seq ?? 0);
    if (next > end) return;
  }
  const consumer = await life.js.consumers.get(stream, {
    filter_subjects: filter,
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: next,
  } as OrderedConsumerOptions);
  let pulled: ConsumerMessages | undefined;
  let silence: NodeJS.Timeout | undefined;
  const stop = () => pulled?.stop();
  const both = AbortSignal.any([signal, life.over.signal]);
  /** The last message of interest may have gone meanwhile: its bucket keeps one a key, the log bounds its bytes. */
  const isLeft = async () => {
    const query = { seq: next, next_by_subj: filter };
    const found = await life.jsm.streams.getMessage(stream, query);
    return found !== null && found.seq <= end;
  };
  try {
    both.throwIfAborted();
    pulled = await consumer.consume({ max_messages: IN_FLIGHT });
    both.addEventListener("abort", stop, { once: true });
    const stopAtEnd = async () => {
      if (!(await isLeft())) stop();
    };
    // Without an answer it is asked again at the end.
    if (bounded) silence = setInterval(() => void stopAtEnd().catch(stop), SILENCE_MS);
    for await (const message of pulled) {
      silence?.refresh();
      const { streamSequence } = message.info;
      if (streamSequence > end) return;
      next = streamSequence + 1;
      yield message;
      if (streamSequence === end) return;
    }
    // Stopped: by the end of everything, of the connection, or because nothing is left.
    signal.throwIfAborted();
    if (life.over.signal.aborted || (bounded && (await isLeft())))
      throw new BusUnreachableError("the connection to NATS ended while the log was read");
  } finally {
    clearInterval(silence);
    both.removeEventListener("abort", stop);
    pulled?.stop();
    if (!life.over.signal.aborted) await consumer.delete().catch(() => false);
  }
}

function entryOf(message: JsMsg): LogEntry {
  const rest = message.subject.slice(logStream.prefix.length);
  const dot = rest.indexOf(".");
  return {
    seq: message.info.streamSequence,
    at: message.info.timestampNanos / 1e6,
    table: rest.slice(0, dot),
    key: rest.slice(dot + 1),
    revision: Number(message.headers?.get(logHeaders.revision) ?? 0),
    previous: Number(message.headers?.get(logHeaders.previous) ?? 0),
    value: message.data,
    life: message.headers?.get(logHeaders.life) ?? "",
    late: message.headers?.has(logHeaders.late) ?? false,
  };
}

function revisionOf(message: StoredMsg): number {
  return Number(message.header.get(logHeaders.revision) || 0);
}
