import { JetStreamApiError, type JetStreamManager } from "@nats-io/jetstream";
import {
  BusUnreachableError,
  RecordTooLargeError,
  streamOf,
  subjectOf,
  type TableSpec,
} from "@sluice/contracts";
import { Backoff, slept } from "@sluice/service-kit";
import { accessOf, type BusAccess } from "./bus-access.ts";
import type { BusLog } from "./log.ts";
import { NatsFollower } from "./nats-follower.ts";
import { answered, isFatal, type Life, NatsLives, type NatsOptions } from "./nats-lives.ts";
import { NatsLog } from "./nats-log.ts";
import { leaderMessage, putMessage, stored } from "./nats-messages.ts";
import type { FollowSink, PutResult, Store, StoredEntry } from "./store.ts";

/** The store on NATS servers with JetStream. Connects in the background and again for ever. */
export class NatsStore implements Store {
  readonly #access: BusAccess;
  readonly #lives: NatsLives;
  readonly log: BusLog;

  constructor(options: NatsOptions) {
    this.#access = accessOf(options.name);
    this.#lives = new NatsLives(options, this.#access.provisions);
    this.log = new NatsLog(this.#lives);
  }

  get connected(): boolean {
    return this.#lives.present !== null;
  }

  /** Resolves at the first connection. @throws BusAssetError, BusServerError, BusForbiddenError */
  async ready(signal: AbortSignal): Promise<void> {
    await this.#lives.alive(signal);
  }

  async boot(signal: AbortSignal): Promise<string> {
    return (await this.#lives.alive(signal)).boot;
  }

  // --- reading and writing ------------------------------------------------------------------------------------------

  async get(spec: TableSpec, key: string, signal: AbortSignal): Promise<StoredEntry | null> {
    signal.throwIfAborted();
    return this.#newest(this.#lives.now(), spec, key, signal);
  }

  mayLag(spec: TableSpec): boolean {
    return !this.#access.asksLeader(spec);
  }

  async lastRevision(spec: TableSpec, signal: AbortSignal, filter = ">"): Promise<number> {
    const life = await this.#lives.alive(signal);
    return (await this.#newest(life, spec, filter, signal))?.revision ?? 0;
  }

  /** Asks until there is an answer: while a stream's leader is elected, questions get none. */
  async #newest(life: Life, spec: TableSpec, key: string, signal: AbortSignal): Promise<StoredEntry | null> {
    signal.throwIfAborted();
    const leader = this.#access.asksLeader(spec);
    // A request that was on its way when the connection broke goes out again after it: to servers that may have lost
    // everything. What they say is not what was asked.
    const answer = life.api.ask(
      (jsm) => (leader ? leaderMessage(jsm, spec, key) : this.#replicaMessage(jsm, spec, key)),
      () => this.#lives.present === life && !signal.aborted,
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
    const life = this.#lives.now();
    const most = life.connection.info?.max_payload ?? Number.POSITIVE_INFINITY;
    if (value.byteLength > most) {
      throw new RecordTooLargeError(`${spec.name}/${key}: ${value.byteLength} bytes, the bus takes ${most}`);
    }
    return putMessage(life.publisher, spec, key, value, expected);
  }

  async removeMessage(spec: TableSpec, revision: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#access.removes(spec)) return;
    const life = this.#lives.now();
    try {
      await answered(life, life.jsm.streams.deleteMessage(streamOf(spec), revision, false));
    } catch (error) {
      // Overwritten meanwhile: the message is gone, which is what was asked for.
      if (!(error instanceof JetStreamApiError)) throw error;
    }
  }

  async follow(spec: TableSpec, filter: string, sink: FollowSink, signal: AbortSignal): Promise<void> {
    const { kit } = this.#lives;
    const both = AbortSignal.any([signal, this.#lives.signal]);
    const backoff = new Backoff(50, 1000, kit.random.next);
    const follower = new NatsFollower(spec, filter, sink, this.#access, kit);
    while (!both.aborted) {
      try {
        const life = await this.#lives.alive(both);
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
    await this.#lives.close();
  }
}
