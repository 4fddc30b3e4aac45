import { type ClusterRecord, type Intents, orderOf, type SliceValue, type Trace } from "@sluice/contracts";
import { Bursts, type Kit, slept } from "@sluice/service-kit";
import { heldRecord, type Loss, type LostPeer, losesPeers, lossOf, peersOf } from "./list-loss.ts";
import type { PeerProbe } from "./peer-probe.ts";

/** For so long the peers of a list that takes away most of them stay, ms. */
export const HOLD_MS = 30_000;
const ASK_AGAIN_MS = 1000;
/** Peers that are asked whether they still answer. */
const SAMPLE = 16;

export interface ListGuardPorts {
  readonly cluster: string;
  /** This process writes that key. */
  holds(key: string): boolean;
  /** All keys that this process writes. */
  keys(): Iterable<string>;
  /** A list is being told, and more of it is to come. */
  partial(): boolean;
  set(key: string, value: SliceValue, trace: Trace | undefined): void;
  remove(key: string, trace: Trace | undefined): void;
  /** Read up to now: what comes later was ordered later. */
  readonly intents: Intents;
  readonly answers: PeerProbe;
  /** `held` is other than before. */
  onChange(): void;
}

type Held = NonNullable<ClusterRecord["held"]>;

/**
 * Stands between what lists say and what is written. A list that would take away more than half of a cluster's published
 * peers, and at least ten, comes from a restored etcd, lost rights or a wrong kubeconfig more often than from the
 * cluster: those peers stay for thirty seconds while most of a sample of them still answers, unless somebody lets the
 * list pass. What a list adds is written at once, what it takes away once it has been told whole and is no such list;
 * whatever a watch tells is written at once.
 */
export class ListGuard {
  readonly #ports: ListGuardPorts;
  readonly #kit: Kit;
  /** What lists and watches have told, by key. */
  readonly #told = new Map<string, SliceValue>();
  /** What stood, before lists that have not been judged, at keys of which they told; null: nothing. */
  readonly #before = new Map<string, SliceValue | null>();
  /** Records as they were published, by key, that a list would take peers from: not judged yet, or held. */
  readonly #kept = new Map<string, SliceValue>();
  /** When keys were let go, ms, monotonic: what the table still holds there has been judged. */
  readonly #letGo = new Map<string, number>();
  #sample: readonly LostPeer[] = [];
  #held: Held | null = null;
  #heldKeys: ReadonlySet<string> = new Set();
  /** The order that stood when the list was first held: it was for an earlier one. */
  #earlier: string | undefined;
  #wake = Promise.withResolvers<void>();
  #running: Promise<void> = Promise.resolve();
  /** A list, or a claim, told of something since it was last begun to judge. */
  #retold = false;
  /** Resolves once it has been judged; null: nothing is being judged. */
  #judging: Promise<void> | null = null;
  /** Resolves once what was let go so far is wanted no more. */
  #releasing: Promise<void> = Promise.resolve();

  constructor(ports: ListGuardPorts, kit: Kit) {
    this.#ports = ports;
    this.#kit = kit;
  }

  /** As it stands in `clusters` while a list is held. */
  get held(): Held | undefined {
    return this.#held ?? undefined;
  }

  get done(): Promise<void> {
    return this.#running;
  }

  /** @param trace of a watch event; a list has none */
  set(key: string, value: SliceValue, trace: Trace | undefined): void {
    const before = this.#told.get(key);
    this.#told.set(key, value);
    const kept = this.#keptOf(key, before, trace);
    this.#ports.set(key, kept === undefined ? value : heldRecord(kept, value), trace);
  }

  remove(key: string, trace: Trace | undefined): void {
    const before = this.#told.get(key);
    this.#told.delete(key);
    const kept = this.#keptOf(key, before, trace);
    if (kept === undefined) this.#ports.remove(key, trace);
    else this.#ports.set(key, kept, undefined);
  }

  /** What is kept at a key of which something was told just now; a watch knows better. */
  #keptOf(key: string, before: SliceValue | undefined, trace: Trace | undefined): SliceValue | undefined {
    this.#letGo.delete(key);
    if (trace !== undefined) {
      this.#before.delete(key);
      this.#kept.delete(key);
    } else if (this.#ports.holds(key)) {
      this.#retold = true;
      if (!this.#before.has(key)) this.#before.set(key, before ?? null);
      if (before !== undefined && !this.#kept.has(key) && losesPeers(before, this.#told.get(key))) {
        this.#kept.set(key, before);
      }
    }
    return this.#kept.get(key);
  }

  /** A list has been told whole. */
  listed(): void {
    if (this.#judging !== null || this.#ports.partial()) return;
    const { clock, signal } = this.#kit;
    const bursts = new Bursts(clock, signal);
    const steps = this.#judge();
    const burst = () => {
      for (;;) {
        if (steps.next().done === true) return true;
        if (bursts.over()) return false;
      }
    };
    // What is small is judged here and now.
    if (burst()) return;
    const judging = async () => {
      while (await bursts.rest()) if (burst()) break;
      this.#judging = null;
    };
    this.#judging = judging();
    this.#running = Promise.all([this.#running, this.#judging]).then(() => {});
  }

  /**
   * A part has been claimed, and its source read.
   * @param unwritten keys at which the table holds something else than what was told, with what it holds
   * @returns once it is wanted of the part what may be written
   */
  async claimed(
    unwritten: Iterable<readonly [key: string, published: SliceValue | undefined]>,
  ): Promise<void> {
    const { clock, signal } = this.#kit;
    const bursts = new Bursts(clock, signal);
    for (const [key, at] of this.#letGo) if (clock.monotonic() - at > HOLD_MS) this.#letGo.delete(key);
    for (const [key, published] of unwritten) {
      if (!this.#letGo.has(key)) this.#compare(key, published);
      if (bursts.over() && !(await bursts.rest())) return;
    }
    this.listed();
    await this.#judging;
    await this.#releasing;
  }

  #compare(key: string, published: SliceValue | undefined): void {
    const told = this.#told.get(key);
    this.#retold = true;
    this.#before.set(key, published ?? null);
    if (published !== undefined && losesPeers(published, told)) {
      this.#kept.set(key, published);
      this.#ports.set(key, heldRecord(published, told), undefined);
      // What was kept of what this process had been told: a predecessor knew better.
    } else if (this.#kept.delete(key)) this.#say(key);
  }

  *#judge(): Generator<void, void, void> {
    // Of a part that was lost its new holder has judged.
    this.#release((key) => this.#ports.holds(key));
    let changed: ReadonlyMap<string, SliceValue>;
    let loss: Loss | null;
    do {
      this.#retold = false;
      changed = new Map(this.#kept);
      loss = yield* lossOf(changed, this.#told, this.#published());
      // Another list has begun meanwhile: what goes by both is asked once that is whole, too.
      if (this.#ports.partial()) return;
    } while (this.#retold);
    this.#before.clear();
    const held = loss?.records;
    this.#release((key) => held?.has(key) === true || !changed.has(key));
    if (loss === null) return this.#end("the lists are whole again");
    this.#heldKeys = new Set(loss.records.keys());
    this.#sample = this.#pick(loss.lost);
    this.#hold(loss);
  }

  *#published(): Generator<number, void, void> {
    for (const key of this.#ports.keys()) {
      const before = this.#before.get(key);
      yield peersOf(this.#kept.get(key) ?? (before === undefined ? this.#told.get(key) : before));
    }
  }

  /** What was told of the others is written. */
  #release(stays: (key: string) => boolean = () => false): void {
    const released: string[] = [];
    for (const key of this.#kept.keys()) if (!stays(key)) released.push(key);
    for (const key of released) this.#kept.delete(key);
    if (released.length === 0) return;
    this.#releasing = Promise.all([this.#releasing, this.#writeAll(released)]).then(() => {});
    this.#running = Promise.all([this.#running, this.#releasing]).then(() => {});
  }

  async #writeAll(keys: readonly string[]): Promise<void> {
    const { clock, signal } = this.#kit;
    const bursts = new Bursts(clock, signal);
    for (const key of keys) {
      // Another list may have told of it meanwhile.
      if (!this.#kept.has(key)) this.#write(key);
      if (bursts.over() && !(await bursts.rest())) return;
    }
  }

  #pick(lost: readonly LostPeer[]): LostPeer[] {
    const rest = [...lost];
    const picked: LostPeer[] = [];
    while (picked.length < SAMPLE && rest.length > 0) {
      const at = Math.floor(this.#kit.random.next() * rest.length);
      picked.push(...rest.splice(at, 1));
    }
    return picked;
  }

  #hold({ peers, of }: Loss): void {
    const { clock, log } = this.#kit;
    const since = this.#held?.since ?? clock.now();
    const first = this.#held === null;
    this.#held = { peers, of, since, until: since + HOLD_MS };
    this.#ports.onChange();
    if (!first) return;
    this.#earlier = this.#order;
    this.#kit.metrics
      .counter("sluice_lists_held_total", "Lists that would have taken away most of a cluster's peers.")
      .inc();
    log.warn(
      { peers, of },
      "a list would take away most of the cluster's peers; they stay while they answer",
    );
    this.#running = Promise.all([this.#running, this.#watch()]).then(() => {});
  }

  /** An order came; maybe it lets the list pass. */
  ordered(): void {
    this.#wake.resolve();
  }

  get #order(): string | undefined {
    const { intents, cluster } = this.#ports;
    return JSON.stringify(orderOf(intents, "accept-list", cluster));
  }

  async #watch(): Promise<void> {
    const { clock, signal } = this.#kit;
    const until = clock.monotonic() + HOLD_MS;
    while (this.#held !== null && !signal.aborted) {
      const order = this.#order;
      if (order !== undefined && order !== this.#earlier) return this.#end("somebody let it pass");
      if (clock.monotonic() >= until) return this.#end("its time is over");
      if (!(await this.#answering())) {
        if (!signal.aborted) this.#end("those peers do not answer");
        return;
      }
      await this.#pause(Math.min(ASK_AGAIN_MS, until - clock.monotonic()));
    }
  }

  /** Most of the sample answers. */
  async #answering(): Promise<boolean> {
    const sample = this.#sample;
    const { signal } = this.#kit;
    const answers = await Promise.all(
      sample.map(({ address, port }) => this.#ports.answers(address, port, signal)),
    );
    // Nobody can be asked: then nothing speaks against the list.
    return answers.filter(Boolean).length * 2 > sample.length;
  }

  async #pause(ms: number): Promise<void> {
    const over = new AbortController();
    const both = AbortSignal.any([this.#kit.signal, over.signal]);
    const time = slept(this.#kit.clock, Math.max(0, ms), both);
    await Promise.race([time, this.#wake.promise]);
    this.#wake = Promise.withResolvers();
    over.abort();
    await time;
  }

  #end(why: string): void {
    const held = this.#held;
    if (held === null) return;
    this.#held = null;
    this.#kit.log.info({ peers: held.peers, of: held.of }, `the held list passes: ${why}`);
    // Of a list that is being told now nothing is known yet.
    this.#release((key) => !this.#heldKeys.has(key));
    this.#wake.resolve();
    this.#ports.onChange();
  }

  #write(key: string): void {
    this.#letGo.set(key, this.#kit.clock.monotonic());
    this.#say(key);
  }

  #say(key: string): void {
    const told = this.#told.get(key);
    if (told === undefined) this.#ports.remove(key, undefined);
    else this.#ports.set(key, told, undefined);
  }
}
