import assert from "node:assert/strict";
import { test } from "node:test";
import { type Part, plainKeys, slicesTable } from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import fc from "fast-check";
import type { Bus } from "./bus.ts";
import { MemoryServer } from "./memory-store.ts";
import { rank } from "./ranking.ts";
import { memoryBus } from "./testing.ts";

const part: Part = { scope: "member1", shard: "0" };
const parts = Array.from(
  { length: 64 },
  (_, n): Part => ({ scope: `member${n % 8}`, shard: String(n >> 3) }),
);

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 3000; tries++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.fail(`never came true: ${what}`);
}

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

function start(server: MemoryServer, serves?: readonly string[]): Member {
  const end = new AbortController();
  const bus = memoryBus({ role: "member-watcher", signal: end.signal, server });
  void bus.join(serves);
  return { bus, end };
}

test("two live processes agree on who is first; the second takes over at once when the first leaves", async () => {
  const server = new MemoryServer();
  const members = [start(server), start(server)];
  const holders = members.map(({ bus }) => bus.hold(slicesTable, part, { fresh: async () => {} }));
  await until("one holds", () => holders.some((each) => each.synced));
  await until("ranks are known", () => holders.every((each) => each.rank >= 0));
  assert.deepEqual(holders.map((each) => each.rank).sort(), [0, 1]);
  await until("the first in rank holds", () => holders.every((each) => each.holding === (each.rank === 0)));
  const first = holders.findIndex((each) => each.rank === 0);
  const heir = holders[1 - first];
  const began = performance.now();
  members[first]?.end.abort(new Error("SIGTERM"));
  await until("the heir has synced", () => heir?.synced === true);
  assert.ok(performance.now() - began < 2500, "sooner than silence would tell");
  await holders[first]?.done;
  members[1 - first]?.end.abort();
  await heir?.done;
});

test("until its heir has claimed, a process that leaves writes on", async () => {
  const server = new MemoryServer();
  const old = start(server);
  const holder = old.bus.hold(slicesTable, part, { fresh: async () => {} });
  await until("it holds", () => holder.synced);
  const warm = Promise.withResolvers<void>();
  const young = start(server);
  const heir = young.bus.hold(slicesTable, part, { warm: () => warm.promise, fresh: async () => {} });
  await until("both are seen", () => heir.rank >= 0 && old.bus.rankOf(slicesTable, part) + heir.rank === 1);
  old.end.abort(new Error("SIGTERM"));
  assert.equal(holder.holding, true);
  warm.resolve();
  await until("the heir holds", () => heir.holding);
  await holder.done;
  young.end.abort();
  await heir.done;
});

test("a process that falls silent without a word is dead after three seconds", async () => {
  const server = new MemoryServer();
  const lives = [start(server), start(server)];
  const ranks = () => lives.map(({ bus }) => bus.rankOf(slicesTable, part));
  await until("both are seen", () => ranks().sort().join() === "0,1");
  const first = ranks().indexOf(0);
  const silent = lives[first]?.bus.self ?? "";
  const put = server.put.bind(server);
  server.put = (name, key, ...rest) => {
    if (key === silent) throw new Error("cut off");
    return put(name, key, ...rest);
  };
  const began = performance.now();
  await until("the other is first", () => ranks()[1 - first] === 0);
  const tookMs = performance.now() - began;
  assert.ok(tookMs > 1900 && tookMs < 4000, `${tookMs} ms`);
  for (const { end } of lives) end.abort();
});

test("a source that cannot be read in time is left to a process that can read it", async () => {
  const server = new MemoryServer();
  const members = [start(server), start(server)];
  const never = new Promise<void>(() => {});
  await until("ranks are known", () => members.every(({ bus }) => bus.rankOf(slicesTable, part) >= 0));
  await until(
    "they agree",
    () => members.reduce((sum, { bus }) => sum + bus.rankOf(slicesTable, part), 0) === 1,
  );
  const first = members.findIndex(({ bus }) => bus.rankOf(slicesTable, part) === 0);
  const holders = members.map(({ bus }, n) =>
    bus.hold(slicesTable, part, { fresh: () => (n === first ? never : Promise.resolve()), patienceMs: 50 }),
  );
  await until("the other holds", () => holders[1 - first]?.synced === true);
  assert.equal(holders[first]?.holding, false);
  for (const { end } of members) end.abort();
  await Promise.all(holders.map((each) => each.done));
});

test("`members` shows who holds a part and who stands by for it", async () => {
  const server = new MemoryServer();
  const members = [start(server), start(server)];
  const holders = members.map(({ bus }) => bus.hold(slicesTable, part, { fresh: async () => {} }));
  const kit = createKit({ service: "test", signal: new AbortController().signal });
  const shown = () =>
    members.map(({ bus }) => {
      const [role = "", process = ""] = bus.self.split(".");
      const found = server.get("members", plainKeys.member(role, process));
      return found === null ? [] : JSON.parse(Buffer.from(found.value).toString()).data.parts;
    });
  await until("both are shown", () => {
    const states = shown().flatMap((list) => list?.map((each: { state: string }) => each.state) ?? []);
    return states.sort().join() === "standby,synced";
  });
  assert.equal(kit.signal.aborted, false);
  for (const { end } of members) end.abort();
  await Promise.all(holders.map((each) => each.done));
});

test("a process whose bus takes long to answer is alive to the others, and finds out who falls silent", async () => {
  const server = new MemoryServer();
  const connect = server.connect.bind(server);
  const silent = new Set<string>();
  const halfway = () => new Promise((resolve) => setTimeout(resolve, 700));
  server.connect = () => {
    const store = connect();
    const put: typeof store.put = async (spec, key, ...rest) => {
      await halfway();
      if (silent.has(key)) throw new Error("cut off");
      const result = await store.put(spec, key, ...rest);
      await halfway();
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
  const lives = [start(server), start(server)];
  const ranks = () => lives.map(({ bus }) => bus.rankOf(slicesTable, part));
  await until("both are seen", () => ranks().sort().join() === "0,1");
  const first = ranks().indexOf(0);
  silent.add(lives[first]?.bus.self ?? "");
  const began = performance.now();
  await until("the other is first", () => ranks()[1 - first] === 0);
  const tookMs = performance.now() - began;
  assert.ok(tookMs < 6000, `${tookMs} ms`);
  for (const { end } of lives) end.abort();
});
