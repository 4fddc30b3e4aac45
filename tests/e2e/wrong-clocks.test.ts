import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { decode, Status, type StatusCluster } from "@sluice/contracts";
import { type ClocksAhead, wrongClockArgs, wrongClockEnv } from "../world/clocks-ahead.ts";
import { RequestLoop } from "../world/requests.ts";
import { sluice as sluiceCommand } from "../world/sluice-command.ts";
import { startedWorld } from "../world/started-world.ts";
import { eventually, propagateCrds, Scenario } from "./scenario.ts";
import { StartedProcesses } from "./started-processes.ts";

// Whole processes whose time of day is an hour off: they are told of, and nothing else comes of it.

const HOUR_MS = 3_600_000;
const members = ["member1", "member2"];

async function worldWith(t: TestContext, clocks: ClocksAhead) {
  const { signal } = t;
  const env = { ...wrongClockEnv(clocks), NODE_OPTIONS: wrongClockArgs.join(" ") };
  const world = await startedWorld(["--empty", "--members", "2", "--processes"], signal, env);
  t.after(() => world.stop());
  await propagateCrds(world, members, signal);
  const s = await Scenario.in(world, "clocks", signal);
  await s.applyAll(s.serviceObjects({ name: "cart", clusters: members }));
  await s.answeredBy("cart", members, 2);
  const status = async () => {
    const answer = await fetch(`${world.addresses.gateway}/api/v1/status`, { signal });
    return decode(Status, await answer.json(), "status");
  };
  /** Roles whose clock status tells of, with what it says but for the seconds. */
  const told = async () => {
    const { findings } = await status();
    return findings
      .filter(({ message }) => message.startsWith("its clock is"))
      .map(({ about, message }) => `${about.split(".")[0]}: ${message.replace(/3[56]\d\d s/, "an hour")}`)
      .sort();
  };
  const stateOf = async (cluster: string): Promise<StatusCluster | undefined> =>
    (await status()).clusters.find((each) => each.cluster === cluster);
  /** From the first that is known of a member to its second heartbeat from then on nobody calls it anything but ok. */
  const staysWell = async () => {
    let wrong: string | undefined;
    const heard = new Map<string, { agoMs: number; beats: number }>();
    await eventually("two heartbeats of each member", async () => {
      for (const { cluster, state, reason, heardMsAgo } of (await status()).clusters) {
        if (heardMsAgo === null) continue;
        wrong ??= state === "ok" ? undefined : `${cluster} is ${state}: ${reason}`;
        const { agoMs, beats } = heard.get(cluster) ?? { agoMs: heardMsAgo, beats: 0 };
        heard.set(cluster, { agoMs: heardMsAgo, beats: beats + (heardMsAgo < agoMs ? 1 : 0) });
      }
      return members.every((member) => (heard.get(member)?.beats ?? 0) >= 2);
    });
    assert.equal(wrong, undefined);
  };
  /** A change of the members is followed, and no request fails meanwhile. */
  const followsChanges = async () => {
    const loop = new RequestLoop(`${world.addresses.proxy.http}/`, s.host, {
      lines: 2,
      pauseMs: 5,
      maxRequests: 100_000,
    });
    try {
      await s.scale("member1", "cart", 2);
      await s.answeredBy("cart", members, 3);
      await s.scale("member1", "cart", 1);
      await s.answeredBy("cart", members, 2);
      await eventually("requests go through all the while", async () => loop.tally.requests > 50);
    } finally {
      await loop.stop();
    }
    assert.equal(loop.tally.failed, 0, loop.tally.firstFailure ?? "");
  };
  /** What the gateway has logged of clocks, by subject. */
  const logged = () => {
    const file = join(world.addresses.stateDir, "logs", "topology-gateway.log");
    const lines = readFileSync(file, "utf8").split("\n");
    return lines
      .filter((line) => line.includes('"msg":"its clock is'))
      .map((line) => (JSON.parse(line) as { subject: string }).subject);
  };
  const processes = new StartedProcesses(world);
  const sluice = (...args: string[]) => sluiceCommand(world, args, signal);
  return { s, processes, told, stateOf, staysWell, followsChanges, logged, sluice };
}

test("a watcher that is an hour behind and an aggregator that is an hour ahead are told of, and all goes on", async (t) => {
  const w = await worldWith(t, { "member-watcher": -HOUR_MS, aggregator: HOUR_MS });
  const began = w.processes.running;
  const wrong = [
    "process aggregator: its clock is an hour ahead of the bus server's",
    "process member-watcher: its clock is an hour behind the bus server's",
  ];
  await eventually("status names both", async () => (await w.told()).join() === wrong.join());
  const { exit, stdout } = await w.sluice("status");
  assert.equal(exit, 2, stdout);
  assert.match(stdout, /process member-watcher\.\S+.*its clock is 3[56]\d\d s behind the bus server's/);
  await w.staysWell();
  await w.followsChanges();
  const logged = w.logged();
  assert.deepEqual(logged.map((subject) => subject.split(".")[0]).sort(), [
    "members/aggregator",
    "members/member-watcher",
  ]);
  assert.deepEqual(w.processes.running, began, "nothing has ended or been started again");

  // Who starts now has heard nothing yet, and finds a heartbeat of which the watcher says that it is an hour old.
  for (const name of ["topology-gateway", "config-renderer"]) await w.processes.killHard(name);
  await w.processes.startAgain("topology-gateway", "config-renderer");
  await w.staysWell();
  await w.followsChanges();
  assert.deepEqual(await w.told(), wrong);
});

test("a watcher that is an hour ahead falls silent, and readers that are an hour behind see it in time", async (t) => {
  const w = await worldWith(t, {
    "member-watcher": HOUR_MS,
    "config-renderer": -HOUR_MS,
    "proxy-agent": HOUR_MS,
    "topology-gateway": -HOUR_MS,
  });
  const began = w.processes.running;
  const wrong = [
    "process config-renderer: its clock is an hour behind the bus server's",
    "process member-watcher: its clock is an hour ahead of the bus server's",
    "process proxy-agent: its clock is an hour ahead of the bus server's",
    "process topology-gateway: its clock is an hour behind the bus server's",
  ];
  await eventually("status names all four", async () => (await w.told()).join() === wrong.join());
  await w.staysWell();
  await w.followsChanges();
  assert.deepEqual(w.processes.running, began, "nothing has ended or been started again");

  await w.processes.killHard("member-watcher");
  for (const member of members) {
    await eventually(`${member} is stale`, async () => (await w.stateOf(member))?.state === "stale");
  }
  assert.ok(
    !(await w.told()).some((each) => each.startsWith("process member-watcher")),
    "it is heard no more",
  );
  await w.s.answeredBy("cart", members, 2);
  await w.processes.startAgain("member-watcher");
  await eventually("both are ok again", async () => {
    const states = await Promise.all(members.map(w.stateOf));
    return states.every((each) => each?.state === "ok");
  });
  await w.followsChanges();
});
