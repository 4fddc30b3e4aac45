import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { type NatsConnection, PermissionViolationError } from "@nats-io/transport-node";
import {
  BadRecordError,
  BusAssetError,
  BusForbiddenError,
  BusServerError,
  BusUnreachableError,
} from "@sluice/contracts";
import { Backoff, type Kit, slept } from "@sluice/service-kit";
import { type BusCredentials, type BusFiles, readCredentials } from "./credentials.ts";
import { bootOf, ifMissing, writeBoot } from "./nats-boot.ts";
import { connectNats, type NatsServers } from "./nats-connect.ts";
import { isMissing } from "./nats-messages.ts";
import { ANSWER_MS, NatsPublisher } from "./nats-publisher.ts";
import { type PatientApi, patientApi } from "./patient-api.ts";
import { provision } from "./provision.ts";
import { checkServer } from "./server-check.ts";
import { Signal } from "./signal.ts";

/** How often the servers' present life is asked for, ms: a cluster may lose its memory without losing a connection. */
const BOOT_POLL_MS = 2000;
/** How long a server that just starts may be without JetStream, ms. */
const JETSTREAM_MS = 5000;

export type StoreKit = Pick<Kit, "log" | "clock" | "random" | "signal"> & Partial<Pick<Kit, "metrics">>;

export interface NatsOptions extends NatsServers {
  readonly files?: BusFiles;
  /** Copies of each table, at least; default 1. */
  readonly replicas?: number;
  readonly kit: StoreKit;
}

/** The time between a connection's beginning, or that of the servers' life, and its end. */
export interface Life {
  readonly connection: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  readonly publisher: NatsPublisher;
  readonly api: PatientApi;
  readonly boot: string;
  readonly inboxPrefix: string;
  readonly over: AbortController;
  /** Told when it is over; a set of our own, because questions are many and an AbortSignal keeps each listener. */
  readonly asking: Set<() => void>;
}

/** An answer, or an error as soon as the connection it was asked over has ended: what was asked may have happened. */
export async function answered<T>(life: Life, answer: Promise<T>): Promise<T> {
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

/** Waiting does not help. */
export function isFatal(error: unknown): error is BusAssetError | BusServerError | BusForbiddenError {
  return (
    error instanceof BusAssetError || error instanceof BusServerError || error instanceof BusForbiddenError
  );
}

/** Keeps one connection to the servers, in the background and for ever, and tells their lives apart. */
export class NatsLives {
  readonly kit: StoreKit;
  readonly #options: NatsOptions;
  /** This process creates what is missing on the servers, a life included. */
  readonly #provisions: boolean;
  readonly #changed = new Signal();
  readonly #closed = new AbortController();
  readonly #signal: AbortSignal;
  readonly #running: Promise<void>;
  readonly #refused = new Set<string>();
  #life: Life | null = null;
  #fatal: Error | null = null;
  #connects = 0;

  constructor(options: NatsOptions, provisions: boolean) {
    this.kit = options.kit;
    this.#options = options;
    this.#provisions = provisions;
    this.#signal = AbortSignal.any([options.kit.signal, this.#closed.signal]);
    this.#running = this.#run();
  }

  /** Aborted by the end of the process, or by `close`. */
  get signal(): AbortSignal {
    return this.#signal;
  }

  /** null: no server answers, or it has not been set up. */
  get present(): Life | null {
    return this.#life;
  }

  /** Waits for a life. @throws BusAssetError, BusServerError, BusForbiddenError */
  async alive(signal: AbortSignal): Promise<Life> {
    for (;;) {
      if (this.#fatal !== null) throw this.#fatal;
      if (this.#life !== null) return this.#life;
      await this.#changed.wait(signal);
    }
  }

  /** @throws BusUnreachableError when there is none, and as `alive` does */
  now(): Life {
    if (this.#fatal !== null) throw this.#fatal;
    if (this.#life === null) {
      throw new BusUnreachableError(`no NATS server answers at ${this.#options.url}`);
    }
    return this.#life;
  }

  async close(): Promise<void> {
    this.#closed.abort(new Error("closed"));
    await this.#running;
  }

  // --- the connection -----------------------------------------------------------------------------------------------

  async #run(): Promise<void> {
    try {
      const credentials = await readCredentials(this.#options.files ?? {});
      const connection = await connectNats(this.#options, credentials, this.#signal);
      if (connection !== null) await this.#serve(connection, credentials);
    } catch (error) {
      if (!isFatal(error)) throw error;
      this.#fail(error);
    }
  }

  async #serve(connection: NatsConnection, credentials: BusCredentials): Promise<void> {
    const { kit } = this;
    const close = () =>
      void connection.close().catch((err: unknown) => kit.log.debug({ err }, "closing NATS"));
    // Closing ends the statuses that are being listened to, and no others: one taken later would never end.
    const statuses = connection.status();
    // The end may have come while it was connecting: nobody would close it then.
    if (this.#signal.aborted) close();
    else this.#signal.addEventListener("abort", close, { once: true });
    const closed = connection.closed();
    const { inboxPrefix } = credentials;
    const publisher = new NatsPublisher({ connection, inboxPrefix, clock: kit.clock });
    const begin = () =>
      void this.#live(connection, publisher, credentials).catch((error: Error) => this.#fail(error));
    begin();
    for await (const status of statuses) {
      if (status.type === "disconnect") {
        kit.log.warn("NATS is gone, reconnecting");
        this.#connects++;
        this.#end("the connection ended");
      } else if (status.type === "reconnect") {
        kit.log.info("NATS is back");
        begin();
      } else if (status.type === "error") {
        if (status.error instanceof PermissionViolationError) publisher.refused(status.error);
        this.#complain(status.error);
      }
    }
    this.#end("the connection ended");
    await closed;
  }

  #complain(err: Error): void {
    const what = err instanceof PermissionViolationError ? `${err.operation} ${err.subject}` : err.message;
    if (this.#refused.has(what) || this.#refused.size > 1000) return;
    this.#refused.add(what);
    this.kit.log.error({ err }, "the bus refuses what this process asks");
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
    life?.publisher.drop(new BusUnreachableError("the connection to NATS ended before an answer came"));
    this.#changed.notify();
  }

  // --- a life of the servers ----------------------------------------------------------------------------------------

  /** Until the connection breaks: assets are there, and `boot` is read before any table, and now and then. */
  async #live(
    connection: NatsConnection,
    publisher: NatsPublisher,
    credentials: BusCredentials,
  ): Promise<void> {
    const { kit } = this;
    // A reconnect begins another of these.
    const mine = ++this.#connects;
    const backoff = new Backoff(50, 1000, kit.random.next);
    const began = kit.clock.monotonic();
    let unreadable = false;
    while (!this.#signal.aborted && !connection.isClosed() && mine === this.#connects) {
      try {
        const life = await this.#begin(connection, publisher, credentials);
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

  async #begin(
    connection: NatsConnection,
    publisher: NatsPublisher,
    { tls, inboxPrefix }: BusCredentials,
  ): Promise<Life> {
    const { kit } = this;
    const replicas = this.#options.replicas ?? 1;
    const { info } = connection;
    if (info === undefined) throw new BusUnreachableError("the server has not said who it is");
    checkServer(info, { replicas, tls });
    const jsm = await jetstreamManager(connection, { timeout: ANSWER_MS, checkAPI: false });
    const api = await patientApi(connection);
    const js = jetstream(connection, { timeout: ANSWER_MS, checkAPI: false });
    const known = this.#provisions ? await bootOf(api).catch(ifMissing) : null;
    if (this.#provisions) {
      const lost = await provision(api, jsm, { replicas });
      // Somebody took a bucket away under running servers: what holders and readers know of it is void.
      if (known !== null && lost.length > 0) {
        kit.log.warn({ tables: lost }, "tables were gone and have been made anew: another life begins");
        await writeBoot(publisher, kit, known.revision);
      }
    }
    const boot = (await bootOf(api)) ?? (this.#provisions ? await this.#firstBoot(publisher, api) : null);
    if (boot === null) throw new BusUnreachableError("nobody has set up the bus yet");
    return {
      connection,
      js,
      jsm,
      publisher,
      api,
      boot: boot.id,
      inboxPrefix,
      over: new AbortController(),
      asking: new Set(),
    };
  }

  /** Whoever finds no life makes one, and exactly one process wins. */
  async #firstBoot(publisher: NatsPublisher, api: PatientApi) {
    await writeBoot(publisher, this.kit, 0);
    return bootOf(api);
  }

  /** Until the connection breaks, or the servers begin another life. */
  async #lasts(life: Life): Promise<void> {
    const { kit } = this;
    const { signal } = life.over;
    while (await slept(kit.clock, BOOT_POLL_MS, AbortSignal.any([this.#signal, signal]))) {
      const found = await bootOf(life.api).catch((err: unknown) => {
        if (isMissing(err)) return null;
        kit.log.debug({ err }, "asking for the servers' life got no answer");
        return undefined;
      });
      if (found === undefined || found?.id === life.boot) continue;
      if (this.#life !== life) return;
      kit.log.warn("the servers have begun another life");
      this.#end("the servers have begun another life");
    }
  }
}
