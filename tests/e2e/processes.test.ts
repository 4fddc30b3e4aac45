import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { RequestLoop } from "../world/requests.ts";
import { type StartedWorld, startedWorld } from "../world/started-world.ts";
import { eventually, propagateCrds, Scenario } from "./scenario.ts";
import { StartedProcesses } from "./started-processes.ts";

// Every service, nginx and nats-server are processes of their own here; a killed one stays down until `up` is told
// (SIGUSR2) to start what is down.

const over = new AbortController();
const { signal } = over;
let world: StartedWorld;
let processes: StartedProcesses;
let s: Scenario;

before(async () => {
  world = await startedWorld(["--empty", "--members", "2", "--processes"], signal);
  processes = new StartedProcesses(world);
  await propagateCrds(world, ["member1", "member2"], signal);
  s = await Scenario.in(world, "crash", signal);
  await s.applyAll(s.serviceObjects({ name: "cart", clusters: ["member1", "member2"] }));
  await s.answeredBy("cart", ["member1", "member2"], 2);
});
after(async () => {
  await world?.stop();
  over.abort();
});

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
      await processes.killHard(name);
      await s.answering(20);
      await processes.startAgain(name);
      await s.answeredBy("cart", ["member1", "member2"], 2);
      await followsChanges();
      await eventually("requests go through all the while", async () => loop.tally.requests > 50);
    } finally {
      await loop.stop();
    }
    const { requests, failed, firstFailure } = loop.tally;
    assert.equal(failed, 0, `${failed} of ${requests} failed, the first: ${firstFailure}`);
  });
}

/** The copy that the agent keeps on disk has peers of both members. */
async function copied(): Promise<void> {
  const file = join(world.addresses.stateDir, "proxy", "last-good.jsonl");
  await eventually("the last good copy has both members' peers", async () => {
    const text = readFileSync(file, "utf8");
    return text.includes('"127.11.') && text.includes('"127.12.');
  });
}

/** Holds the bus's port, so that nats-server cannot come back and whatever else is started knows nothing. */
async function squat(): Promise<AsyncDisposable> {
  const server = createServer((socket) => socket.destroy());
  const { port } = new URL(world.addresses.nats);
  await new Promise<void>((resolve) => server.listen(Number(port), "127.0.0.1", resolve));
  return { [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())) };
}

test("with all of them down nginx serves on, and nginx and the agent started again serve the same", async () => {
  await copied();
  for (const name of ["topology-gateway", "propagator", ...restarted]) await processes.killHard(name);
  await s.answeredBy("cart", ["member1", "member2"], 2);
  await processes.killHard("nginx");
  {
    await using _held = await squat();
    for (let round = 0; round < 2; round++) {
      processes.startWhatIsDown();
      await eventually(
        "nginx and its agent run",
        async () => processes.pidOf("nginx") !== null && processes.pidOf("proxy-agent") !== null,
      );
      assert.equal(processes.pidOf("nats"), null);
      await s.answeredBy("cart", ["member1", "member2"], 2);
      if (round === 0) await processes.killHard("nginx");
    }
  }
  await eventually("everything runs again", async () => {
    if (processes.running.every(({ pid }) => pid !== null)) return true;
    processes.startWhatIsDown();
    await delay(500);
    return false;
  });
  await followsChanges();
});
