import assert from "node:assert/strict";
import { test } from "node:test";
import { planSchedule, type Shape, scheduleInWords } from "./schedule.ts";

const shape: Shape = {
  services: ["member-watcher-1", "aggregator-1", "agent-of-proxy-1"],
  links: ["member-watcher-1→bus", "member-watcher-1→member1", "aggregator-1→hub"],
  members: ["member1"],
  proxies: ["proxy-1", "proxy-2"],
  busNodes: 1,
};
const seeds = Array.from({ length: 2000 }, (_, i) => i);

test("the same seed gives the same schedule, another seed another one", () => {
  assert.deepEqual(planSchedule(7, shape), planSchedule(7, shape));
  const different = new Set(seeds.map((seed) => scheduleInWords(planSchedule(seed, shape), 1).join("\n")));
  assert.ok(different.size > seeds.length * 0.99, `${different.size} different ones`);
});

test("every kind of fault comes, on every target", () => {
  const words = seeds.flatMap((seed) => scheduleInWords(planSchedule(seed, shape), 1)).join("\n");
  for (const kind of [
    "aggregator-1 killed",
    "told to end",
    "s, its clock 3600.0 s ahead",
    "s, its clock 3600.0 s behind",
    "agent-of-proxy-1 frozen",
    "connections cut",
    "member-watcher-1→bus: refused",
    "nothing arrives",
    "late each way",
    "nats-server killed (-9), ",
    "its storage removed",
    "cut off from everything",
    "its storage of then restored",
    "API of hub down",
    "API of hub answers nothing",
    "API of member1 down",
    "410",
    "cuts every connection",
    "nginx of proxy-1 killed",
    "one worker of nginx of proxy-2",
    "reloaded",
  ]) {
    assert.ok(words.includes(kind), kind);
  }
});

test("no node of a cluster goes back in time", () => {
  const words = seeds.flatMap((seed) => scheduleInWords(planSchedule(seed, { ...shape, busNodes: 3 }), 3));
  assert.ok(words.some((line) => line.includes("bus node 3 killed")));
  assert.ok(words.every((line) => !line.includes("restored")));
});

test("faults begin within four seconds, and never may both proxies be away at once", () => {
  for (const seed of seeds) {
    const { steps } = planSchedule(seed, shape);
    assert.ok(steps.length >= 2, `seed ${seed}`);
    assert.ok(steps.every(({ atMs }) => atMs >= 0 && atMs <= 4000));
    const kills = steps.flatMap(({ atMs, fault }) =>
      fault.kind === "nginx-kill" ? [{ from: atMs, to: atMs + fault.downMs }] : [],
    );
    for (const [i, a] of kills.entries()) {
      for (const b of kills.slice(i + 1)) assert.ok(a.to < b.from || b.to < a.from, `seed ${seed}`);
    }
  }
});
