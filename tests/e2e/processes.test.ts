import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { RequestLoop } from "../world/requests.ts";
import { type StartedWorld, startedWorld, type WorldAddresses } from "../world/started-world.ts";
import { eventually, propagateCrds, Scenario } from "./scenario.ts";

// Every service, nginx and nats-server are processes of their own here; a killed one stays down until `up` is told
// (SIGUSR2) to start what is down.

const over = new AbortController();
const { signal } = over;
let world: StartedWorld;
let s: Scenario;

before(async () => {
  world = await startedWorld(["--empty", "--members", "2", "--processes"], signal);
  await propagateCrds(world, ["member1", "member2"], signal);
  s = await Scenario.in(world, "crash", signal);
  await s.applyAll(s.serviceObjects({ name: "cart", clusters: ["member1", "member2"] }));
  await s.answeredBy("cart", ["member1", "member2"], 2);
});
after(async () => {
  await world?.stop();
  over.abort();
});

/** run.json as it is now: pids change when a process is started again. */
function running(): WorldAddresses {
  return JSON.parse(readFileSync(join(world.addresses.stateDir, "run.json"), "utf8")) as WorldAddresses;
}

function pidOf(name: string): number | null {
  return running().processes.find((p) => p.name === name)?.pid ?? null;
}

async function killHard(name: string): Promise<void> {
  const pid = pidOf(name);
  assert.ok(pid !== null, `${name} runs`);
  // nginx's workers are its group.
  process.kill(name === "nginx" ? -pid : pid, "SIGKILL");
  await eventually(`${name} is down`, async () => pidOf(name) === null);
}

async function startAgain(...names: string[]): Promise<void> {
  process.kill(world.addresses.pid, "SIGUSR2");
  for (const name of names) await eventually(`${name} runs again`, async () => pidOf(name) !== null);
}

/** The fleet still follows the members: a change made now arrives. */
async function followsChanges(): Promise<void> {
  await s.scale("member1", "cart", 2);
  await s.answeredBy("cart", ["member1", "member2"], 3);
  await s.scale("member1", "cart", 1);
  await s.answeredBy("cart", ["member1", "member2"], 2);
}

const restarted = ["member-watcher", "aggregator", "config-renderer", "proxy-agent", "nats"];

for (const name of restarted) {
  test(`${name} killed and started again under traffic: no failed request, the same peers after`, async () => {
    const loop = new RequestLoop(`${world.addresses.proxy.http}/`, s.host, {
      lines: 2,
      pauseMs: 5,
      maxRequests: 100_000,
    });
    try {
      await killHard(name);
      await s.answering(20);
      await startAgain(name);
      await s.answeredBy("cart", ["member1", "member2"], 2);
      await followsChanges();
    } finally {
      await loop.stop();
    }
    const { requests, failed, firstFailure } = loop.tally;
    assert.ok(requests > 50, `only ${requests} requests`);
    assert.equal(failed, 0, `${failed} of ${requests} failed, the first: ${firstFailure}`);
  });
}

test("with all of them down nginx serves on, and nginx and the agent started again serve the same", async () => {
  for (const name of ["topology-gateway", "propagator", ...restarted]) await killHard(name);
  await s.answeredBy("cart", ["member1", "member2"], 2);
  await killHard("nginx");
  // Only nginx and the agent come back: everything else is held down by a bus that is not there.
  const run = running();
  assert.deepEqual(
    run.processes.filter(({ pid }) => pid !== null).map(({ name }) => name),
    [],
  );
  process.kill(world.addresses.pid, "SIGUSR2");
  await eventually("nginx runs again", async () => pidOf("nginx") !== null);
  await s.answeredBy("cart", ["member1", "member2"], 2);
  await eventually("everything runs again", async () => running().processes.every(({ pid }) => pid !== null));
  await followsChanges();
});
