/** Whether somebody waits for it: what was just seen goes before what a list, or a new claim, brought up. */
export type Urgency = "live" | "backlog";

/** Of so many keys that are taken one is of the backlog, whatever is live: else a steady rate would starve it. */
const BACKLOG_SHARE = 8;

interface Item<K, V> {
  readonly key: K;
  value: V;
  urgency: Urgency;
  waiting: boolean;
  /** Taken, and not released yet: a newer value waits until then. */
  busy: boolean;
  /** It has a place in the lane, perhaps from before it became live. */
  readonly placed: Record<Urgency, boolean>;
}

/** First in, first out, without moving what is left. */
class Fifo<T> {
  #items: T[] = [];
  #head = 0;

  get empty(): boolean {
    return this.#head === this.#items.length;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | undefined {
    if (this.empty) return undefined;
    const item = this.#items[this.#head++];
    if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}

interface Group<T> {
  readonly name: string;
  readonly items: Fifo<T>;
}

/** Groups take turns, one item at a time. */
class RoundRobin<T> {
  readonly #groups = new Map<string, Group<T>>();
  readonly #turns = new Fifo<Group<T>>();

  push(name: string, item: T): void {
    let group = this.#groups.get(name);
    if (group === undefined) {
      group = { name, items: new Fifo() };
      this.#groups.set(name, group);
      this.#turns.push(group);
    }
    group.items.push(item);
  }

  shift(): T | undefined {
    const group = this.#turns.shift();
    if (group === undefined) return undefined;
    const item = group.items.shift();
    if (group.items.empty) this.#groups.delete(group.name);
    else this.#turns.push(group);
    return item;
  }
}

/**
 * The newest value of each key, in turns: groups (clusters, say) are served round robin, keys of a group in the order in
 * which they became dirty, live ones before the backlog. Memory is bounded by keys, never by how often they are set; a
 * key that was taken comes out again only after its release. Every step is O(1).
 */
export class FairQueue<K, V> {
  readonly #groupOf: (key: K) => string;
  readonly #items = new Map<K, Item<K, V>>();
  readonly #lanes: Readonly<Record<Urgency, RoundRobin<Item<K, V>>>> = {
    live: new RoundRobin(),
    backlog: new RoundRobin(),
  };
  #waiting = 0;
  #busy = 0;
  #taken = 0;

  /** @param groupOf who shares a turn with whom; default: all keys are one group */
  constructor(groupOf: (key: K) => string = () => "") {
    this.#groupOf = groupOf;
  }

  /** Keys that wait. */
  get size(): number {
    return this.#waiting;
  }

  /** Nothing waits and nothing is taken. */
  get idle(): boolean {
    return this.#waiting === 0 && this.#busy === 0;
  }

  set(key: K, value: V, urgency: Urgency = "live"): void {
    let item = this.#items.get(key);
    if (item === undefined) {
      item = { key, value, urgency, waiting: false, busy: false, placed: { live: false, backlog: false } };
      this.#items.set(key, item);
    }
    item.value = value;
    if (!item.waiting) {
      item.waiting = true;
      item.urgency = urgency;
      this.#waiting++;
    } else if (urgency === "live") item.urgency = "live";
    if (!item.busy) this.#place(item);
  }

  /** The next key; it is busy until `release`. */
  take(): readonly [key: K, value: V] | undefined {
    if (this.#waiting === 0) return undefined;
    const backlogFirst = ++this.#taken % BACKLOG_SHARE === 0;
    const item = backlogFirst
      ? (this.#from("backlog") ?? this.#from("live"))
      : (this.#from("live") ?? this.#from("backlog"));
    if (item === undefined) return undefined;
    item.waiting = false;
    item.busy = true;
    this.#waiting--;
    this.#busy++;
    return [item.key, item.value];
  }

  release(key: K): void {
    const item = this.#items.get(key);
    if (item === undefined || !item.busy) return;
    item.busy = false;
    this.#busy--;
    if (item.waiting) this.#place(item);
    else this.#forget(item);
  }

  #place(item: Item<K, V>): void {
    if (item.placed[item.urgency]) return;
    item.placed[item.urgency] = true;
    this.#lanes[item.urgency].push(this.#groupOf(item.key), item);
  }

  #from(urgency: Urgency): Item<K, V> | undefined {
    for (;;) {
      const item = this.#lanes[urgency].shift();
      if (item === undefined) return undefined;
      item.placed[urgency] = false;
      if (item.waiting && !item.busy && item.urgency === urgency) return item;
      // It went by the other lane meanwhile.
      this.#forget(item);
    }
  }

  #forget(item: Item<K, V>): void {
    const { waiting, busy, placed } = item;
    if (!waiting && !busy && !placed.live && !placed.backlog) this.#items.delete(item.key);
  }
}
