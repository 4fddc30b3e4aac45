import assert from "node:assert/strict";
import { test } from "node:test";
import type { FleetSettings, ProfileRow, RolloutReport } from "@sluice/contracts";
import fc from "fast-check";
import {
  configurationOf,
  GIVE_UP_MS,
  nextRollout,
  noRollout,
  type RolloutProxy,
  type RolloutState,
} from "./rollout.ts";

const row = (hash: string): ProfileRow => ({ hash, settings: { readTimeoutMs: hash.length } });
const wantedOf = (...hashes: string[]) => new Map(hashes.map((hash) => [hash, row(hash)]));
const idOf = (...hashes: string[]) => configurationOf(hashes.map(row), {}).id;
const proxy = (name: string, report: Partial<RolloutReport> = {}, live = true): RolloutProxy => ({
  name,
  live,
  report: { order: "1", runs: "", settings: true, ...report },
});
const names = (count: number) =>
  Array.from({ length: count }, (_, i) => `proxy-${String(i).padStart(3, "0")}`);
const hashes = (state: RolloutState["target"]) => state?.profiles.map(({ hash }) => hash);

/** Steps until nothing changes, with proxies that do at once what they are let to do. @returns who was let, step by step */
function stepsOf(count: number, wanted = wantedOf("a")): string[][] {
  let state = noRollout;
  const steps: string[][] = [];
  const runs = new Map<string, string>();
  for (;;) {
    const proxies = names(count).map((name) => proxy(name, { runs: runs.get(name) ?? "" }));
    const next = nextRollout(state, { wanted, proxies, orderAgeMs: 0 });
    if (next === state) return steps;
    const more = next.admitted.filter((name) => !state.admitted.includes(name));
    if (more.length > 0) steps.push(more);
    if (next.target !== null) for (const name of next.admitted) runs.set(name, next.target.id);
    state = next;
  }
}

test("one proxy tries a configuration first, then a quarter of them at a time run it", () => {
  assert.deepEqual(
    stepsOf(100).map(({ length }) => length),
    [1, 25, 25, 25, 24],
  );
  assert.deepEqual(
    stepsOf(3).map(({ length }) => length),
    [1, 1, 1],
  );
  assert.deepEqual(stepsOf(1), [["proxy-000"]]);
});

test("what nobody has tried is tried by nobody while no proxy is there, and by the first that comes", () => {
  const wanted = wantedOf("a");
  const waiting = nextRollout(noRollout, { wanted, proxies: [], orderAgeMs: 0 });
  assert.deepEqual([waiting.proven, waiting.target], [null, null]);
  const begun = nextRollout(waiting, { wanted, proxies: [proxy("new")], orderAgeMs: 0 });
  assert.deepEqual([begun.admitted, hashes(begun.target)], [["new"], ["a"]]);
});

test("no second proxy is let before the first runs with it, however long that takes it", () => {
  const proxies = [proxy("one"), proxy("two"), proxy("three")];
  const wanted = wantedOf("a");
  const begun = nextRollout(noRollout, { wanted, proxies, orderAgeMs: 0 });
  assert.deepEqual(begun.admitted, ["one"]);
  assert.equal(nextRollout(begun, { wanted, proxies, orderAgeMs: GIVE_UP_MS - 1 }), begun);
});

test("a step waits until all of the one before run with it, but not for those that have gone, nor for ever", () => {
  const wanted = wantedOf("a");
  const target = configurationOf([row("a")]);
  const all = names(12);
  const state = { ...noRollout, proven: configurationOf([]), target, admitted: all.slice(0, 4) };
  const seen = (slow: RolloutProxy) => [
    ...all.slice(0, 3).map((name) => proxy(name, { runs: target.id })),
    slow,
    ...all.slice(4).map((name) => proxy(name)),
  ];
  const late = all[3] ?? "";
  const next = (slow: RolloutProxy, orderAgeMs = 0) =>
    nextRollout(state, { wanted, proxies: seen(slow), orderAgeMs }).admitted.length;
  assert.equal(next(proxy(late), GIVE_UP_MS - 1), 4, "it has not said yet what became of it");
  assert.equal(next(proxy(late, { runs: target.id })), 4 + 3);
  assert.equal(next(proxy(late, {}, false)), 4 + 3);
  assert.equal(next(proxy(late), GIVE_UP_MS), 4 + 3);
});

test("a failure stops it, and the profile that did it is refused until nobody asks for it any more", () => {
  const proxies = [proxy("one"), proxy("two")];
  const begun = nextRollout(noRollout, { wanted: wantedOf("bad", "good"), proxies, orderAgeMs: 0 });
  const failed = { configuration: begun.target?.id ?? "", why: "invalid number", profile: "bad" };
  const view = {
    wanted: wantedOf("bad", "good"),
    proxies: [proxy("one", { failed }), proxy("two")],
    orderAgeMs: 0,
  };
  const stopped = nextRollout(begun, view);
  assert.deepEqual(stopped.refused, [{ hash: "bad", proxy: "one", why: "invalid number" }]);
  assert.deepEqual([stopped.admitted, hashes(stopped.target)], [["one"], ["good"]]);
  const proven = { ...noRollout, proven: configurationOf([], {}), refused: stopped.refused };
  assert.equal(nextRollout(proven, { wanted: wantedOf("bad"), proxies, orderAgeMs: 0 }), proven);
  const forgotten = nextRollout(proven, { wanted: wantedOf(), proxies, orderAgeMs: 0 });
  assert.deepEqual(forgotten.refused, []);
});

test("a change that comes meanwhile waits until the fleet is through with the one before", () => {
  const proxies = [proxy("one", { runs: idOf("a") }), proxy("two")];
  let state = nextRollout(noRollout, {
    wanted: wantedOf("a"),
    proxies: [proxy("one"), proxy("two")],
    orderAgeMs: 0,
  });
  state = nextRollout(state, { wanted: wantedOf("a", "b"), proxies, orderAgeMs: 0 });
  assert.deepEqual([state.admitted, hashes(state.target)], [["one", "two"], ["a"]]);
  const both = [proxy("one", { runs: idOf("a") }), proxy("two", { runs: idOf("a") })];
  state = nextRollout(state, { wanted: wantedOf("a", "b"), proxies: both, orderAgeMs: 0 });
  assert.deepEqual(
    [hashes(state.proven), state.admitted, hashes(state.target)],
    [["a"], ["one"], ["a", "b"]],
  );
});

test("a proxy that was away, is new or fell silent later keeps nobody waiting", () => {
  const running = { runs: idOf("a") };
  const begun = {
    ...noRollout,
    proven: configurationOf([]),
    target: configurationOf([row("a")]),
    admitted: ["one", "two"],
  };
  const proxies = [proxy("one", running), proxy("two", {}, false)];
  const done = nextRollout(begun, { wanted: wantedOf("a"), proxies, orderAgeMs: 0 });
  assert.deepEqual([hashes(done.proven), done.target], [["a"], null]);
});

test("a first proxy that falls silent is given up after a while; a second one is the last", () => {
  const wanted = wantedOf("a");
  const live = [proxy("one"), proxy("two"), proxy("three")];
  const begun = nextRollout(noRollout, { wanted, proxies: live, orderAgeMs: 0 });
  const silent = [proxy("one", {}, false), proxy("two"), proxy("three")];
  assert.equal(nextRollout(begun, { wanted, proxies: silent, orderAgeMs: GIVE_UP_MS - 1 }), begun);
  const second = nextRollout(begun, { wanted, proxies: silent, orderAgeMs: GIVE_UP_MS });
  assert.deepEqual(second.admitted, ["one", "three"]);
  const both = [proxy("one", {}, false), proxy("three", {}, false), proxy("two")];
  const ended = nextRollout(second, { wanted, proxies: both, orderAgeMs: GIVE_UP_MS });
  assert.deepEqual([ended.target, ended.refused.map(({ hash }) => hash)], [null, ["a"]]);
});

test("proxies that run it already, e.g. since the bus has lost its storage, are let at once", () => {
  const proxies = names(10).map((name) => proxy(name, { runs: idOf("a") }));
  let state = nextRollout(noRollout, { wanted: wantedOf("a"), proxies, orderAgeMs: 0 });
  state = nextRollout(state, { wanted: wantedOf("a"), proxies, orderAgeMs: 0 });
  assert.equal(state.admitted.length, 10);
});

test("proxies of an earlier version are neither let nor waited for", () => {
  const proxies: RolloutProxy[] = [{ name: "old", live: true }, proxy("two", { runs: idOf("a") })];
  let state = nextRollout(noRollout, { wanted: wantedOf("a"), proxies, orderAgeMs: 0 });
  assert.deepEqual(state.admitted, ["two"]);
  state = nextRollout(state, { wanted: wantedOf("a"), proxies, orderAgeMs: 0 });
  assert.deepEqual(hashes(state.proven), ["a"]);
});

/** A state in which these settings are what every proxy runs with. */
const provenWith = (settings: FleetSettings): RolloutState => ({
  ...noRollout,
  proven: configurationOf([], settings),
});

test("a setting of listeners is tried by one proxy first, and so is that it is taken away", () => {
  const proxies = [proxy("one"), proxy("two")];
  const wanted = wantedOf();
  const begun = nextRollout(provenWith({}), {
    wanted,
    settings: { keepAliveMs: 5000 },
    proxies,
    orderAgeMs: 0,
  });
  assert.deepEqual(
    [begun.admitted, begun.target?.settings, begun.proven?.settings],
    [["one"], { keepAliveMs: 5000 }, {}],
  );
  const other = nextRollout(provenWith({ keepAliveMs: 5000 }), {
    wanted,
    settings: { keepAliveMs: 9000 },
    proxies,
    orderAgeMs: 0,
  });
  assert.deepEqual(other.proven?.settings, { keepAliveMs: 5000 }, "until the new one is proven");
  const gone = nextRollout(provenWith({ keepAliveMs: 5000 }), {
    wanted,
    settings: {},
    proxies,
    orderAgeMs: 0,
  });
  assert.deepEqual(
    [gone.admitted, gone.target?.settings, gone.proven?.settings],
    [["one"], {}, { keepAliveMs: 5000 }],
  );
});

test("a setting that would not do is refused with its value, and the proven one goes on until another is said", () => {
  const proxies = [proxy("one"), proxy("two")];
  const wanted = wantedOf();
  const settings = { keepAliveMs: 9000 };
  const begun = nextRollout(provenWith({ keepAliveMs: 5000 }), { wanted, settings, proxies, orderAgeMs: 0 });
  const failed = { configuration: begun.target?.id ?? "", why: "no answer" };
  const after = { wanted, settings, proxies: [proxy("one", { failed }), proxy("two")], orderAgeMs: 0 };
  const stopped = nextRollout(begun, after);
  assert.deepEqual(stopped.refusedSettings, [
    { setting: "keepAliveMs", value: 9000, proxy: "one", why: "no answer" },
  ]);
  assert.deepEqual([stopped.target, stopped.proven?.settings], [null, { keepAliveMs: 5000 }]);
  assert.equal(nextRollout(stopped, after), stopped, "it is not tried again");
  const mended = nextRollout(stopped, { ...after, settings: { keepAliveMs: 8000 } });
  assert.deepEqual([mended.refusedSettings, mended.target?.settings], [undefined, { keepAliveMs: 8000 }]);
  const back = nextRollout(stopped, { ...after, settings: { keepAliveMs: 5000 } });
  assert.deepEqual([back.refusedSettings, back.target], [undefined, null]);
});

test("of settings nothing is said by an earlier renderer, and nothing is taken away for it", () => {
  const earlier: RolloutState = { ...noRollout, proven: configurationOf([]) };
  const proxies = [proxy("one")];
  const begun = nextRollout(earlier, {
    wanted: wantedOf(),
    settings: { hsts: false },
    proxies,
    orderAgeMs: 0,
  });
  assert.deepEqual([begun.proven?.settings, begun.target?.settings], [undefined, { hsts: false }]);
  assert.equal(configurationOf([]).id, configurationOf([], {}).id);
  assert.notEqual(configurationOf([]).id, configurationOf([], { hsts: false }).id);
});

const settingsOf = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, 1]));
const SETTING = /^[A-Z]$/;

/**
 * A fleet that does what it is told, one proxy at a time, in whose hands some profiles and settings break nginx. Settings
 * have capital letters.
 */
function play(
  count: number,
  all: readonly string[],
  bad: ReadonlySet<string>,
  tells: boolean,
  choose: (n: number) => number,
): { hurt: Set<string>; state: RolloutState; failures: number } {
  let state = noRollout;
  const wanted = wantedOf(...all.filter((name) => !SETTING.test(name)));
  const settings = settingsOf(all.filter((name) => SETTING.test(name)));
  const reports = new Map(names(count).map((name) => [name, proxy(name)]));
  const hurt = new Set<string>();
  let failures = 0;
  for (let step = 0; step < 2000; step++) {
    const next = nextRollout(state, { wanted, settings, proxies: [...reports.values()], orderAgeMs: 0 });
    const idle = [...reports.values()].filter(
      ({ name, report }) =>
        next.target !== null && next.admitted.includes(name) && report?.runs !== next.target.id,
    );
    if (next === state && idle.length === 0) break;
    // Another order: what failed under the one before is not said any more.
    if (next !== state)
      for (const [name, { report }] of reports) reports.set(name, proxy(name, { runs: report?.runs ?? "" }));
    state = next;
    const mine = idle[idle.length > 0 ? choose(idle.length) : 0];
    if (mine === undefined || state.target === null) continue;
    const tried = [...(hashes(state.target) ?? []), ...Object.keys(state.target.settings ?? {})];
    const breaks = tried.filter((name) => bad.has(name));
    if (breaks.length === 0) reports.set(mine.name, proxy(mine.name, { runs: state.target.id }));
    else {
      hurt.add(mine.name);
      failures++;
      const failed = {
        configuration: state.target.id,
        why: "it broke",
        ...(tells ? { [SETTING.test(breaks[0] as string) ? "setting" : "profile"]: breaks[0] } : {}),
      };
      reports.set(mine.name, proxy(mine.name, { runs: mine.report?.runs ?? "", failed }));
    }
  }
  return { hurt, state, failures };
}

test("whatever profiles and settings break nginx, one proxy is hurt at most, and all others are proven in the end", () => {
  const letters = [..."ABCDEFGHabcdefgh"];
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.subarray(letters),
      fc.subarray(letters),
      fc.boolean(),
      fc.infiniteStream(fc.nat()),
      (count, all, broken, tells, chance) => {
        const bad = new Set(broken.filter((hash) => all.includes(hash)));
        const choose = (n: number) => (chance.next().value as number) % n;
        const { hurt, state, failures } = play(count, all, bad, tells, choose);
        assert.ok(hurt.size <= 1, `${[...hurt].join()} were hurt`);
        const refused = [
          ...state.refused.map(({ hash }) => hash),
          ...(state.refusedSettings ?? []).map(({ setting }) => setting),
        ];
        assert.deepEqual(refused.sort(), [...bad].sort());
        const good = all.filter((name) => !bad.has(name));
        assert.deepEqual(
          [...Object.keys(state.proven?.settings ?? {}), ...(hashes(state.proven) ?? [])],
          good,
        );
        const most = tells ? bad.size : bad.size * 2 * (Math.log2(letters.length) + 1);
        assert.ok(failures <= most, `${failures} failures to find ${bad.size} of ${all.length}`);
      },
    ),
    { numRuns: 300 },
  );
});
