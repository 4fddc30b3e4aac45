import assert from "node:assert/strict";
import { test } from "node:test";
import { type Part, sliceKeys } from "@sluice/contracts";
import fc from "fast-check";
import { Believer, type Change, type Question } from "./believer.ts";

const part: Part = { scope: "member1", shard: "0" };
const keys = ["a", "b", "c"].map((name) => sliceKeys.slice("member1", "shop", "cart", name));

type Message = { readonly revision: number } & (
  | { readonly kind: "claim"; readonly n: number; readonly id: string; readonly boot: string }
  | { readonly kind: "synced"; readonly id: string }
  | { readonly kind: "record"; readonly key: string; readonly epochId: string; readonly value?: string }
);

interface Claimed {
  readonly n: number;
  readonly id: string;
  readonly boot: string;
  readonly revision: number;
}

function has(id: string, value: string | undefined) {
  return value === undefined ? { epochId: id } : { epochId: id, value };
}

/** The servers, the source of truth and whoever writes: what one reader may get to see. */
class World {
  boot = "boot-1";
  readonly source = new Map<string, string>();
  claims: Claimed[] = [];
  records = new Map<string, Message & { kind: "record" }>();
  synced: (Message & { kind: "synced" }) | null = null;
  #revision = 0;
  #ids = 0;

  get holder(): Claimed | undefined {
    return this.claims.at(-1);
  }

  claim(): void {
    const n = (this.holder?.n ?? 0) + 1;
    this.#ids += 1;
    this.claims.push({ n, id: `claim-${this.#ids}`, boot: this.boot, revision: ++this.#revision });
  }

  put(key: string, epochId: string, value: string | undefined): void {
    this.records.set(key, { kind: "record", revision: ++this.#revision, key, ...has(epochId, value) });
  }

  /** Keys that the holder would write: content differs, or somebody without a claim wrote after it. */
  differences(): string[] {
    const holder = this.holder;
    if (holder === undefined || holder.boot !== this.boot) return [];
    return keys.filter((key) => {
      const there = this.records.get(key);
      if (there === undefined) return this.source.has(key);
      const foreign = there.revision > holder.revision && there.epochId !== holder.id;
      return foreign || there.value !== this.source.get(key);
    });
  }

  write(pick: number): void {
    const open = this.differences();
    const key = open[pick % Math.max(1, open.length)];
    if (key !== undefined) this.put(key, this.holder!.id, this.source.get(key));
  }

  sync(): void {
    const holder = this.holder;
    if (holder === undefined || holder.boot !== this.boot || this.differences().length > 0) return;
    this.synced = { kind: "synced", revision: ++this.#revision, id: holder.id };
  }

  /** What its holder does after a day, when whoever follows has got it: a tombstone's message goes, unless stale. */
  reap(key: string, delivered: number): void {
    const there = this.records.get(key);
    if (there !== undefined && delivered > 0 && delivered < there.revision) return;
    const holder = this.holder;
    if (there === undefined || there.value !== undefined || this.source.has(key)) return;
    if (holder === undefined || (there.revision > holder.revision && there.epochId !== holder.id)) return;
    this.records.delete(key);
  }

  restart(wipe: boolean): void {
    this.boot = `boot-${Number(this.boot.slice(5)) + 1}`;
    if (!wipe) return;
    this.claims = [];
    this.records = new Map();
    this.synced = null;
    this.#revision = 0;
  }

  after(revision: number): Message | undefined {
    const claims = this.claims.map((claim): Message => ({ kind: "claim", ...claim }));
    const all = [...claims, ...this.records.values(), ...(this.synced === null ? [] : [this.synced])];
    return all.filter((m) => m.revision > revision).sort((a, b) => a.revision - b.revision)[0];
  }
}

/** A reader, and beside it what the rules of the table let it believe, written down once more. */
class Reader {
  readonly believer: Believer<string>;
  readonly #world: World;
  #cursor = 0;
  #boot: string;
  #newest: Claimed | null = null;
  #synced = "";
  /** It was settled at some time: what is not held was gone then. */
  #knewWhole = false;
  #asked: { question: Question; revision: number | null; boot: string }[] = [];

  constructor(world: World, initial: Iterable<readonly [string, string]>) {
    this.#world = world;
    this.#boot = world.boot;
    this.believer = new Believer(sliceKeys, initial);
    this.believer.restart(world.boot);
  }

  held(): Map<string, string> {
    return new Map([...this.believer.held].map(([key, { value }]) => [key, value]));
  }

  restart(): void {
    this.#cursor = 0;
    this.#boot = this.#world.boot;
    this.#newest = null;
    this.#synced = "";
    const before = this.held();
    this.believer.restart(this.#boot);
    assert.deepEqual(this.held(), before, "what is held stays when a snapshot begins");
  }

  /** Revision delivered last; 0: a snapshot begins. */
  get cursor(): number {
    return this.#boot === this.#world.boot ? this.#cursor : 0;
  }

  get #settled(): boolean {
    return this.#newest !== null && this.#newest.boot === this.#boot && this.#synced === this.#newest.id;
  }

  deliver(): boolean {
    if (this.#boot !== this.#world.boot) this.restart();
    const message = this.#world.after(this.#cursor);
    if (message === undefined) return false;
    this.#cursor = message.revision;
    if (message.kind === "claim") {
      this.believer.claim(part, { ...message, layout: 0 });
      if (message.n > (this.#newest?.n ?? 0)) this.#newest = message;
    } else if (message.kind === "synced") {
      this.believer.synced(part, message.id);
      this.#synced = message.id;
    } else this.#record(message);
    assert.equal(this.believer.isSettled(part), this.#settled);
    this.#knewWhole ||= this.#settled;
    return true;
  }

  #record({ key, revision, epochId, value }: Message & { kind: "record" }): void {
    const before = this.held();
    const newest = this.#newest;
    const outcome = this.believer.deliver({
      key,
      revision,
      epoch: { n: 1, id: epochId },
      ...(value === undefined ? {} : { value }),
    });
    const current =
      newest !== null && newest.boot === this.#boot && newest.id === epochId && revision > newest.revision;
    const fills = !this.#knewWhole && !before.has(key) && (newest === null || newest.id === epochId);
    const expected = new Map(before);
    if (current && value === undefined) expected.delete(key);
    else if (value !== undefined && (current || fills)) expected.set(key, value);
    assert.deepEqual(this.held(), expected, `${key}@${revision} of ${epochId} under ${newest?.id}`);
    this.#told(outcome, before);
  }

  /** What downstream is told is what changed. */
  #told(outcome: Change<string> | { dropped: string } | null, before: Map<string, string>): void {
    const after = this.held();
    if (outcome === null || "dropped" in outcome) return assert.deepEqual(after, before);
    if (outcome.value === undefined) before.delete(outcome.key);
    else before.set(outcome.key, outcome.value);
    assert.deepEqual(after, before);
  }

  ask(pick: number): boolean {
    if (this.#boot !== this.#world.boot) return false;
    const open = [...this.believer.questions()];
    const question = open[pick % Math.max(1, open.length)];
    if (question === undefined) return false;
    assert.ok(this.#settled, "nothing is asked for in a part that is not settled");
    const revision = this.#world.records.get(question.key)?.revision ?? null;
    this.#asked.push({ question, revision, boot: this.#boot });
    return true;
  }

  answer(pick: number): void {
    const [asked] = this.#asked.splice(pick % Math.max(1, this.#asked.length), 1);
    // The view throws away what comes from another life of the servers.
    if (asked === undefined || asked.boot !== this.#world.boot || asked.boot !== this.#boot) return;
    const before = this.held();
    const change = this.believer.answer(asked.question, asked.revision);
    this.#told(change, before);
    if (change !== null) assert.ok(this.#settled, "an answer counts in a settled part only");
  }

  answerAll(): void {
    while (this.#asked.length > 0) this.answer(0);
  }
}

type Step = readonly [name: (typeof names)[number], pick: number];
const names = [
  "source",
  "source",
  "claim",
  "write",
  "write",
  "write",
  "stale",
  "sync",
  "reap",
  "restart servers",
  "wipe servers",
  "restart reader",
  "deliver",
  "deliver",
  "deliver",
  "deliver",
  "ask",
  "answer",
] as const;

const value = fc.constantFrom("1", "2");
const history = fc.record({
  source: fc.dictionary(fc.constantFrom(...keys), value),
  initial: fc.dictionary(fc.constantFrom(...keys), value),
  steps: fc.array(fc.tuple(fc.constantFrom(...names), fc.nat(11)), { maxLength: 120, size: "max" }),
});

function take(world: World, reader: Reader, [name, pick]: Step): void {
  const key = keys[pick % keys.length]!;
  switch (name) {
    case "source":
      if (pick < 4) world.source.delete(key);
      else world.source.set(key, String(1 + (pick & 1)));
      return;
    case "claim":
      return world.claim();
    case "write":
      return world.write(pick);
    case "stale": {
      // A process that lost its claim, or one from a life before the wipe, is late with a write.
      const late = world.claims[pick % Math.max(1, world.claims.length)];
      if (late === world.holder) return;
      return world.put(key, late?.id ?? "claim-lost", pick < 4 ? undefined : String(1 + (pick & 1)));
    }
    case "sync":
      return world.sync();
    case "reap":
      return world.reap(key, reader.cursor);
    case "restart servers":
      return world.restart(false);
    case "wipe servers":
      return world.restart(true);
    case "restart reader":
      return reader.restart();
    case "deliver":
      return void reader.deliver();
    case "ask":
      return void reader.ask(pick);
    case "answer":
      return reader.answer(pick);
  }
}

/** A holder of today comes to the end of its work, and the reader to the end of what there is. */
function comeToRest(world: World, reader: Reader): void {
  if (world.holder?.boot !== world.boot) world.claim();
  while (world.differences().length > 0) world.write(0);
  if (world.synced?.id !== world.holder?.id) world.sync();
  while (reader.deliver());
  reader.answerAll();
  for (let rounds = 0; reader.ask(0) && rounds < 20; rounds++) reader.answerAll();
}

test("whatever is delivered, asked and answered in whatever order, readers keep to the rules and end with the source", () => {
  fc.assert(
    fc.property(history, ({ source, initial, steps }) => {
      const world = new World();
      for (const [key, v] of Object.entries(source)) world.source.set(key, v);
      const reader = new Reader(world, Object.entries(initial));
      for (const step of steps) take(world, reader, step);
      comeToRest(world, reader);
      assert.deepEqual(Object.fromEntries(reader.held()), Object.fromEntries(world.source));
      assert.deepEqual([...reader.believer.questions()], []);
    }),
    { numRuns: 3000 },
  );
});

test("nothing is removed while no part is settled, whatever tombstones of others say", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(2), fc.nat(5), fc.boolean())), (records) => {
      const believer = new Believer<string>(
        sliceKeys,
        keys.map((key) => [key, "kept"] as const),
      );
      believer.restart("boot-1");
      believer.claim(part, { n: 3, id: "holder", boot: "boot-1", layout: 0, revision: 10 });
      for (const [key, epoch, deleted] of records) {
        believer.deliver({
          key: keys[key]!,
          revision: 11 + epoch,
          epoch: { n: 1, id: `other-${epoch}` },
          ...(deleted ? {} : { value: "late" }),
        });
      }
      assert.deepEqual([...believer.questions()], []);
      assert.deepEqual(
        [...believer.held.values()].map(({ value }) => value),
        ["kept", "kept", "kept"],
      );
    }),
  );
});

function settledReader(initial: readonly (readonly [string, string])[]): Believer<string> {
  const believer = new Believer<string>(sliceKeys, initial);
  believer.restart("boot-1");
  believer.claim(part, { n: 1, id: "one", boot: "boot-1", layout: 0, revision: 1 });
  believer.synced(part, "one");
  return believer;
}

test("an answer that a delivery has overtaken changes nothing", () => {
  const key = keys[0]!;
  const believer = settledReader([[key, "kept"]]);
  const [question] = [...believer.questions()];
  assert.ok(question);
  // A late write of somebody without a claim: not believed, but the place is no longer empty.
  believer.deliver({ key, revision: 9, epoch: { n: 1, id: "late" }, value: "late" });
  assert.equal(believer.answer(question, null), null);
  assert.equal(believer.held.get(key)?.value, "kept");
});

test("an answer that a newer claim has overtaken changes nothing", () => {
  const key = keys[0]!;
  const believer = settledReader([[key, "kept"]]);
  const [question] = [...believer.questions()];
  assert.ok(question);
  believer.claim(part, { n: 2, id: "two", boot: "boot-1", layout: 0, revision: 8 });
  believer.synced(part, "two");
  assert.equal(believer.answer(question, null), null);
  assert.equal(believer.held.size, 1);
});

test("a record under a claim of the servers' former life is not called stale", () => {
  const key = keys[0]!;
  const believer = new Believer<string>(sliceKeys, [[key, "kept"]]);
  believer.restart("boot-2");
  believer.claim(part, { n: 1, id: "one", boot: "boot-1", layout: 0, revision: 1 });
  assert.equal(believer.deliver({ key, revision: 2, epoch: { n: 1, id: "one" }, value: "kept" }), null);
});

test("a new layout unsettles the whole scope until every new part is settled", () => {
  const believer = settledReader([[keys[0]!, "kept"]]);
  assert.equal(believer.isScopeSettled("member1"), true);
  believer.layout("member1", 1, 2);
  assert.equal(believer.isScopeSettled("member1"), false);
  assert.deepEqual([...believer.questions()], []);
  for (const shard of ["0", "1"]) {
    assert.equal(believer.isScopeSettled("member1"), false);
    const id = `of-${shard}`;
    believer.claim({ scope: "member1", shard }, { n: 2, id, boot: "boot-1", layout: 1, revision: 5 });
    believer.synced({ scope: "member1", shard }, id);
  }
  assert.equal(believer.isScopeSettled("member1"), true);
  assert.deepEqual(
    [...believer.questions()].map(({ key }) => key),
    [keys[0]],
  );
});

test("who has known a part whole fills no gap from an older copy: what he does not hold was gone", () => {
  const [key = ""] = keys;
  const record = { key, revision: 2, epoch: { n: 1, id: "first" }, value: "old" };
  const claim = { n: 1, id: "first", boot: "boot-1", layout: 0, revision: 1 };
  const reader = new Believer<string>(sliceKeys);
  reader.restart("boot-1");
  reader.claim(part, claim);
  reader.deliver(record);
  reader.synced(part, "first");
  reader.deliver({ key, revision: 4, epoch: { n: 1, id: "first" } });
  assert.equal(reader.held.size, 0);
  // The bucket is restored from a copy that still has the key, and nobody has claimed it yet.
  reader.restart("boot-2");
  reader.claim(part, claim);
  reader.deliver(record);
  assert.equal(reader.held.size, 0);
  // Who begins now has nothing better to go by.
  const fresh = new Believer<string>(sliceKeys);
  fresh.restart("boot-2");
  fresh.claim(part, claim);
  fresh.deliver(record);
  assert.equal(fresh.held.get(key)?.value, "old");
  // With a claim of this life it is there again for both.
  reader.claim(part, { n: 2, id: "second", boot: "boot-2", layout: 0, revision: 5 });
  reader.synced(part, "second");
  for (const question of reader.questions()) reader.answer(question, 2);
  assert.equal(reader.held.get(key)?.value, "old");
});

test("who starts from a whole copy fills no gap with records as old as that, unless their claim holds", () => {
  const [old = "", added = "", claimed = ""] = keys;
  const reader = new Believer<string>(sliceKeys, [], 10);
  reader.restart("boot-2");
  reader.claim(part, { n: 1, id: "first", boot: "boot-1", layout: 0, revision: 1 });
  const epoch = { n: 1, id: "first" };
  reader.deliver({ key: old, revision: 10, epoch, value: "it was gone when the copy was made" });
  reader.deliver({ key: added, revision: 11, epoch, value: "it came after" });
  assert.deepEqual([...reader.held.keys()], [added]);
  reader.claim(part, { n: 2, id: "second", boot: "boot-2", layout: 0, revision: 2 });
  const current = { key: claimed, revision: 3, epoch: { n: 2, id: "second" }, value: "of a younger bucket" };
  reader.deliver(current);
  assert.deepEqual([...reader.held.keys()], [added, claimed]);
});
