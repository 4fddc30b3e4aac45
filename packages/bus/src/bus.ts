import { randomBytes } from "node:crypto";
import {
  type Envelope,
  encodeEnvelope,
  type FencedTableSpec,
  membersTable,
  type Part,
  plainKeys,
  RecordTooLargeError,
  type TableSpec,
  type Trace,
} from "@sluice/contracts";
import { Backoff, type Kit, NewestByKey, slept } from "@sluice/service-kit";
import type { HoldOptions, PartHolder } from "./hold-options.ts";
import { Holder } from "./part-holder.ts";
import { shareFollowers } from "./shared-follow.ts";
import type { Store } from "./store.ts";
import { FencedView, PlainView, type TableView, type ViewOptions } from "./view.ts";

/** How often a live process says so; its record is gone three seconds after the last time. */
const HEARTBEAT_MS = 1000;
const HEARTBEAT_RETRY_MS = 100;

/** Writes plain tables: newest wins, level-triggered, written again when the servers have lost their memory. */
export interface PlainWriter<T> {
  set(key: string, value: T, trace?: Trace): void;
  remove(key: string): void;
  idle(): Promise<void>;
  readonly done: Promise<void>;
}

export interface Bus extends AsyncDisposable {
  readonly connected: boolean;
  /** `<role>.<process>`: this process, as claims and `members` name it. */
  readonly self: string;
  view<T>(spec: TableSpec<T>, options?: ViewOptions<T>): TableView<T>;
  hold<T>(
    spec: FencedTableSpec<T>,
    part: Part,
    options: Omit<HoldOptions, "kit" | "holder" | "isLive">,
  ): PartHolder<T>;
  writer<T>(spec: TableSpec<T>): PlainWriter<T>;
  /** One write of a plain table. @throws when the bus does not answer */
  publish<T>(spec: TableSpec<T>, key: string, value: T, trace?: Trace): Promise<void>;
  /** Shows this process in `members` until the signal of its kit aborts. */
  join(): Promise<void>;
  close(): Promise<void>;
}

export type BusKit = Pick<Kit, "log" | "metrics" | "clock" | "signal" | "health" | "injectDelay">;

export function createBus(store: Store, role: string, kit: BusKit): Bus {
  return new StoreBus(store, role, kit);
}

class StoreBus implements Bus {
  readonly #store: Store;
  /** The same, for holders: all of one process end with it, so they can share what they follow. */
  readonly #holders: Store;
  readonly #role: string;
  readonly #process = randomBytes(6).toString("hex");
  readonly #kit: BusKit;
  readonly #live = new Map<string, number>();
  #membersFollowed = false;

  constructor(store: Store, role: string, kit: BusKit) {
    this.#store = store;
    this.#holders = shareFollowers(store);
    this.#role = role;
    this.#kit = kit;
  }

  get connected(): boolean {
    return this.#store.connected;
  }

  get self(): string {
    return plainKeys.member(this.#role, this.#process);
  }

  view<T>(spec: TableSpec<T>, options: ViewOptions<T> = {}): TableView<T> {
    return isFenced(spec)
      ? new FencedView(this.#store, spec, options, this.#kit)
      : new PlainView(this.#store, spec, options, this.#kit);
  }

  hold<T>(
    spec: FencedTableSpec<T>,
    part: Part,
    options: Omit<HoldOptions, "kit" | "holder" | "isLive">,
  ): PartHolder<T> {
    this.#followMembers();
    return new Holder(this.#holders, spec, part, {
      ...options,
      kit: this.#kit,
      holder: this.self,
      isLive: (holder) => this.#isLive(holder),
    });
  }

  #followMembers(): void {
    if (this.#membersFollowed) return;
    this.#membersFollowed = true;
    const { clock } = this.#kit;
    void this.view(membersTable, { onChange: (key) => this.#live.set(key, clock.monotonic()) }).done;
  }

  #isLive(holder: string): boolean {
    const seen = this.#live.get(holder);
    const ttlMs = (membersTable.ttlSeconds ?? 0) * 1000;
    return holder !== this.self && seen !== undefined && this.#kit.clock.monotonic() - seen < ttlMs + 1000;
  }

  async publish<T>(spec: TableSpec<T>, key: string, value: T, trace?: Trace): Promise<void> {
    const envelope: Envelope<T> = { v: 1, ...(trace === undefined ? {} : { trace }), data: value };
    await this.#store.put(spec, key, encodeEnvelope(envelope), null, this.#kit.signal);
  }

  writer<T>(spec: TableSpec<T>): PlainWriter<T> {
    return new StorePlainWriter(this.#store, spec, this.#kit);
  }

  async join(): Promise<void> {
    const { clock, signal, log } = this.#kit;
    const startedAt = clock.now();
    let told = false;
    let waitMs: number;
    do {
      try {
        waitMs = HEARTBEAT_MS;
        await this.publish(membersTable, this.self, {
          role: this.#role,
          process: this.#process,
          pid: process.pid,
          startedAt,
          at: clock.now(),
        });
        told = false;
      } catch (err) {
        if (!signal.aborted && !told) log.debug({ err }, "could not say that this process lives");
        told = true;
        // A bus that is not there yet may come any moment, and a process that nobody sees looks missing.
        waitMs = HEARTBEAT_RETRY_MS;
      }
    } while (await slept(clock, waitMs, signal));
  }

  async close(): Promise<void> {
    await this.#store.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function isFenced<T>(spec: TableSpec<T>): spec is FencedTableSpec<T> {
  return spec.keys !== undefined;
}

class StorePlainWriter<T> implements PlainWriter<T> {
  readonly #store: Store;
  readonly #spec: TableSpec<T>;
  readonly #kit: BusKit;
  readonly #wanted = new Map<string, { value: T | undefined; trace?: Trace }>();
  readonly #queue = new NewestByKey<string, true>();
  readonly done: Promise<void>;

  constructor(store: Store, spec: TableSpec<T>, kit: BusKit) {
    this.#store = store;
    this.#spec = spec;
    this.#kit = kit;
    this.done = Promise.all([
      this.#queue.run(16, kit.signal, (key) => this.#write(key)),
      this.#rewriteOnBoot(),
    ]).then(() => {});
  }

  set(key: string, value: T, trace?: Trace): void {
    this.#wanted.set(key, { value, ...(trace === undefined ? {} : { trace }) });
    this.#queue.set(key, true);
  }

  remove(key: string): void {
    this.#wanted.set(key, { value: undefined });
    this.#queue.set(key, true);
  }

  async idle(): Promise<void> {
    await this.#queue.idle();
  }

  async #rewriteOnBoot(): Promise<void> {
    const { signal, clock } = this.#kit;
    let known: string | null = null;
    while (await slept(clock, HEARTBEAT_MS, signal)) {
      const boot: string | null = await this.#store.boot(signal).catch(() => null);
      if (boot === null || boot === known) continue;
      if (known !== null) for (const key of this.#wanted.keys()) this.#queue.set(key, true);
      known = boot;
    }
  }

  async #write(key: string): Promise<void> {
    const { signal, clock, log } = this.#kit;
    const backoff = new Backoff(50, 2000);
    while (!signal.aborted) {
      const wanted = this.#wanted.get(key);
      if (wanted === undefined) return;
      const envelope: Envelope<T> = {
        v: 1,
        ...(wanted.trace === undefined ? {} : { trace: wanted.trace }),
        ...(wanted.value === undefined ? { deleted: true } : { data: wanted.value }),
      };
      try {
        await this.#store.put(this.#spec, key, encodeEnvelope(envelope), null, signal);
        if (wanted.value === undefined && this.#wanted.get(key) === wanted) this.#wanted.delete(key);
        return;
      } catch (err) {
        if (signal.aborted) return;
        if (err instanceof RecordTooLargeError) return log.error({ err, key }, "record refused");
        log.debug({ err, table: this.#spec.name, key }, "write got no answer, writing again");
        if (!(await slept(clock, backoff.next() + 20, signal))) return;
      }
    }
  }
}
