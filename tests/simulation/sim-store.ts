import { type ResumePoint, resumeFrom, type Store, subjectFilter } from "@sluice/bus/testing";
import { BusUnreachableError, type TableSpec } from "@sluice/contracts";
import type { SeededRandom } from "./seeded-random.ts";
import type { SimBus } from "./sim-bus.ts";
import type { SimProcess } from "./sim-process.ts";
import type { VirtualTime } from "./virtual-time.ts";

type Sink = Parameters<Store["follow"]>[2];
type PutResult = Awaited<ReturnType<Store["put"]>>;
type Entry = NonNullable<Awaited<ReturnType<Store["get"]>>>;

/** What a request may take, ms, as the NATS store has it. */
const ANSWER_MS = 5000;

/** What is wrong between one process and the bus; each counts how many faults of its kind hold now. */
export interface BusFaults {
  /** Nothing gets through, in either direction. */
  cut: number;
  /** Longer on its way, ms. */
  slowMs: number;
  /** Writes are done, and nobody says so. */
  lostAcks: number;
  /** Writes lie about somewhere and land later, out of order. */
  late: number;
  /** How much later, ms. */
  lateMs: readonly [least: number, most: number];
  /** Writes land twice. */
  repeat: number;
}

interface Life {
  readonly boot: string;
  over: boolean;
}

interface Request {
  readonly deadline: number;
  readonly life: Life;
  open: boolean;
  fail(error: Error): void;
}

interface Subscription {
  readonly spec: TableSpec;
  readonly filter: string;
  readonly sink: Sink;
  began: boolean;
  point: ResumePoint | null;
  stop: () => void;
}

/**
 * One process's connection to the bus: two queues, one each way, that keep their order as TCP does. What is under way
 * when a process crashes or a connection breaks may still land.
 */
export class SimStore implements Store {
  readonly #bus: SimBus;
  readonly #process: SimProcess;
  readonly #time: VirtualTime;
  readonly #random: SeededRandom;
  readonly #faults: BusFaults;
  readonly #subscriptions = new Set<Subscription>();
  readonly #waiting = new Set<() => void>();
  #requests: Request[] = [];
  #timing = false;
  #life: Life | null = null;
  #upAt = 0;
  #heldUp: (() => void)[] = [];
  #down: { readonly at: number; readonly run: () => void }[] = [];
  #downAt = 0;
  #delivering = false;
  #connecting = false;
  readonly #onBus = () => this.busChanged();

  constructor(bus: SimBus, process: SimProcess, faults: BusFaults, random: SeededRandom) {
    this.#bus = bus;
    this.#process = process;
    this.#time = process.time;
    this.#faults = faults;
    this.#random = random;
    bus.onChange.add(this.#onBus);
    this.#connectSoon(5);
  }

  get connected(): boolean {
    return this.#life !== null;
  }

  // --- the network --------------------------------------------------------------------------------------------------

  #latency(): number {
    return 1 + Math.floor(this.#random.next() * 3) + this.#faults.slowMs;
  }

  /** To the server. */
  #send(run: () => void): void {
    if (this.#faults.cut > 0) {
      this.#heldUp.push(run);
      return;
    }
    this.#upAt = Math.max(this.#upAt, this.#time.now + this.#latency());
    this.#time.at(this.#upAt, () => {
      if (this.#bus.up) run();
    });
  }

  /** From the server, on this life of the connection. */
  #receive(life: Life, run: () => void): void {
    if (life.over) return;
    this.#downAt = Math.max(this.#downAt, this.#time.now + this.#latency());
    this.#down.push({ at: this.#downAt, run });
    this.#deliverSoon();
  }

  #deliverSoon(): void {
    const first = this.#down[0];
    if (this.#delivering || first === undefined || this.#faults.cut > 0) return;
    this.#delivering = true;
    this.#time.at(first.at, () => {
      this.#delivering = false;
      if (this.#faults.cut > 0) return;
      let due = 0;
      while (due < this.#down.length && this.#down[due]!.at <= this.#time.now) due++;
      const now = this.#down.splice(0, due);
      if (now.length > 0) {
        this.#process.deliver(() => {
          for (const { run } of now) run();
        });
      }
      this.#deliverSoon();
    });
  }

  /** To be called when `faults` has changed. */
  faultsChanged(): void {
    if (this.#faults.cut > 0) {
      const life = this.#life;
      // Pings go unanswered for a while before a client gives a connection up.
      const noticed = this.#random.between(2000, 10_000);
      if (life !== null) {
        this.#process.after(noticed, () => {
          if (this.#faults.cut > 0) this.#end(life);
        });
      }
      return;
    }
    // What lay in the sockets of a connection that was given up may land all the same.
    const held = this.#heldUp.splice(0);
    if (this.#life !== null || this.#random.chance(0.5)) for (const run of held) this.#send(run);
    for (const [i, { run }] of this.#down.entries()) this.#down[i] = { at: this.#time.now + 1, run };
    this.#deliverSoon();
    this.#connectSoon(this.#random.between(100, 300));
  }

  busChanged(): void {
    if (!this.#process.alive) return;
    if (this.#bus.up) return this.#connectSoon(this.#random.between(100, 300));
    const life = this.#life;
    this.#heldUp = [];
    if (life !== null) this.#process.after(this.#random.between(1, 5), () => this.#end(life));
  }

  /** One subscription starts again, as an ordered consumer does whose messages had a gap. */
  resetOne(): void {
    const all = [...this.#subscriptions].filter((each) => each.began);
    const life = this.#life;
    if (all.length === 0 || life === null) return;
    const one = this.#random.pick(all);
    this.#process.deliver(() => {
      this.#breakOff(one);
      this.#begin(one, life);
    });
  }

  #connectSoon(ms: number): void {
    if (this.#connecting || this.#life !== null) return;
    this.#connecting = true;
    this.#process.after(ms, () => {
      this.#connecting = false;
      if (this.#life !== null || !this.#bus.up || this.#faults.cut > 0) return;
      // `boot` is read before any table: one round trip.
      const boot = this.#bus.boot;
      this.#process.after(2 * this.#latency(), () => {
        if (this.#life !== null) return;
        if (!this.#bus.up || this.#faults.cut > 0 || boot !== this.#bus.boot) return this.#connectSoon(100);
        this.#life = { boot, over: false };
        for (const wake of [...this.#waiting]) wake();
        for (const each of this.#subscriptions) this.#begin(each, this.#life);
      });
    });
  }

  #end(life: Life): void {
    if (life.over) return;
    life.over = true;
    this.#life = null;
    this.#down = [];
    for (const request of this.#requests) {
      if (request.open) request.fail(new BusUnreachableError("the connection ended before an answer came"));
    }
    this.#requests = [];
    for (const each of this.#subscriptions) this.#breakOff(each);
    this.#connectSoon(this.#random.between(100, 300));
  }

  // --- requests -----------------------------------------------------------------------------------------------------

  #request<T>(atServer: () => T, options: { readonly write: boolean }): Promise<T> {
    const life = this.#life;
    if (life === null || !this.#process.alive)
      return Promise.reject(new BusUnreachableError("no server answers"));
    return new Promise((resolve, reject) => {
      const request: Request = {
        deadline: this.#time.now + ANSWER_MS,
        life,
        open: true,
        fail: (error) => {
          request.open = false;
          reject(error);
        },
      };
      this.#requests.push(request);
      this.#timeRequests();
      const faults = this.#faults;
      const land = () => {
        // Without a leader nobody answers, and what was written may be in its log or not.
        if (this.#bus.leaderless && !(options.write && this.#random.chance(0.5))) return;
        const result = atServer();
        if (options.write && faults.repeat > 0 && this.#random.chance(0.5)) {
          this.#time.after(this.#random.between(50, 5000), () => void (this.#bus.up && atServer()));
        }
        if (this.#bus.leaderless || (options.write && faults.lostAcks > 0 && this.#random.chance(0.7)))
          return;
        this.#receive(life, () => {
          if (!request.open) return;
          request.open = false;
          resolve(result);
        });
      };
      if (options.write && faults.late > 0 && this.#random.chance(0.5)) {
        this.#time.after(this.#random.between(...faults.lateMs), () => void (this.#bus.up && land()));
      } else this.#send(land);
    });
  }

  #timeRequests(): void {
    if (this.#timing) return;
    while (this.#requests[0]?.open === false) this.#requests.shift();
    const first = this.#requests[0];
    if (first === undefined) return;
    this.#timing = true;
    this.#process.after(first.deadline - this.#time.now, () => {
      this.#timing = false;
      for (const request of this.#requests) {
        if (request.deadline > this.#time.now) break;
        if (request.open) request.fail(new BusUnreachableError(`no answer within ${ANSWER_MS / 1000} s`));
      }
      this.#timeRequests();
    });
  }

  async get(spec: TableSpec, key: string, signal: AbortSignal): Promise<Entry | null> {
    signal.throwIfAborted();
    return this.#request(() => this.#bus.get(spec.name, key), { write: false });
  }

  async put(
    spec: TableSpec,
    key: string,
    value: Uint8Array,
    expected: number | null,
    signal: AbortSignal,
  ): Promise<PutResult> {
    signal.throwIfAborted();
    const revision = await this.#request(() => this.#bus.put(spec.name, key, value, expected), {
      write: true,
    });
    return revision === null ? { ok: false } : { ok: true, revision };
  }

  async removeMessage(spec: TableSpec, revision: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await this.#request(() => this.#bus.removeMessage(spec.name, revision), { write: true });
  }

  async lastRevision(spec: TableSpec, signal: AbortSignal, filter = ">"): Promise<number> {
    await this.boot(signal);
    return this.#request(() => this.#bus.lastRevision(spec.name, filterOf(filter)), { write: false });
  }

  async boot(signal: AbortSignal): Promise<string> {
    for (;;) {
      signal.throwIfAborted();
      if (this.#life !== null) return this.#life.boot;
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const abort = () => reject(signal.reason);
      this.#waiting.add(resolve);
      signal.addEventListener("abort", abort, { once: true });
      try {
        await promise;
      } finally {
        this.#waiting.delete(resolve);
        signal.removeEventListener("abort", abort);
      }
    }
  }

  // --- following ----------------------------------------------------------------------------------------------------

  async follow(spec: TableSpec, filter: string, sink: Sink, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const subscription: Subscription = { spec, filter, sink, began: false, point: null, stop: () => {} };
    this.#subscriptions.add(subscription);
    if (this.#life !== null) this.#begin(subscription, this.#life);
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    this.#breakOff(subscription);
    this.#subscriptions.delete(subscription);
  }

  #begin(subscription: Subscription, life: Life): void {
    const { spec, filter, sink } = subscription;
    const matches = filterOf(filter);
    let open = true;
    let unfollow = () => {};
    subscription.began = true;
    subscription.stop = () => {
      open = false;
      unfollow();
    };
    const tell = (run: () => void) =>
      this.#receive(life, () => {
        if (!open || life.over) return;
        if (subscription.point !== null)
          subscription.point = { ...subscription.point, heardAt: this.#time.now };
        run();
      });
    const push = (entry: Entry) =>
      tell(() => {
        if (subscription.point !== null)
          subscription.point = { ...subscription.point, sequence: entry.revision };
        sink.entry(entry);
      });
    this.#send(() => {
      if (!open || life.over || life.boot !== this.#bus.boot) return;
      const found = this.#bus.found(spec.name);
      const from = resumeFrom(subscription.point, { ...found, now: this.#time.now });
      if (from !== null) tell(() => sink.resumed?.());
      else {
        tell(() => {
          subscription.point = {
            boot: life.boot,
            created: found.created,
            sequence: 0,
            heardAt: this.#time.now,
          };
          sink.restart(life.boot);
        });
      }
      for (const entry of this.#bus.entries(spec.name, from ?? 0)) if (matches(entry.key)) push(entry);
      tell(() => sink.caughtUp());
      unfollow = this.#bus.follow({ table: spec.name, matches, push });
    });
  }

  #breakOff(subscription: Subscription): void {
    if (!subscription.began) return;
    subscription.began = false;
    subscription.stop();
    subscription.sink.disconnected();
  }

  /** The process is gone; what it had sent is not. */
  abandon(): void {
    this.#bus.onChange.delete(this.#onBus);
    for (const each of this.#subscriptions) each.stop();
    this.#subscriptions.clear();
    this.#down = [];
  }

  async close(): Promise<void> {
    this.#bus.onChange.delete(this.#onBus);
    if (this.#life !== null) this.#end(this.#life);
  }
}

type Matches = (key: string) => boolean;
const filters = new Map<string, Matches>();

/** Every follower is asked at every write, so what it was asked before is remembered. */
function filterOf(filter: string): Matches {
  let known = filters.get(filter);
  if (known === undefined) {
    const matches = subjectFilter(filter);
    const answers = new Map<string, boolean>();
    known = (key) => {
      let answer = answers.get(key);
      if (answer === undefined) {
        answer = matches(key);
        if (answers.size > 10_000) answers.clear();
        answers.set(key, answer);
      }
      return answer;
    };
    filters.set(filter, known);
  }
  return known;
}
