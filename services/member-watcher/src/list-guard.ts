import { type ClusterRecord, type Intents, orderOf, type SliceValue, type Trace } from "@sluice/contracts";
import { type Kit, slept } from "@sluice/service-kit";
import { heldRecord, type Loss, type LostPeer, lossOf } from "./list-loss.ts";
import type { PeerProbe } from "./peer-probe.ts";

/** For so long the peers of a list that takes away most of them stay, ms. */
export const HOLD_MS = 30_000;
const ASK_AGAIN_MS = 1000;
/** Peers that are asked whether they still answer. */
const SAMPLE = 16;

export interface ListGuardPorts {
  readonly cluster: string;
  /** What the table holds of the parts that this process holds. */
  records(): Iterable<readonly [key: string, value: SliceValue]>;
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
 * list pass. What a list adds is written at once, and so is whatever a watch tells.
 */
export class ListGuard {
  readonly #ports: ListGuardPorts;
  readonly #kit: Kit;
  /** What lists and watches have told, by key. */
  readonly #told = new Map<string, SliceValue>();
  /** Records as they were published, by key, of services that would lose peers. */
  #kept = new Map<string, SliceValue>();
  /** Keys that were let go: what the table still holds there has been judged. */
  readonly #letGo = new Set<string>();
  #sample: readonly LostPeer[] = [];
  #held: Held | null = null;
  /** The order that stood when the list was first held: it was for an earlier one. */
  #earlier: string | undefined;
  #wake = Promise.withResolvers<void>();
  #running: Promise<void> = Promise.resolve();

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
    this.#told.set(key, value);
    this.#letGo.delete(key);
    const kept = this.#judged(key, trace);
    this.#ports.set(key, kept === undefined ? value : heldRecord(kept, value), trace);
  }

  remove(key: string, trace: Trace | undefined): void {
    this.#told.delete(key);
    this.#letGo.delete(key);
    if (this.#judged(key, trace) === undefined) this.#ports.remove(key, trace);
  }

  /** What is kept at a key; a watch knows better. */
  #judged(key: string, trace: Trace | undefined): SliceValue | undefined {
    const kept = this.#kept.get(key);
    if (kept === undefined || trace === undefined) return kept;
    this.#kept.delete(key);
    return undefined;
  }

  /** A whole list has been told, or a part has been claimed: before anything of it is written. */
  listed(): void {
    const loss = lossOf(this.#unjudged(), this.#told);
    if (loss === null) return this.#end("the lists are whole again");
    const before = this.#kept;
    this.#kept = new Map(loss.records);
    for (const [key, published] of loss.records) {
      this.#ports.set(key, heldRecord(published, this.#told.get(key)), undefined);
    }
    for (const key of before.keys()) if (!loss.records.has(key)) this.#write(key);
    this.#sample = this.#pick(loss.lost);
    this.#hold(loss);
  }

  *#unjudged(): Generator<readonly [string, SliceValue]> {
    const open = new Set<string>();
    for (const entry of this.#ports.records()) {
      const [key, value] = entry;
      if (!this.#letGo.has(key)) yield entry;
      else if (this.#told.get(key) !== value) open.add(key);
    }
    for (const key of this.#letGo) if (!open.has(key)) this.#letGo.delete(key);
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

  /** What was told is written. */
  #end(why: string): void {
    const held = this.#held;
    if (held === null) return;
    this.#held = null;
    this.#kit.log.info({ peers: held.peers, of: held.of }, `the held list passes: ${why}`);
    const keys = [...this.#kept.keys()];
    this.#kept = new Map();
    for (const key of keys) this.#write(key);
    this.#wake.resolve();
    this.#ports.onChange();
  }

  #write(key: string): void {
    const told = this.#told.get(key);
    this.#letGo.add(key);
    if (told === undefined) this.#ports.remove(key, undefined);
    else this.#ports.set(key, told, undefined);
  }
}
