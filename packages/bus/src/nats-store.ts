import { randomUUID } from "node:crypto";
import {
  type ConsumerMessages,
  DeliverPolicy,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
} from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import {
  allTables,
  Boot,
  BusAssetError,
  BusUnreachableError,
  bootTable,
  decode,
  decodeEnvelope,
  encodeEnvelope,
  RecordTooLargeError,
  type TableSpec,
} from "@sluice/contracts";
import { Backoff, type Kit, slept } from "@sluice/service-kit";
import { provision, streamOf, subjectOf } from "./assets.ts";
import { Signal } from "./signal.ts";
import type { FollowSink, PutResult, Store, StoredEntry } from "./store.ts";

/** JetStream's "wrong last sequence": somebody else wrote the key first. */
const WRONG_LAST_SEQUENCE = 10071;
const ANSWER_MS = 5000;
/** A snapshot that falls silent is asked for what is still pending. */
const SILENCE_MS = 250;

interface Life {
  readonly connection: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  readonly boot: string;
  readonly over: AbortController;
}

type StoreKit = Pick<Kit, "log" | "clock" | "signal">;

export interface NatsOptions {
  /** e.g. `nats://127.0.0.1:4222`; several separated by commas. */
  readonly url: string;
  /** Shown by the server, e.g. `aggregator`. */
  readonly name: string;
  readonly kit: StoreKit;
}

/** The store on a NATS server with JetStream. Connects in the background and again for ever. */
export class NatsStore implements Store {
  readonly #options: NatsOptions;
  readonly #changed = new Signal();
  readonly #closed = new AbortController();
  readonly #signal: AbortSignal;
  readonly #running: Promise<void>;
  #connection: NatsConnection | null = null;
  #life: Life | null = null;
  #fatal: Error | null = null;

  constructor(options: NatsOptions) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.kit.signal, this.#closed.signal]);
    this.#running = this.#run();
  }

  get connected(): boolean {
    return this.#life !== null;
  }

  /** Why this store will never work, e.g. an asset that differs; null while it may. */
  get fatal(): Error | null {
    return this.#fatal;
  }

  /** Resolves at the first connection. @throws BusAssetError */
  async ready(signal: AbortSignal): Promise<void> {
    await this.#alive(signal);
  }

  async #run(): Promise<void> {
    const { kit, url, name } = this.#options;
    const backoff = new Backoff(100, 2000);
    let told = false;
    while (!this.#signal.aborted) {
      try {
        this.#connection = await connect({
          servers: url.split(","),
          name: `sluice-${name}`,
          maxReconnectAttempts: -1,
          // Otherwise each request makes two Errors for their stacks, whether or not it fails.
          noAsyncTraces: true,
          reconnectTimeWait: 100,
          reconnectJitter: 100,
          pingInterval: 5000,
          maxPingOut: 2,
          timeout: 3000,
          ignoreClusterUpdates: false,
        });
        break;
      } catch (err) {
        if (!told) kit.log.warn({ err, url }, "no NATS server answers, trying on");
        told = true;
        await slept(kit.clock, backoff.next() + 50, this.#signal);
      }
    }
    const connection = this.#connection;
    if (connection === null) return;
    const close = () =>
      void connection.close().catch((err: unknown) => kit.log.debug({ err }, "closing NATS"));
    // The end may have come while it was connecting: nobody would close it then, and its status would never end.
    if (this.#signal.aborted) close();
    else this.#signal.addEventListener("abort", close, { once: true });
    const closed = connection.closed();
    void this.#live(connection);
    for await (const status of connection.status()) {
      if (status.type === "disconnect") {
        kit.log.warn("NATS is gone, reconnecting");
        this.#end();
      } else if (status.type === "reconnect") {
        kit.log.info("NATS is back");
        void this.#live(connection);
      }
    }
    this.#end();
    await closed;
  }

  #end(): void {
    this.#life?.over.abort(new Error("the connection ended"));
    this.#life = null;
    this.#changed.notify();
  }

  /** One life of a connection: assets are there, and `boot` is read before any table. */
  async #live(connection: NatsConnection): Promise<void> {
    const { kit } = this.#options;
    const over = new AbortController();
    const backoff = new Backoff(50, 1000);
    while (!this.#signal.aborted && !connection.isClosed() && this.#life === null) {
      try {
        const jsm = await jetstreamManager(connection, { timeout: ANSWER_MS });
        await provision(jsm, allTables);
        const js = jetstream(connection, { timeout: ANSWER_MS });
        const boot = await readBoot(js, jsm, kit.clock.now());
        if (this.#life !== null) return;
        this.#life = { connection, js, jsm, boot, over };
        this.#changed.notify();
        return;
      } catch (err) {
        if (err instanceof BusAssetError) {
          this.#fatal = err;
          this.#changed.notify();
          return;
        }
        if (this.#signal.aborted) return;
        kit.log.debug({ err }, "NATS does not serve JetStream yet");
        await slept(kit.clock, backoff.next() + 20, this.#signal);
      }
    }
  }

  async #alive(signal: AbortSignal): Promise<Life> {
    for (;;) {
      if (this.#fatal !== null) throw this.#fatal;
      if (this.#life !== null) return this.#life;
      await this.#changed.wait(signal);
    }
  }

  #now(): Life {
    if (this.#fatal !== null) throw this.#fatal;
    if (this.#life === null) {
      throw new BusUnreachableError(`no NATS server answers at ${this.#options.url}`);
    }
    return this.#life;
  }

  async boot(signal: AbortSignal): Promise<string> {
    return (await this.#alive(signal)).boot;
  }

  async get(spec: TableSpec, key: string, signal: AbortSignal): Promise<StoredEntry | null> {
    signal.throwIfAborted();
    const life = this.#now();
    const found = await lastMessage(life.jsm, spec, key);
    // A request that was on its way when the connection broke goes out again after it: to servers that may have lost
    // everything. What they say is not what was asked.
    if (this.#life !== life)
      throw new BusUnreachableError("the connection to NATS ended before an answer came");
    return found;
  }

  async lastRevision(spec: TableSpec, signal: AbortSignal): Promise<number> {
    const { jsm } = await this.#alive(signal);
    return (await lastMessage(jsm, spec, ">"))?.revision ?? 0;
  }

  async put(
    spec: TableSpec,
    key: string,
    value: Uint8Array,
    expected: number | null,
    signal: AbortSignal,
  ): Promise<PutResult> {
    signal.throwIfAborted();
    const { js, connection } = this.#now();
    const most = connection.info?.max_payload ?? Number.POSITIVE_INFINITY;
    if (value.byteLength > most) {
      throw new RecordTooLargeError(`${spec.name}/${key}: ${value.byteLength} bytes, the bus takes ${most}`);
    }
    return putMessage(js, spec, key, value, expected);
  }

  async removeMessage(spec: TableSpec, revision: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    try {
      await this.#now().jsm.streams.deleteMessage(streamOf(spec), revision, false);
    } catch (error) {
      // Overwritten meanwhile: the message is gone, which is what was asked for.
      if (!(error instanceof JetStreamApiError)) throw error;
    }
  }

  async follow(spec: TableSpec, filter: string, sink: FollowSink, signal: AbortSignal): Promise<void> {
    const { kit } = this.#options;
    const both = AbortSignal.any([signal, this.#signal]);
    const backoff = new Backoff(50, 1000);
    while (!both.aborted) {
      try {
        const life = await this.#alive(both);
        await followOnce(life, spec, filter, sink, AbortSignal.any([both, life.over.signal]), kit);
        backoff.reset();
      } catch (err) {
        if (both.aborted) break;
        if (err instanceof BusAssetError) throw err;
        kit.log.debug({ err, table: spec.name }, "following a table broke off");
        await slept(kit.clock, backoff.next(), both);
      }
      sink.disconnected();
    }
  }

  async close(): Promise<void> {
    this.#closed.abort(new Error("closed"));
    await this.#running;
  }
}

/** Delivers a snapshot and then the tail, until the life of the connection ends. */
async function followOnce(
  life: Life,
  spec: TableSpec,
  filter: string,
  sink: FollowSink,
  signal: AbortSignal,
  kit: StoreKit,
): Promise<void> {
  const prefix = subjectOf(spec, "");
  // Whatever is delivered beyond this is the tail: `pending` may never be 0 while keys are overwritten.
  const target = (await lastMessage(life.jsm, spec, filter))?.revision ?? 0;
  // History is 1: all messages are the newest of each key, in stream order.
  const consumer = await life.js.consumers.getPushConsumer(streamOf(spec), {
    filter_subjects: prefix + filter,
    deliver_policy: DeliverPolicy.All,
  });
  if (signal.aborted) return;
  let heardAt = kit.clock.monotonic();
  let snapshot = true;
  const caughtUp = () => {
    snapshot = false;
    sink.caughtUp();
  };
  sink.restart(life.boot);
  let messages: ConsumerMessages | undefined;
  try {
    if (target === 0) caughtUp();
    messages = await consumer.consume({
      callback: (message) => {
        if (signal.aborted) return;
        heardAt = kit.clock.monotonic();
        const { streamSequence, timestampNanos, pending: left } = message.info;
        sink.entry({
          key: message.subject.slice(prefix.length),
          value: message.data,
          revision: streamSequence,
          storedAt: timestampNanos / 1e6,
        });
        if (snapshot && (left === 0 || streamSequence >= target)) caughtUp();
      },
    });
    // The last message may have been removed meanwhile; this only says when to call a snapshot complete.
    while (snapshot && (await slept(kit.clock, SILENCE_MS, signal))) {
      if (!snapshot || kit.clock.monotonic() - heardAt < SILENCE_MS) continue;
      if ((await consumer.info()).num_pending === 0 && snapshot) caughtUp();
    }
    const ended = messages.closed();
    await Promise.race([ended, aborted(signal)]);
  } finally {
    messages?.stop();
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

async function lastMessage(jsm: JetStreamManager, spec: TableSpec, key: string): Promise<StoredEntry | null> {
  // Not a direct get: that may be answered by a replica that lags.
  const found = await jsm.streams.getMessage(streamOf(spec), { last_by_subj: subjectOf(spec, key) });
  if (found === null) return null;
  return {
    key: found.subject.slice(subjectOf(spec, "").length),
    value: found.data,
    revision: found.seq,
    storedAt: found.time.getTime(),
  };
}

async function putMessage(
  js: JetStreamClient,
  spec: TableSpec,
  key: string,
  value: Uint8Array,
  expected: number | null,
): Promise<PutResult> {
  try {
    // No Nats-Msg-Id: deduplication would swallow the third write of A, deleted, A.
    const ack = await js.publish(subjectOf(spec, key), value, {
      timeout: ANSWER_MS,
      ...(expected === null ? {} : { expect: { lastSubjectSequence: expected } }),
    });
    return { ok: true, revision: ack.seq };
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === WRONG_LAST_SEQUENCE) return { ok: false };
    throw error;
  }
}

/** The servers' present life: whoever finds none makes one, and exactly one process wins. */
async function readBoot(js: JetStreamClient, jsm: JetStreamManager, now: number): Promise<string> {
  for (;;) {
    const found = await lastMessage(jsm, bootTable, "id");
    if (found !== null) {
      const boot = decodeEnvelope(Boot, found.value, "boot/id").data;
      return decode(Boot, boot, "boot/id").id;
    }
    const fresh: Boot = { v: 1, id: randomUUID(), at: now };
    await putMessage(js, bootTable, "id", encodeEnvelope({ v: 1, data: fresh }), 0);
  }
}
