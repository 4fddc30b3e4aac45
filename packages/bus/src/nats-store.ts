import {
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
} from "@nats-io/jetstream";
import {
  AuthorizationError,
  connect,
  type NatsConnection,
  PermissionViolationError,
} from "@nats-io/transport-node";
import {
  BadRecordError,
  Boot,
  BusAssetError,
  BusForbiddenError,
  BusServerError,
  BusUnreachableError,
  bootTable,
  decode,
  decodeEnvelope,
  encodeEnvelope,
  RecordTooLargeError,
  streamOf,
  subjectOf,
  type TableSpec,
} from "@sluice/contracts";
import { Backoff, type Kit, slept } from "@sluice/service-kit";
import { accessOf, type BusAccess } from "./bus-access.ts";
import { type BusCredentials, type BusFiles, readCredentials } from "./credentials.ts";
import type { BusLog } from "./log.ts";
import { NatsLog } from "./nats-log.ts";
import { followTail, isRelayed } from "./ordered-tail.ts";
import { type PatientApi, patientApi } from "./patient-api.ts";
import { provision } from "./provision.ts";
import { type ResumePoint, resumeFrom } from "./resume-point.ts";
import { checkServer } from "./server-check.ts";
import { Signal } from "./signal.ts";
import type { FollowSink, PutResult, Store, StoredEntry } from "./store.ts";

/** JetStream's "wrong last sequence": somebody else wrote the key first. */
const WRONG_LAST_SEQUENCE = new Set([10071, 10164]);
/** How long a write may take, an election of the stream's leader included, ms. */
const ANSWER_MS = 5000;
/** How often the servers' present life is asked for, ms: a cluster may lose its memory without losing a connection. */
const BOOT_POLL_MS = 2000;
/** How long a server that just starts may be without JetStream, ms. */
const JETSTREAM_MS = 5000;

interface Life {
  readonly connection: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  readonly api: PatientApi;
  readonly boot: string;
  readonly inboxPrefix: string;
  readonly over: AbortController;
  /** Told when it is over; a set of our own, because questions are many and an AbortSignal keeps each listener. */
  readonly asking: Set<() => void>;
}

/** An answer, or an error as soon as the connection it was asked over has ended: what was asked may have happened. */
async function answered<T>(life: Life, answer: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const ended = () => reject(new BusUnreachableError("the connection to NATS ended before an answer came"));
  life.asking.add(ended);
  try {
    return await Promise.race([answer, promise]);
  } finally {
    life.asking.delete(ended);
    answer.catch(() => {});
  }
}

type StoreKit = Pick<Kit, "log" | "clock" | "random" | "signal"> & Partial<Pick<Kit, "metrics">>;

export interface NatsOptions {
  /** e.g. `nats://127.0.0.1:4222`; several separated by commas. */
  readonly url: string;
  /** Shown by the server, e.g. `aggregator`; says what this process may do, too. */
  readonly name: string;
  readonly files?: BusFiles;
  /** Copies of each table, at least; default 1. */
  readonly replicas?: number;
  readonly kit: StoreKit;
}

/** Waiting does not help. */
function isFatal(error: unknown): error is BusAssetError | BusServerError | BusForbiddenError {
  return (
    error instanceof BusAssetError || error instanceof BusServerError || error instanceof BusForbiddenError
  );
}

/** The store on NATS servers with JetStream. Connects in the background and again for ever. */
export class NatsStore implements Store {
  readonly #options: NatsOptions;
  readonly #access: BusAccess;
  readonly #changed = new Signal();
  readonly #closed = new AbortController();
  readonly #signal: AbortSignal;
  readonly #running: Promise<void>;
  readonly #refused = new Set<string>();
  readonly log: BusLog;
  #life: Life | null = null;
  #fatal: Error | null = null;
  #connects = 0;

  constructor(options: NatsOptions) {
    this.#options = options;
    this.#access = accessOf(options.name);
    this.#signal = AbortSignal.any([options.kit.signal, this.#closed.signal]);
    this.log = new NatsLog({
      alive: (signal) => this.#alive(signal),
      now: () => this.#now(),
      kit: options.kit,
    });
    this.#running = this.#run();
  }

  get connected(): boolean {
    return this.#life !== null;
  }

  /** Resolves at the first connection. @throws BusAssetError, BusServerError, BusForbiddenError */
  async ready(signal: AbortSignal): Promise<void> {
    await this.#alive(signal);
  }

  // --- the connection -----------------------------------------------------------------------------------------------

  async #run(): Promise<void> {
    try {
      const credentials = await readCredentials(this.#options.files ?? {});
      const connection = await this.#connect(credentials);
      if (connection !== null) await this.#serve(connection, credentials);
    } catch (error) {
      if (!isFatal(error)) throw error;
      this.#fail(error);
    }
  }

  async #connect({ options, who }: BusCredentials): Promise<NatsConnection | null> {
    const { kit, url, name } = this.#options;
    const backoff = new Backoff(100, 2000, kit.random.next);
    let told = false;
    while (!this.#signal.aborted) {
      try {
        return await connect({
          ...options,
          servers: url.split(","),
          name: `sluice-${name}`,
          maxReconnectAttempts: -1,
          // A credential may be revoked and come back while this process runs; only at the start it is an error.
          ignoreAuthErrorAbort: true,
          // Otherwise each request makes two Errors for their stacks, whether or not it fails.
          noAsyncTraces: true,
          reconnectTimeWait: 100,
          reconnectJitter: 100,
          pingInterval: 5000,
          maxPingOut: 2,
          timeout: 3000,
          ignoreClusterUpdates: false,
        });
      } catch (err) {
        if (isRefusal(err)) {
          throw new BusForbiddenError(`the bus at ${url} does not let ${name} in with ${who}`, {
            cause: err,
          });
        }
        if (!told) kit.log.warn({ err, url }, "no NATS server answers, trying on");
        told = true;
        await slept(kit.clock, backoff.next() + 50, this.#signal);
      }
    }
    return null;
  }

  async #serve(connection: NatsConnection, credentials: BusCredentials): Promise<void> {
    const { kit } = this.#options;
    const close = () =>
      void connection.close().catch((err: unknown) => kit.log.debug({ err }, "closing NATS"));
    // The end may have come while it was connecting: nobody would close it then, and its status would never end.
    if (this.#signal.aborted) close();
    else this.#signal.addEventListener("abort", close, { once: true });
    const closed = connection.closed();
    const begin = () => void this.#live(connection, credentials).catch((error: Error) => this.#fail(error));
    begin();
    for await (const status of connection.status()) {
      if (status.type === "disconnect") {
        kit.log.warn("NATS is gone, reconnecting");
        this.#connects++;
        this.#end("the connection ended");
      } else if (status.type === "reconnect") {
        kit.log.info("NATS is back");
        begin();
      } else if (status.type === "error") this.#complain(status.error);
    }
    this.#end("the connection ended");
    await closed;
  }

  #complain(err: Error): void {
    const what = err instanceof PermissionViolationError ? `${err.operation} ${err.subject}` : err.message;
    if (this.#refused.has(what) || this.#refused.size > 1000) return;
    this.#refused.add(what);
    this.#options.kit.log.error({ err }, "the bus refuses what this process asks");
  }

  #fail(error: Error): void {
    this.#fatal = error;
    this.#end("the bus cannot be used");
  }

  #end(why: string): void {
    const life = this.#life;
    this.#life = null;
    life?.over.abort(new Error(why));
    for (const ended of life?.asking ?? []) ended();
    this.#changed.notify();
  }

  // --- a life of the servers ----------------------------------------------------------------------------------------

  /** Until the connection breaks: assets are there, and `boot` is read before any table, and now and then. */
  async #live(connection: NatsConnection, credentials: BusCredentials): Promise<void> {
    const { kit } = this.#options;
    // A reconnect begins another of these.
    const mine = ++this.#connects;
    const backoff = new Backoff(50, 1000, kit.random.next);
    const began = kit.clock.monotonic();
    let unreadable = false;
    while (!this.#signal.aborted && !connection.isClosed() && mine === this.#connects) {
      try {
        const life = await this.#begin(connection, credentials);
        if (mine !== this.#connects || this.#signal.aborted || this.#fatal !== null) return;
        this.#life = life;
        this.#changed.notify();
        await this.#lasts(life);
        backoff.reset();
      } catch (err) {
        if (this.#signal.aborted) return;
        const early = kit.clock.monotonic() - began < JETSTREAM_MS && connection.info?.jetstream !== true;
        if (isFatal(err) && !early) throw err;
        if (err instanceof BadRecordError && !unreadable) {
          kit.log.error({ err }, "what tells the servers' lives apart cannot be read; delete that key");
          unreadable = true;
        } else kit.log.debug({ err }, "NATS does not serve JetStream yet");
        await slept(kit.clock, backoff.next() + 20, this.#signal);
      }
    }
  }

  async #begin(connection: NatsConnection, { tls, inboxPrefix }: BusCredentials): Promise<Life> {
    const { kit } = this.#options;
    const replicas = this.#options.replicas ?? 1;
    const { info } = connection;
    if (info === undefined) throw new BusUnreachableError("the server has not said who it is");
    checkServer(info, { replicas, tls });
    const jsm = await jetstreamManager(connection, { timeout: ANSWER_MS, checkAPI: false });
    const api = await patientApi(connection);
    const js = jetstream(connection, { timeout: ANSWER_MS, checkAPI: false });
    const known = this.#access.provisions ? await bootOf(api).catch(ifMissing) : null;
    if (this.#access.provisions) {
      const lost = await provision(api, jsm, { replicas });
      // Somebody took a bucket away under running servers: what holders and readers know of it is void.
      if (known !== null && lost.length > 0) {
        kit.log.warn({ tables: lost }, "tables were gone and have been made anew: another life begins");
        await writeBoot(js, kit, known.revision);
      }
    }
    const boot = (await bootOf(api)) ?? (this.#access.provisions ? await this.#firstBoot(js, api) : null);
    if (boot === null) throw new BusUnreachableError("nobody has set up the bus yet");
    return {
      connection,
      js,
      jsm,
      api,
      boot: boot.id,
      inboxPrefix,
      over: new AbortController(),
      asking: new Set(),
    };
  }

  /** Whoever finds no life makes one, and exactly one process wins. */
  async #firstBoot(js: JetStreamClient, api: PatientApi) {
    await writeBoot(js, this.#options.kit, 0);
    return bootOf(api);
  }

  /** Until the connection breaks, or the servers begin another life. */
  async #lasts(life: Life): Promise<void> {
    const { kit } = this.#options;
    const { signal } = life.over;
    while (await slept(kit.clock, BOOT_POLL_MS, AbortSignal.any([this.#signal, signal]))) {
      const found = await bootOf(life.api).catch((err: unknown) => {
        if (missing(err)) return null;
        kit.log.debug({ err }, "asking for the servers' life got no answer");
        return undefined;
      });
      if (found === undefined || found?.id === life.boot) continue;
      if (this.#life !== life) return;
      kit.log.warn("the servers have begun another life");
      this.#end("the servers have begun another life");
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

  // --- reading and writing ------------------------------------------------------------------------------------------

  async get(spec: TableSpec, key: string, signal: AbortSignal): Promise<StoredEntry | null> {
    signal.throwIfAborted();
    return this.#newest(this.#now(), spec, key, signal);
  }

  mayLag(spec: TableSpec): boolean {
    return !this.#access.asksLeader(spec);
  }

  async lastRevision(spec: TableSpec, signal: AbortSignal): Promise<number> {
    const life = await this.#alive(signal);
    return (await this.#newest(life, spec, ">", signal))?.revision ?? 0;
  }

  /** Asks until there is an answer: while a stream's leader is elected, questions get none. */
  async #newest(life: Life, spec: TableSpec, key: string, signal: AbortSignal): Promise<StoredEntry | null> {
    signal.throwIfAborted();
    const leader = this.#access.asksLeader(spec);
    // A request that was on its way when the connection broke goes out again after it: to servers that may have lost
    // everything. What they say is not what was asked.
    const answer = life.api.ask(
      (jsm) => (leader ? leaderMessage(jsm, spec, key) : this.#replicaMessage(jsm, spec, key)),
      () => this.#life === life && !signal.aborted,
    );
    return answered(life, answer);
  }

  /** What any replica has of a key. Where this process may ask, "nothing" is said by the leader alone. */
  async #replicaMessage(jsm: JetStreamManager, spec: TableSpec, key: string): Promise<StoredEntry | null> {
    const subject = subjectOf(spec, key);
    const found = await jsm.direct.getMessage(streamOf(spec), { last_by_subj: subject });
    if (found !== null) return stored(spec, found);
    if (!this.#access.asksState(spec)) return null;
    const { state } = await jsm.streams.info(streamOf(spec), { subjects_filter: subject });
    if ((state.subjects?.[subject] ?? 0) === 0) return null;
    throw new BusUnreachableError(`${subject}: the replica that answered lags behind`);
  }

  async put(
    spec: TableSpec,
    key: string,
    value: Uint8Array,
    expected: number | null,
    signal: AbortSignal,
  ): Promise<PutResult> {
    signal.throwIfAborted();
    const life = this.#now();
    const { js, connection } = life;
    const most = connection.info?.max_payload ?? Number.POSITIVE_INFINITY;
    if (value.byteLength > most) {
      throw new RecordTooLargeError(`${spec.name}/${key}: ${value.byteLength} bytes, the bus takes ${most}`);
    }
    return answered(life, putMessage(js, spec, key, value, expected));
  }

  async removeMessage(spec: TableSpec, revision: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#access.removes(spec)) return;
    const life = this.#now();
    try {
      await answered(life, life.jsm.streams.deleteMessage(streamOf(spec), revision, false));
    } catch (error) {
      // Overwritten meanwhile: the message is gone, which is what was asked for.
      if (!(error instanceof JetStreamApiError)) throw error;
    }
  }

  async follow(spec: TableSpec, filter: string, sink: FollowSink, signal: AbortSignal): Promise<void> {
    const { kit } = this.#options;
    const both = AbortSignal.any([signal, this.#signal]);
    const backoff = new Backoff(50, 1000, kit.random.next);
    const follower = new Follower(spec, filter, sink, this.#access, kit);
    while (!both.aborted) {
      try {
        const life = await this.#alive(both);
        await follower.follow(life, AbortSignal.any([both, life.over.signal]));
      } catch (err) {
        if (both.aborted) break;
        if (isFatal(err)) throw err;
        kit.log.debug({ err, table: spec.name }, "following a table broke off");
      }
      sink.disconnected();
      if (follower.heardSince()) backoff.reset();
      await slept(kit.clock, backoff.next(), both);
    }
  }

  async close(): Promise<void> {
    this.#closed.abort(new Error("closed"));
    await this.#running;
  }
}

/** Feeds one sink over any number of breaks. */
class Follower {
  readonly #spec: TableSpec;
  readonly #filter: string;
  readonly #sink: FollowSink;
  readonly #access: BusAccess;
  readonly #kit: StoreKit;
  #point: ResumePoint | null = null;
  #heard = false;

  constructor(spec: TableSpec, filter: string, sink: FollowSink, access: BusAccess, kit: StoreKit) {
    this.#spec = spec;
    this.#filter = filter;
    this.#sink = sink;
    this.#access = access;
    this.#kit = kit;
  }

  /** Whether the server has delivered anything, or said that there is nothing, since this was last asked. */
  heardSince(): boolean {
    const heard = this.#heard;
    this.#heard = false;
    return heard;
  }

  /** Until the tail breaks or the signal aborts. */
  async follow(life: Life, signal: AbortSignal): Promise<void> {
    const { clock } = this.#kit;
    const { jsm, boot, connection, inboxPrefix } = life;
    const stream = streamOf(this.#spec);
    // Who may not ask what stream this is cannot know that it is the same one, and takes a snapshot.
    const found = this.#access.asksState(this.#spec)
      ? await answered(
          life,
          life.api.ask((each) => each.streams.info(stream)),
        )
      : null;
    signal.throwIfAborted();
    const created = found === null ? null : String(found.created);
    const from =
      found === null || created === null
        ? null
        : resumeFrom(this.#point, {
            boot,
            created,
            lastSequence: found.state.last_seq,
            now: clock.monotonic(),
          });
    const begun = () => {
      if (from !== null) return this.#sink.resumed?.();
      this.#point = created === null ? null : { boot, created, sequence: 0, heardAt: clock.monotonic() };
      this.#sink.restart(boot);
    };
    await followTail(
      {
        connection,
        jsm,
        inboxPrefix,
        stream,
        prefix: subjectOf(this.#spec, ""),
        filter: this.#filter,
        from: from ?? 1,
        clock,
        signal,
      },
      {
        begun,
        heard: () => {
          this.#heard = true;
          if (this.#point !== null) this.#point = { ...this.#point, heardAt: clock.monotonic() };
        },
        entry: (entry) => {
          if (this.#point !== null) this.#point = { ...this.#point, sequence: entry.revision };
          this.#sink.entry(entry);
        },
        caughtUp: () => this.#sink.caughtUp(),
        stalled: () => this.#noteStall(),
      },
    );
  }

  /** The client's own `slowConsumer` is told of queues that it keeps; whoever is called for each message has none. */
  #noteStall(): void {
    this.#kit.metrics
      ?.counter(
        "sluice_bus_slow_consumer_total",
        "Times that the server held a table back because its reader had not taken in what was sent.",
        ["table"],
      )
      .inc({ table: this.#spec.name });
  }
}

/** A server that did not get the answer to its challenge in time refuses nobody: the link, or a machine, is slow. */
export function isRefusal(error: unknown): boolean {
  const refused = [error, (error as Error).cause].find((each) => each instanceof AuthorizationError);
  return refused !== undefined && !/timeout/i.test(refused.message);
}

const STREAM_NOT_FOUND = 10059;

function missing(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND;
}

function ifMissing(error: unknown): null {
  if (missing(error)) return null;
  throw error;
}

/** The newest message of a key as the stream's leader has it. */
async function leaderMessage(
  jsm: JetStreamManager,
  spec: TableSpec,
  key: string,
): Promise<StoredEntry | null> {
  const found = await jsm.streams.getMessage(streamOf(spec), { last_by_subj: subjectOf(spec, key) });
  if (found === null) return null;
  return { ...stored(spec, found), ...(isRelayed(found.header) && { value: new Uint8Array() }) };
}

interface Message {
  readonly subject: string;
  readonly seq: number;
  readonly time: Date;
  readonly data: Uint8Array;
}

function stored(spec: TableSpec, found: Message): StoredEntry {
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
    if (error instanceof JetStreamApiError && WRONG_LAST_SEQUENCE.has(error.code)) return { ok: false };
    throw error;
  }
}

/** The servers' present life, as the leader of its table has it. */
async function bootOf(api: PatientApi): Promise<{ id: string; revision: number } | null> {
  const found = await api.ask((jsm) => leaderMessage(jsm, bootTable, "id"));
  if (found === null) return null;
  const boot = decodeEnvelope(Boot, found.value, "boot/id").data;
  return { id: decode(Boot, boot, "boot/id").id, revision: found.revision };
}

async function writeBoot(
  js: JetStreamClient,
  { clock, random }: Pick<StoreKit, "clock" | "random">,
  expected: number,
): Promise<void> {
  const fresh: Boot = { v: 1, id: random.uuid(), at: clock.now() };
  await putMessage(js, bootTable, "id", encodeEnvelope({ v: 1, data: fresh }), expected);
}
