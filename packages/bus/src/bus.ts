import {
  type Envelope,
  encodeEnvelope,
  type FencedTableSpec,
  membersTable,
  type ObjectFindings,
  type Part,
  RecordTooLargeError,
  type TableSpec,
  type TakenBack,
  type Trace,
} from "@sluice/contracts";
import { Backoff, type Kit, NewestByKey, slept } from "@sluice/service-kit";
import { DroppedRecords } from "./dropped-records.ts";
import type { HoldOptions, PartHolder } from "./hold-options.ts";
import { LayoutFollower, type LayoutRequest } from "./layout.ts";
import type { BusLog } from "./log.ts";
import { Membership } from "./membership.ts";
import { Holder } from "./part-holder.ts";
import { shareFollowers } from "./shared-follow.ts";
import type { Store } from "./store.ts";
import { FencedView, PlainView, type TableView, type ViewOptions } from "./view.ts";
import { WritePass, WriteWindow } from "./write-window.ts";

/** How often a writer of plain tables looks whether the servers have lost their memory. */
const BOOT_POLL_MS = 1000;
/** How long a process that ends waits for its heirs, or for the bus to take its farewell, ms. */
const HAND_OVER_MS = 1000;

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
  /**
   * Aborts once the kit's signal has aborted and what this process holds has been handed over: for everything that
   * holders need until then.
   */
  readonly signal: AbortSignal;
  /** Writes a part for as long as it is this process's turn, and stands by otherwise. */
  hold<T>(spec: FencedTableSpec<T>, part: Part, options: HoldRequest): PartHolder<T>;
  /** Follows into how many shards a scope is cut; resolves when the request's signal has aborted. */
  layout(spec: FencedTableSpec, scope: string, request: LayoutRequest): Promise<void>;
  /** How this process ranks for a part among the live ones of its role; see PartHolder.rank. */
  rankOf(spec: TableSpec, part: Part): number;
  /** Resolves when a rank may be another. */
  ranksChanged(signal: AbortSignal): Promise<void>;
  /**
   * @param owns asked before a value is written again because the servers lost it; default: always
   * @param signal ends this writer alone; default: only the kit's signal does
   */
  writer<T>(spec: TableSpec<T>, owns?: (value: T) => boolean, signal?: AbortSignal): PlainWriter<T>;
  /** One write of a plain table. @throws when the bus does not answer */
  publish<T>(spec: TableSpec<T>, key: string, value: T, trace?: Trace): Promise<void>;
  /**
   * One write of a plain table over exactly what its writer has read there; undefined: a tombstone.
   * @param over the revision that was read, 0 for none, and the number of this change: see Envelope.generation
   * @param takenBack what the tombstone says of whose word it is
   * @returns false when another revision is there
   * @throws when no answer came; it may land yet, for as long as that revision is there
   */
  compareAndSet<T>(
    spec: TableSpec<T>,
    key: string,
    value: T | undefined,
    over: { readonly revision: number; readonly generation: number },
    takenBack?: TakenBack,
  ): Promise<boolean>;
  /**
   * Shows this process in `members` until it ends; whoever holds a part has joined.
   * @param serves scopes whose parts it can hold, e.g. clusters; default: all
   */
  join(serves?: readonly string[]): Promise<void>;
  /** Live processes of this one's role, itself among them; those that were known last while the bus is away. */
  readonly fellows: number;
  /** From now on this process's heartbeats show what it finds wrong with people's objects; undefined: nothing. */
  showObjects(findings: () => ObjectFindings | undefined): void;
  /** Records that this process left out or could not write; its heartbeat names the newest. */
  readonly dropped: Pick<DroppedRecords, "note" | "mend">;
  /** What became of the logged tables over time; null: nobody keeps it. */
  readonly log: BusLog | null;
  close(): Promise<void>;
}

export type BusKit = Pick<Kit, "log" | "metrics" | "clock" | "random" | "signal" | "health" | "injectDelay">;

type InnerKit = BusKit & { readonly dropped: DroppedRecords };

export type HoldRequest = Omit<HoldOptions, "kit" | "holder" | "turns" | "window">;

/** @param end aborted once everything is handed over; default: one of its own. The store must live as long. */
export function createBus(
  store: Store,
  role: string,
  kit: BusKit,
  end: AbortController = new AbortController(),
): Bus {
  return new StoreBus(store, role, kit, end);
}

class StoreBus implements Bus {
  readonly #store: Store;
  /** The same, for holders: all of one process end with it, so they can share what they follow. */
  readonly #holders: Store;
  readonly #kit: InnerKit;
  readonly #membership: Membership;
  readonly #window = new WriteWindow();
  readonly #holding = new Set<{ readonly holding: boolean; readonly pending: number; hasHeir(): boolean }>();
  #objects: () => ObjectFindings | undefined = () => undefined;

  constructor(store: Store, role: string, outer: BusKit, end: AbortController) {
    const dropped = new DroppedRecords();
    const kit = { ...outer, signal: end.signal, dropped };
    this.#store = store;
    this.#holders = shareFollowers(store);
    this.#kit = kit;
    this.#membership = new Membership({
      role,
      kit,
      publish: (key, record) => this.publish(membersTable, key, record),
      view: (options) => this.view(membersTable, options),
      problems: () => dropped.problems,
      objects: () => this.#objects(),
    });
    this.#measure();
    const stop = () => void this.#end(outer.signal.reason, end);
    if (outer.signal.aborted) stop();
    else outer.signal.addEventListener("abort", stop, { once: true });
  }

  get signal(): AbortSignal {
    return this.#kit.signal;
  }

  showObjects(findings: () => ObjectFindings | undefined): void {
    this.#objects = findings;
  }

  #measure(): void {
    const { metrics } = this.#kit;
    metrics.watched(
      "sluice_bus_writes_in_flight",
      "Writes that wait for the bus's answer.",
      () => this.#window.inFlight,
    );
    metrics.watched(
      "sluice_bus_writes_pending",
      "Keys of this process's parts that wait to be written.",
      () => {
        let pending = 0;
        for (const each of this.#holding) pending += each.pending;
        return pending;
      },
    );
  }

  /** Never rejects: whatever goes wrong, the end comes. */
  async #end(reason: unknown, end: AbortController): Promise<void> {
    const heldNow = () => [...this.#holding].some((each) => each.holding && each.hasHeir());
    try {
      if (this.connected && this.#membership.joined) await this.#handOver(heldNow);
    } catch (err) {
      this.#kit.log.warn({ err }, "could not hand over; others take over once this process has been silent");
    }
    end.abort(reason);
  }

  /** Others claim at the news; until they have, this process writes on. */
  async #handOver(heldNow: () => boolean): Promise<void> {
    const { clock, signal, log } = this.#kit;
    const began = clock.monotonic();
    const late = new AbortController();
    const limit = slept(clock, HAND_OVER_MS, AbortSignal.any([signal, late.signal]));
    const handedOver = async () => {
      await this.#membership.leave();
      while (heldNow() && !late.signal.aborted) await clock.sleep(5, late.signal);
    };
    await Promise.race([handedOver().catch(() => {}), limit]);
    late.abort();
    const took = Math.round(clock.monotonic() - began);
    if (heldNow()) log.warn({ took }, "some of what this process held was not taken over in time");
    else log.info({ took }, "what this process held is handed over");
  }

  get connected(): boolean {
    return this.#store.connected;
  }

  get self(): string {
    return this.#membership.self;
  }

  get dropped(): DroppedRecords {
    return this.#kit.dropped;
  }

  get log(): BusLog | null {
    return this.#store.log ?? null;
  }

  view<T>(spec: TableSpec<T>, options: ViewOptions<T> = {}): TableView<T> {
    const kit = this.#until(options.signal);
    return isFenced(spec)
      ? new FencedView(this.#store, spec, options, kit)
      : new PlainView(this.#store, spec, options, kit);
  }

  hold<T>(spec: FencedTableSpec<T>, part: Part, options: HoldRequest): PartHolder<T> {
    const { log } = this.#kit;
    this.join().catch((err: unknown) => log.error({ err }, "this process cannot be seen by others"));
    const holder = new Holder<T>(this.#holders, spec, part, {
      ...options,
      kit: this.#kit,
      holder: this.self,
      turns: this.#membership,
      window: this.#window,
    });
    const held = {
      get pending() {
        return holder.pending;
      },
      get holding() {
        return holder.holding;
      },
      hasHeir: () => this.#membership.hasHeir(spec.name, part),
    };
    this.#holding.add(held);
    void holder.done.finally(() => this.#holding.delete(held)).catch(() => {});
    return holder;
  }

  async layout(spec: FencedTableSpec, scope: string, request: LayoutRequest): Promise<void> {
    await new LayoutFollower(this.#store, spec, scope, request, this.#kit).done;
  }

  rankOf(spec: TableSpec, part: Part): number {
    return this.#membership.rankOf(spec.name, part);
  }

  async ranksChanged(signal: AbortSignal): Promise<void> {
    await this.#membership.changed(signal);
  }

  async publish<T>(spec: TableSpec<T>, key: string, value: T, trace?: Trace): Promise<void> {
    const envelope: Envelope<T> = { v: 1, ...(trace === undefined ? {} : { trace }), data: value };
    await this.#store.put(spec, key, encodeEnvelope(envelope), null, this.#kit.signal);
  }

  async compareAndSet<T>(
    spec: TableSpec<T>,
    key: string,
    value: T | undefined,
    { revision, generation }: { readonly revision: number; readonly generation: number },
    takenBack?: TakenBack,
  ): Promise<boolean> {
    const tombstone = { deleted: true, ...(takenBack === undefined ? {} : { takenBack }) } as const;
    const said = value === undefined ? tombstone : { data: value };
    const bytes = encodeEnvelope({ v: 1, generation, ...said });
    const { ok } = await this.#store.put(spec, key, bytes, revision, this.#kit.signal);
    return ok;
  }

  writer<T>(
    spec: TableSpec<T>,
    owns: (value: T) => boolean = () => true,
    signal?: AbortSignal,
  ): PlainWriter<T> {
    return new StorePlainWriter(this.#store, spec, owns, this.#until(signal), this.#window);
  }

  #until(signal: AbortSignal | undefined): InnerKit {
    return signal === undefined
      ? this.#kit
      : { ...this.#kit, signal: AbortSignal.any([this.#kit.signal, signal]) };
  }

  get fellows(): number {
    return this.#membership.fellows;
  }

  async join(serves?: readonly string[]): Promise<void> {
    await this.#membership.join(serves);
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
  readonly #owns: (value: T) => boolean;
  readonly #kit: InnerKit;
  readonly #window: WriteWindow;
  readonly #wanted = new Map<string, { value: T | undefined; trace?: Trace }>();
  readonly #queue = new NewestByKey<string, true>();
  readonly done: Promise<void>;

  constructor(
    store: Store,
    spec: TableSpec<T>,
    owns: (value: T) => boolean,
    kit: InnerKit,
    window: WriteWindow,
  ) {
    this.#store = store;
    this.#window = window;
    this.#spec = spec;
    this.#owns = owns;
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
    while (await slept(clock, BOOT_POLL_MS, signal)) {
      const boot: string | null = await this.#store.boot(signal).catch(() => null);
      if (boot === null || boot === known) continue;
      if (known !== null) this.#writeAgain();
      known = boot;
    }
  }

  #writeAgain(): void {
    for (const [key, { value }] of this.#wanted) {
      if (value === undefined || this.#owns(value)) this.#queue.set(key, true);
      // Whoever owns it now knows better, and has written it or will.
      else this.#wanted.delete(key);
    }
  }

  async #write(key: string): Promise<void> {
    const { signal, clock, log, random, metrics, dropped } = this.#kit;
    const backoff = new Backoff(50, 2000, random.next);
    const pass = new WritePass(this.#window, this.#spec.name);
    while (!signal.aborted) {
      await pass.enter(true);
      const wanted = this.#wanted.get(key);
      if (wanted === undefined) return pass.leave();
      const envelope: Envelope<T> = {
        v: 1,
        ...(wanted.trace === undefined ? {} : { trace: wanted.trace }),
        ...(wanted.value === undefined ? { deleted: true } : { data: wanted.value }),
      };
      try {
        await this.#store.put(this.#spec, key, encodeEnvelope(envelope), null, signal);
        dropped.mend(`${this.#spec.name}/${key}`);
        if (wanted.value === undefined && this.#wanted.get(key) === wanted) this.#wanted.delete(key);
        return;
      } catch (err) {
        if (signal.aborted) return;
        if (err instanceof RecordTooLargeError) {
          metrics.writes.inc({ table: this.#spec.name, result: "too_large" });
          dropped.note(`${this.#spec.name}/${key}`, err.message);
          return log.error({ err, key }, "record refused");
        }
        log.debug({ err, table: this.#spec.name, key }, "write got no answer, writing again");
        pass.leave();
        if (!(await slept(clock, backoff.next() + 20, signal))) return;
      } finally {
        pass.leave();
      }
    }
  }
}
