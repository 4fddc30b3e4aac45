import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Part, plainKeys, slicesTable } from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import { ManualClock } from "@sluice/service-kit/testing";
import fc from "fast-check";
import type { Bus } from "./bus.ts";
import type { HoldOptions } from "./hold-options.ts";
import { MemoryServer } from "./memory-store.ts";
import { rank } from "./ranking.ts";
import { memoryBus } from "./testing.ts";

const part: Part = { scope: "member1", shard: "0" };
const parts = Array.from(
  { length: 64 },
  (_, n): Part => ({ scope: `member${n % 8}`, shard: String(n >> 3) }),
);

const processes = fc.uniqueArray(
  fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: 12, maxLength: 12 }),
  { minLength: 1, maxLength: 12 },
);

test("everybody comes to the same order, however the members were told", () => {
  fc.assert(
    fc.property(processes, (names) => {
      const there = names.map((process) => ({ process }));
      for (const each of parts) {
        assert.deepEqual(rank("slices", each, there), rank("slices", each, there.toReversed()));
      }
    }),
  );
});

test("a process that comes moves only the parts that it gets, one that goes only those that it had", () => {
  fc.assert(
    fc.property(processes, fc.constant("ffffffffffff"), (names, comer) => {
      fc.pre(!names.includes(comer));
      const before = names.map((process) => ({ process }));
      const after = [...before, { process: comer }];
      for (const each of parts) {
        const [old] = rank("slices", each, before);
        const [now] = rank("slices", each, after);
        assert.ok(now === old || now === comer, `${JSON.stringify(each)} went from ${old} to ${now}`);
      }
    }),
  );
});

test("parts are spread: of 1,024 parts no one of eight processes gets more than twice its share", () => {
  const eight = Array.from({ length: 8 }, (_, n) => ({
    process: `member-watcher.${"0123456789ab".slice(n)}${n}`,
  }));
  const many = Array.from({ length: 1024 }, (_, n): Part => ({ scope: `member${n}`, shard: "0" }));
  const counts = new Map<string, number>();
  for (const each of many) {
    const first = rank("slices", each, eight)[0] ?? "";
    counts.set(first, (counts.get(first) ?? 0) + 1);
  }
  assert.equal(counts.size, 8);
  assert.ok(Math.max(...counts.values()) < 256, JSON.stringify([...counts]));
});

test("who serves other scopes is no candidate, and who has resigned ranks after all others until all have", () => {
  const id = "slices/member1/0";
  const names = ["a", "b", "c"];
  const [first = ""] = rank(
    "slices",
    part,
    names.map((process) => ({ process })),
  );
  const resigned = (who: readonly string[]) =>
    names.map((process) => (who.includes(process) ? { process, resigned: new Set([id]) } : { process }));
  assert.equal(rank("slices", part, resigned([first])).at(-1), first);
  assert.equal(rank("slices", part, resigned(names))[0], first);
  const others = names.map((process) => ({
    process,
    serves: new Set([process === first ? "member2" : "member1"]),
  }));
  assert.ok(!rank("slices", part, others).includes(first));
});

interface Member {
  readonly bus: Bus;
  readonly end: AbortController;
}

/** Processes of one role with one bus and one clock, which end with the test. */
class World {
  readonly clock = new ManualClock();
  readonly server = new MemoryServer(this.clock);
  readonly #ends: AbortController[] = [];
  readonly #holders: { readonly done: Promise<void> }[] = [];

  constructor(t: TestContext) {
    t.after(async () => {
      for (const end of this.#ends) end.abort();
      // Who leaves waits for its heir, for a time.
      await this.clock.pass(10_000);
      await Promise.all(this.#holders.map((each) => each.done));
    });
  }

  start(): Member {
    const end = new AbortController();
    const kit = createKit({ service: "member-watcher", signal: end.signal, clock: this.clock });
    const bus = memoryBus({ role: "member-watcher", signal: end.signal, server: this.server, kit });
    void bus.join();
    this.#ends.push(end);
    return { bus, end };
  }

  hold({ bus }: Member, options: Partial<HoldOptions> = {}) {
    const holder = bus.hold(slicesTable, part, { fresh: async () => {}, ...options });
    this.#holders.push(holder);
    return holder;
  }
}

test("two live processes agree on who is first; the second takes over at once when the first leaves", async (t) => {
  const world = new World(t);
  const { clock } = world;
  const members = [world.start(), world.start()];
  const holders = members.map((each) => world.hold(each));
  await clock.until("one holds", () => holders.some((each) => each.synced));
  await clock.until("ranks are known", () => holders.every((each) => each.rank >= 0));
  assert.deepEqual(holders.map((each) => each.rank).sort(), [0, 1]);
  await clock.until("the first in rank holds", () =>
    holders.every((each) => each.holding === (each.rank === 0)),
  );
  const first = holders.findIndex((each) => each.rank === 0);
  const heir = holders[1 - first];
  members[first]?.end.abort(new Error("SIGTERM"));
  const tookMs = await clock.until("the heir has synced", () => heir?.synced === true);
  assert.ok(tookMs <= 200, `${tookMs} ms`);
});

test("until its heir has claimed, a process that leaves writes on", async (t) => {
  const world = new World(t);
  const { clock } = world;
  const old = world.start();
  const holder = world.hold(old);
  await clock.until("it holds", () => holder.synced);
  const warm = Promise.withResolvers<void>();
  const young = world.start();
  const heir = world.hold(young, { warm: () => warm.promise });
  await clock.until(
    "both are seen",
    () => heir.rank >= 0 && old.bus.rankOf(slicesTable, part) + heir.rank === 1,
  );
  old.end.abort(new Error("SIGTERM"));
  await clock.pass(100);
  assert.equal(holder.holding, true);
  warm.resolve();
  await clock.until("the heir holds", () => heir.holding);
});

test("a process that falls silent without a word is dead after three seconds", async (t) => {
  const world = new World(t);
  const { clock, server } = world;
  const lives = [world.start(), world.start()];
  const ranks = () => lives.map(({ bus }) => bus.rankOf(slicesTable, part));
  await clock.until("both are seen", () => ranks().sort().join() === "0,1");
  const first = ranks().indexOf(0);
  const silent = lives[first]?.bus.self ?? "";
  const put = server.put.bind(server);
  server.put = (name, key, ...rest) => {
    if (key === silent) throw new Error("cut off");
    return put(name, key, ...rest);
  };
  const tookMs = await clock.until("the other is first", () => ranks()[1 - first] === 0);
  assert.ok(tookMs > 1900 && tookMs < 4000, `${tookMs} ms`);
});

test("a source that cannot be read in time is left to a process that can read it", async (t) => {
  const world = new World(t);
  const { clock } = world;
  const members = [world.start(), world.start()];
  const never = new Promise<void>(() => {});
  await clock.until("they agree", () => {
    const ranks = members.map(({ bus }) => bus.rankOf(slicesTable, part));
    return ranks.sort().join() === "0,1";
  });
  const first = members.findIndex(({ bus }) => bus.rankOf(slicesTable, part) === 0);
  const holders = members.map((each, n) =>
    world.hold(each, { fresh: () => (n === first ? never : Promise.resolve()), patienceMs: 50 }),
  );
  await clock.until("the other holds", () => holders[1 - first]?.synced === true);
  assert.equal(holders[first]?.holding, false);
});

test("`members` shows who holds a part and who stands by for it", async (t) => {
  const world = new World(t);
  const { clock, server } = world;
  const members = [world.start(), world.start()];
  for (const each of members) world.hold(each);
  const shown = () =>
    members.map(({ bus }) => {
      const [role = "", process = ""] = bus.self.split(".");
      const found = server.get("members", plainKeys.member(role, process));
      return found === null ? [] : JSON.parse(Buffer.from(found.value).toString()).data.parts;
    });
  await clock.until("both are shown", () => {
    const states = shown().flatMap((list) => list?.map((each: { state: string }) => each.state) ?? []);
    return states.sort().join() === "standby,synced";
  });
});

test("a process whose bus takes long to answer is alive to the others, and finds out who falls silent", async (t) => {
  const world = new World(t);
  const { clock, server } = world;
  const connect = server.connect.bind(server);
  const silent = new Set<string>();
  const never = new AbortController().signal;
  server.connect = () => {
    const store = connect();
    const put: typeof store.put = async (spec, key, ...rest) => {
      await clock.sleep(700, never);
      if (silent.has(key)) throw new Error("cut off");
      const result = await store.put(spec, key, ...rest);
      await clock.sleep(700, never);
      return result;
    };
    return new Proxy(store, {
      get(target, name) {
        if (name === "put") return put;
        const value = Reflect.get(target, name, target) as unknown;
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  };
  const lives = [world.start(), world.start()];
  const ranks = () => lives.map(({ bus }) => bus.rankOf(slicesTable, part));
  await clock.until("both are seen", () => ranks().sort().join() === "0,1");
  await clock.pass(10_000);
  assert.equal(ranks().sort().join(), "0,1", "both are alive to each other");
  const first = ranks().indexOf(0);
  silent.add(lives[first]?.bus.self ?? "");
  const tookMs = await clock.until("the other is first", () => ranks()[1 - first] === 0);
  assert.ok(tookMs < 6000, `${tookMs} ms`);
});
