import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { authorizationBlock, writeCredentials } from "@sluice/bus";
import { type BusUser, busComponents } from "@sluice/contracts";
import { ensureTool, type NatsCluster, startNatsCluster } from "@sluice/native-tools";
import { eventually, propagateCrds, Scenario } from "../e2e/scenario.ts";
import { RequestLoop } from "../world/requests.ts";
import { type StartedWorld, startedWorld } from "../world/started-world.ts";

// Every service on three nats-servers: TLS, a credential for each component, three copies of every table.

const over = new AbortController();
const { signal } = over;
const members = ["member1", "member2"];
let dir: string;
let cluster: NatsCluster;
let world: StartedWorld;
let s: Scenario;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), "sluice-cluster-"));
  const users: BusUser[] = busComponents.map((component) =>
    component === "member-watcher" ? { component, members } : { component },
  );
  const written = await writeCredentials(join(dir, "auth"), users);
  const tool = await ensureTool("nats-server-cluster", { signal });
  cluster = await startNatsCluster({ tool, dir, configuration: authorizationBlock(written), signal });
  const bus = ["--nats-url", cluster.url, "--nats-auth", join(dir, "auth"), "--nats-replicas", "3"];
  const flags = [...bus, "--nats-ca", cluster.certificates.ca, "--empty", "--members", "2"];
  world = await startedWorld(flags, signal);
  await propagateCrds(world, members, signal);
  s = await Scenario.in(world, "bus", signal);
  await s.applyAll(s.serviceObjects({ name: "cart", clusters: members }));
  await s.answeredBy("cart", members, 2);
});
after(async () => {
  await world?.stop();
  await cluster?.close();
  over.abort();
  await rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});

async function healthy(): Promise<void> {
  await eventually("every server has every copy", async () =>
    (await Promise.all(cluster.nodes.map((node) => node.healthy()))).every(Boolean),
  );
}

/** A change made now arrives at nginx, both ways. */
async function followsChanges(): Promise<void> {
  await s.scale("member1", "cart", 2);
  await s.answeredBy("cart", members, 3);
  await s.scale("member1", "cart", 1);
  await s.answeredBy("cart", members, 2);
}

async function underTraffic(act: () => Promise<void>): Promise<void> {
  const url = `${world.addresses.proxy.http}/`;
  const loop = new RequestLoop(url, s.host, { lines: 2, pauseMs: 10, maxRequests: 100_000 });
  try {
    await act();
    // Where all went quickly there have hardly been any yet.
    await eventually("requests go through all the while", async () => loop.tally.requests > 20);
  } finally {
    await loop.stop();
  }
  const { requests, failed, firstFailure } = loop.tally;
  assert.equal(failed, 0, `${failed} of ${requests} failed, the first: ${firstFailure}`);
}

test("a change goes all the way over three servers", () => underTraffic(followsChanges));

test("two servers are killed one after the other, the second with its storage: changes arrive, no request fails", () =>
  underTraffic(async () => {
    // Leaders are spread over all three; the third dies with the others in the next case.
    for (const [i, node] of cluster.nodes.slice(0, 2).entries()) {
      await healthy();
      await node.kill();
      if (i === 1) await node.wipe();
      await followsChanges();
      await node.start();
    }
    await healthy();
    await followsChanges();
  }));

test("all three servers are killed at once: no request fails, and changes arrive when they are back", () =>
  underTraffic(async () => {
    await Promise.all(cluster.nodes.map((node) => node.kill()));
    await s.answering(20);
    await Promise.all(cluster.nodes.map((node) => node.start()));
    await followsChanges();
  }));

test("no component asked the bus for anything that it may not do", async () => {
  const logs = join(world.addresses.stateDir, "logs");
  const refused: string[] = [];
  for (const name of await readdir(logs)) {
    const lines = (await readFile(join(logs, name), "utf8")).split("\n");
    refused.push(
      ...lines.filter((line) => line.includes("the bus refuses")).map((line) => `${name}: ${line}`),
    );
  }
  assert.deepEqual(refused, []);
});
