import {
  type MemberRecord,
  membersTable,
  type ObjectFindings,
  type Part,
  plainKeys,
} from "@sluice/contracts";
import { type Kit, LinkedAbort, slept } from "@sluice/service-kit";
import { type Candidate, partId, rank } from "./ranking.ts";
import { Signal } from "./signal.ts";
import type { TableView, ViewOptions } from "./view.ts";

/** How often a live process says so, ms. */
const HEARTBEAT_MS = 1000;
const HEARTBEAT_RETRY_MS = 100;
/** Heartbeats without an answer yet at most. */
const MOST_IN_FLIGHT = 4;
/** News between heartbeats are gathered for so long, ms. */
const GATHER_MS = 50;

/** How a holder stands to its part, for people. */
export type PartState = "synced" | "holding" | "idle";

/** Whose turn a part is among the processes that could write it. */
export interface Turns {
  /** 0: this process should hold the part; 1: it should stand by; -1: it is not among those who can. */
  rankOf(table: string, part: Part): number;
  /** Whether the process that a claim names is known to live; never true of this process. */
  isLive(holder: string): boolean;
  /** False once this process has not been heard on the bus for as long as others wait before they take its parts. */
  readonly alive: boolean;
  /** A source could not be read in time: rank last for it, or no longer. */
  resign(table: string, part: Part, resigned: boolean): void;
  /** Resolves when any of these answers may be another. */
  changed(signal: AbortSignal): Promise<void>;
  /** What a holder shows has changed: it is told soon, not only with the next heartbeat. */
  moved(): void;
  /** Shows a holder in `members`; undo with what is returned. */
  show(table: string, part: Part, state: () => PartState): () => void;
}

export interface MembershipPorts {
  readonly role: string;
  readonly kit: Pick<Kit, "log" | "clock" | "signal" | "random">;
  publish(key: string, record: MemberRecord): Promise<void>;
  /** Records that this process left out or could not write. */
  problems(): NonNullable<MemberRecord["problems"]>;
  /** What this process finds wrong with people's objects; undefined: nothing, or it is not the one that says so. */
  objects(): ObjectFindings | undefined;
  view(options: ViewOptions<MemberRecord>): Pick<TableView<MemberRecord>, "caughtUp" | "done">;
}

interface Seen {
  readonly record: MemberRecord;
  /** Monotonic, ms. */
  readonly heardAt: number;
  /** What of the record ranking rests on; as text too, to see whether it is another. */
  readonly candidate: Candidate;
  readonly essence: string;
}

/**
 * The live processes of a role. Each keeps one record in `members`, renewed each second; one that has not been heard for
 * the table's TTL is dead. That is judged by our own monotonic clock, and only while our own heartbeats come back over
 * the same feed: a bus that stalls kills nobody.
 */
export class Membership implements Turns {
  readonly #ports: MembershipPorts;
  readonly #process: string;
  readonly #ttlMs = (membersTable.ttlSeconds ?? 3) * 1000;
  readonly #seen = new Map<string, Seen>();
  readonly #shown = new Map<string, () => PartState>();
  readonly #resigned = new Set<string>();
  readonly #changed = new Signal();
  readonly #beatNow = new Signal();
  readonly #startedAt: number;
  #serves: readonly string[] | undefined;
  /** Silence of the bus was logged already. */
  #told = false;
  /** There is news that no heartbeat has told yet. */
  #news = false;
  #leaving = false;
  /** Our own heartbeat as it came back last, and when the last one that was acknowledged had been sent; monotonic. */
  #selfHeardAt = Number.NEGATIVE_INFINITY;
  #ackedAt = Number.NEGATIVE_INFINITY;
  /** When anything of `members` was delivered last. */
  #feedAt = Number.NEGATIVE_INFINITY;
  #caughtUp = false;
  #running: Promise<void> | null = null;
  /** Ranks are asked for far more often than they change. */
  readonly #ranks = new Map<string, readonly string[]>();

  constructor(ports: MembershipPorts) {
    this.#ports = ports;
    // 48 bits of chance: two processes of one role never meet.
    this.#process = ports.kit.random.uuid().replaceAll("-", "").slice(0, 12);
    this.#startedAt = ports.kit.clock.now();
  }

  /** `<role>.<process>`, as claims and `members` name this process. */
  get self(): string {
    return plainKeys.member(this.#ports.role, this.#process);
  }

  get alive(): boolean {
    return this.#ports.kit.clock.monotonic() - this.#ackedAt < this.#ttlMs;
  }

  /** Until the signal of the kit aborts. @param serves scopes whose parts this process can hold; undefined: all */
  join(serves?: readonly string[]): Promise<void> {
    if (serves !== undefined) {
      this.#serves = serves;
      this.moved();
    }
    this.#running ??= this.#run();
    return this.#running;
  }

  get joined(): boolean {
    return this.#running !== null;
  }

  /** Live processes of this role, this one among them. */
  get fellows(): number {
    return this.#seen.size + (this.#seen.has(this.self) ? 0 : 1);
  }

  async #run(): Promise<void> {
    const { kit, role, view } = this.#ports;
    const members = view({
      filter: `${role}.*`,
      onChange: (key, record) => this.#heard(key, record),
    });
    const caughtUp = members.caughtUp(kit.signal).then(
      () => {
        this.#caughtUp = true;
        this.#turn();
      },
      (error: unknown) => {
        if (!kit.signal.aborted) throw error;
      },
    );
    await Promise.all([caughtUp, members.done, this.#beat(), this.#expire()]);
  }

  #heard(key: string, record: MemberRecord | undefined): void {
    const now = this.#ports.kit.clock.monotonic();
    // The feed was away: what others said meanwhile comes now, or must be given the time to. Our own heartbeats keep it
    // busy however long each of them takes.
    if (now - this.#feedAt > this.#ttlMs / 2) {
      for (const [other, seen] of this.#seen) this.#seen.set(other, { ...seen, heardAt: now });
    }
    this.#feedAt = now;
    if (record === undefined) {
      if (this.#seen.delete(key)) this.#turn();
      return;
    }
    if (key === this.self) this.#selfHeardAt = now;
    const { serves = null, leaving = false, resigned = [] } = record;
    const essence = JSON.stringify([serves, leaving, resigned]);
    const before = this.#seen.get(key);
    const candidate = before?.essence === essence ? before.candidate : candidateOf(key, record);
    this.#seen.set(key, { record, heardAt: now, candidate, essence });
    if (before?.essence !== essence) this.#turn();
  }

  #turn(): void {
    this.#ranks.clear();
    this.#changed.notify();
  }

  #isDead({ heardAt }: Seen, now: number): boolean {
    return now - heardAt >= this.#ttlMs && this.#selfHeardAt - heardAt > this.#ttlMs / 2;
  }

  /** Forgets who has fallen silent. */
  async #expire(): Promise<void> {
    const { clock, signal } = this.#ports.kit;
    const step = HEARTBEAT_MS / 10;
    while (await slept(clock, this.#nextDueMs(step), signal)) {
      const now = clock.monotonic();
      let gone = false;
      for (const [key, seen] of this.#seen) {
        if (key === this.self || !this.#isDead(seen, now)) continue;
        this.#seen.delete(key);
        this.#ports.kit.log.info({ member: key }, "a process of this role fell silent");
        gone = true;
      }
      if (gone) this.#turn();
    }
  }

  #nextDueMs(step: number): number {
    const now = this.#ports.kit.clock.monotonic();
    let due = now + HEARTBEAT_MS;
    for (const [key, { heardAt }] of this.#seen)
      if (key !== this.self) due = Math.min(due, heardAt + this.#ttlMs);
    return Math.max(step, due - now);
  }

  /** Each second, however long the bus takes to answer: others go by when the heartbeats come. */
  async #beat(): Promise<void> {
    const { signal, clock } = this.#ports.kit;
    const inFlight = new Set<Promise<boolean>>();
    while (!signal.aborted) {
      const sentAt = clock.monotonic();
      let answered: boolean | undefined;
      if (inFlight.size < MOST_IN_FLIGHT) {
        const beat = this.#beatOnce();
        inFlight.add(beat);
        void beat.finally(() => inFlight.delete(beat));
        // What fails at once is tried again soon; what takes its time is not waited for.
        answered = await this.#within(beat, HEARTBEAT_RETRY_MS);
      }
      // A bus that is not there yet may come any moment, and a process that nobody sees looks missing.
      const everyMs = answered === false ? HEARTBEAT_RETRY_MS : HEARTBEAT_MS;
      await this.#pause(Math.max(0, everyMs - (clock.monotonic() - sentAt)));
    }
    await Promise.all(inFlight);
  }

  /** What it resolves with; undefined when that takes longer, or the end has come. */
  async #within(beat: Promise<boolean>, ms: number): Promise<boolean | undefined> {
    const { signal, clock } = this.#ports.kit;
    const over = new LinkedAbort(signal);
    const late = slept(clock, ms, over.signal).then(() => undefined);
    const first = await Promise.race([beat, late]);
    over.abort();
    return first;
  }

  async #beatOnce(): Promise<boolean> {
    const { clock, signal, log } = this.#ports.kit;
    const sentAt = clock.monotonic();
    try {
      await this.#say();
    } catch (err) {
      if (!signal.aborted && !this.#told) log.debug({ err }, "could not say that this process lives");
      this.#told = true;
      return false;
    }
    this.#told = false;
    const wasAlive = this.alive;
    this.#ackedAt = Math.max(this.#ackedAt, sentAt);
    if (!wasAlive) this.#changed.notify();
    return true;
  }

  /** Until the next heartbeat is due, or something new is to be said. */
  async #pause(ms: number): Promise<void> {
    const { clock, signal } = this.#ports.kit;
    const over = new LinkedAbort(signal);
    const news = async () => {
      if (!this.#news) await this.#beatNow.wait(over.signal);
      await clock.sleep(GATHER_MS, over.signal);
    };
    const told = news().catch(() => {});
    await Promise.race([slept(clock, ms, over.signal), told]);
    over.abort();
    await told;
  }

  async #say(): Promise<void> {
    const { clock } = this.#ports.kit;
    this.#news = false;
    const problems = this.#ports.problems();
    const objects = this.#ports.objects();
    const parts: NonNullable<MemberRecord["parts"]> = [];
    for (const [part, state] of this.#shown) {
      const now = state();
      if (now !== "idle") parts.push({ part, state: now });
      else if (this.#rankOfId(part) === 1) parts.push({ part, state: "standby" });
    }
    await this.#ports.publish(this.self, {
      role: this.#ports.role,
      process: this.#process,
      pid: process.pid,
      startedAt: this.#startedAt,
      at: clock.now(),
      ...(this.#serves === undefined ? {} : { serves: [...this.#serves] }),
      ...(this.#leaving ? { leaving: true as const } : {}),
      ...(this.#resigned.size === 0 ? {} : { resigned: [...this.#resigned] }),
      ...(parts.length === 0 ? {} : { parts }),
      ...(problems.length === 0 ? {} : { problems }),
      ...(objects === undefined ? {} : { objects }),
    });
  }

  #rankOfId(id: string): number {
    const [table = "", scope = "", shard = ""] = id.split("/");
    return this.rankOf(table, { scope, shard });
  }

  rankOf(table: string, part: Part): number {
    // Whoever has not read who else lives would take everything.
    if (!this.#caughtUp || !this.#seen.has(this.self)) return -1;
    const id = partId(table, part);
    let order = this.#ranks.get(id);
    if (order === undefined) {
      order = rank(table, part, this.#candidates());
      this.#ranks.set(id, order);
    }
    return order.indexOf(this.self);
  }

  *#candidates(): Generator<Candidate> {
    for (const [key, { record, candidate }] of this.#seen) {
      if (record.leaving !== true && !(key === this.self && this.#leaving)) yield candidate;
    }
  }

  isLive(holder: string): boolean {
    return holder !== this.self && this.#seen.has(holder) && this.#seen.get(holder)?.record.leaving !== true;
  }

  resign(table: string, part: Part, resigned: boolean): void {
    const id = partId(table, part);
    if (resigned === this.#resigned.has(id)) return;
    if (resigned) this.#resigned.add(id);
    else this.#resigned.delete(id);
    this.moved();
  }

  moved(): void {
    this.#news = true;
    this.#beatNow.notify();
  }

  async changed(signal: AbortSignal): Promise<void> {
    await this.#changed.wait(signal);
  }

  show(table: string, part: Part, state: () => PartState): () => void {
    const id = partId(table, part);
    this.#shown.set(id, state);
    return () => {
      if (this.#shown.get(id) === state) this.#shown.delete(id);
    };
  }

  /** Tells everybody that this process is about to end, so that its parts are claimed now and not after the TTL. */
  async leave(): Promise<void> {
    this.#leaving = true;
    this.#turn();
    await this.#say();
  }

  /** Somebody else could hold this part. */
  hasHeir(table: string, part: Part): boolean {
    return rank(table, part, this.#candidates()).some((process) => process !== this.self);
  }
}

function candidateOf(process: string, { serves, resigned }: MemberRecord): Candidate {
  return {
    process,
    serves: serves === undefined ? undefined : new Set(serves),
    resigned: resigned === undefined ? undefined : new Set(resigned),
  };
}
