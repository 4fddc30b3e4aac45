import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { after, before, suite, type TestContext, test } from "node:test";
import { defaultSettings, type ProfileSettings } from "@sluice/ingress";
import { systemClock } from "@sluice/service-kit";
import type { NginxRow } from "./nginx-row.ts";
import type { NginxOptions } from "./prepare-nginx.ts";
import { reloadNginx } from "./reload-nginx.ts";
import { testAgent } from "./testing/agent-world.ts";
import { testAuthority, testCertificate } from "./testing/certificates.ts";
import { type TestNginx, testNginx } from "./testing/proxy-world.ts";
import {
  holderOf,
  openStream,
  type Stream,
  type StreamKind,
  type StreamPeer,
  streamKinds,
  streamPeer,
} from "./testing/streams.ts";
import { certificateRow } from "./testing/tls-clients.ts";

const HOST = "shop.example.test";
const streaming: ProfileSettings = {
  ...defaultSettings,
  requestBuffering: false,
  responseBuffering: false,
  maxBodyBytes: 0,
};

interface World {
  readonly nginx: TestNginx;
  readonly peer: StreamPeer;
  readonly other: StreamPeer;
}

const calls: ProfileSettings = { ...streaming, protocol: "grpc" };

/** @param upstream of the two that lead to one peer, `<upstream>-calls` is for gRPC */
const route = (upstream: string, shut = false): NginxRow => {
  // Of a Secret that is not there: nobody comes in.
  const more = shut ? ([{ access: { users: { secret: "nobody", realm: "" } } }] as const) : ([] as const);
  return {
    k: "route",
    host: HOST,
    paths: [
      ["P", "/", upstream, shut ? "guarded" : "streams", ...more],
      ["P", "/grpc", `${upstream}-calls`, shut ? "guardedcalls" : "calls", ...more],
    ],
    certificate: "shop-tls",
  };
};
const peers = (upstream: string, { address, port, grpcPort }: StreamPeer, draining = false): NginxRow[] =>
  (
    [
      [upstream, port],
      [`${upstream}-calls`, grpcPort],
    ] as const
  ).map(([id, at]) => ({
    k: "peers",
    upstream: id,
    cluster: "member1",
    peers: [draining ? [address, at, 1, 1] : [address, at, 1]],
  }));

const workersOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").map(Number);

let reloads = 0;

async function reload(
  { nginx }: World,
  t: TestContext,
  listeners: NginxOptions["listeners"] = {},
): Promise<void> {
  const profiles = new Map([
    ["streams", streaming],
    ["calls", calls],
    ["guarded", { ...streaming, guards: true }],
    ["guardedcalls", { ...calls, guards: true }],
  ]);
  // Another location each time.
  profiles.set(`p${++reloads}`, { ...defaultSettings, readTimeoutMs: 1000 + reloads });
  const ports = { nginx: nginx.client, clock: systemClock, signal: t.signal, newWorkersMs: 60_000 };
  assert.deepEqual(await reloadNginx({ ...nginx.options, listeners }, profiles, ports), { ok: true });
}

/** As it is before a change. */
async function prepared({ nginx, peer, other }: World): Promise<void> {
  await nginx.apply(
    ...["web", "web-calls", "other", "other-calls"].map((id) => ({ k: "upstream", id }) as const),
    ...peers("web", peer),
    ...peers("other", other),
    route("web"),
  );
}

async function certificate(): Promise<NginxRow> {
  const authority = await testAuthority("example authority");
  return certificateRow("shop-tls", await testCertificate(authority, [HOST]));
}

interface Change {
  readonly name: string;
  make(world: World, t: TestContext): Promise<void>;
}

const changes: readonly Change[] = [
  {
    name: "the end of its endpoint's record",
    make: ({ nginx, other }) => nginx.apply(...peers("web", other)),
  },
  {
    name: "the terminating of its peer",
    make: ({ nginx, peer }) => nginx.apply(...peers("web", peer, true)),
  },
  { name: "a route that leads elsewhere", make: ({ nginx }) => nginx.apply(route("other")) },
  { name: "the end of its route", make: ({ nginx }) => nginx.apply({ k: "route", host: HOST, del: true }) },
  { name: "another certificate", make: async ({ nginx }) => nginx.apply(await certificate()) },
  { name: "a policy that lets nobody in", make: ({ nginx }) => nginx.apply(route("web", true)) },
  { name: "a reload for another profile", make: (world, t) => reload(world, t) },
  {
    name: "a reload for other settings of its listeners",
    make: (world, t) => reload(world, t, { keepAliveMs: 61_000 + ++reloads }),
  },
  {
    name: "a restart of the agent",
    async make({ nginx }, t) {
      for (let life = 0; life < 2; life++) {
        const agent = testAgent(nginx, null);
        await t.waitFor(() => assert.ok(agent.records.at(-1)?.nginx.up), { timeout: 60_000, interval: 10 });
        await agent.stop();
      }
    },
  },
];

/** A connection falls to either worker: closed again until it is this one. */
async function openAt(pid: number, kind: StreamKind, world: World, signal: AbortSignal): Promise<Stream> {
  const workers = workersOf(world.nginx.process.pid);
  for (let tries = 0; tries < 200; tries++) {
    const stream = await openStream(kind, world.nginx, HOST, world.peer, signal);
    if (holderOf(stream.localPort, workers) === pid) return stream;
    stream.close();
  }
  throw new Error(`no ${kind} fell to worker ${pid}`);
}

suite("streams", () => {
  let world: World;
  const ended = new AbortController();
  const stack = new AsyncDisposableStack();

  before(async () => {
    // What it makes outlives each test of this suite.
    const t = {
      signal: ended.signal,
      after: (close: () => Promise<void>) => void stack.defer(close),
    } as unknown as TestContext;
    world = {
      nginx: await testNginx(t, { https: true, workers: 2 }),
      peer: await streamPeer(t, "127.25.51.1"),
      other: await streamPeer(t, "127.25.51.2"),
    };
    await reload(world, t);
    await world.nginx.apply(await certificate());
  });
  after(async () => {
    await stack.disposeAsync();
    ended.abort(new Error("the suite is over"));
  });

  for (const { name, make } of changes) {
    test(`streams of every kind outlive ${name}`, { timeout: 180_000 }, async (t) => {
      await prepared(world);
      const streams = new Map<StreamKind, Stream>();
      for (const kind of streamKinds) {
        const stream = await openStream(kind, world.nginx, HOST, world.peer, t.signal);
        streams.set(kind, stream);
        await stream.works();
      }
      await make(world, t);
      for (const [kind, stream] of streams) {
        await t.test(`${kind} outlives ${name}`, async () => {
          await stream.works();
          await stream.works();
        });
        stream.close();
      }
    });
  }

  test("streams of every kind outlive the crash of another worker", { timeout: 180_000 }, async (t) => {
    await prepared(world);
    const workers = workersOf(world.nginx.process.pid);
    // One that a reload has left ends by itself.
    const [own = 0, victim = 0] = workers.slice(-2);
    const streams = new Map<StreamKind, Stream>();
    for (const kind of streamKinds) streams.set(kind, await openAt(own, kind, world, t.signal));
    process.kill(victim, "SIGKILL");
    await t.waitFor(() => assert.ok(!workersOf(world.nginx.process.pid).includes(victim)), {
      timeout: 60_000,
      interval: 10,
    });
    for (const [kind, stream] of streams) {
      await t.test(`${kind} outlives the crash of another worker`, () => stream.works());
      stream.close();
    }
  });

  test("a stream does not outlive the worker that holds it, nor the time that a reload leaves it", {
    timeout: 180_000,
  }, async (t) => {
    const nginx = await testNginx(t, { workers: 1, shutdownTimeoutMs: 1000 });
    const mine = { ...world, nginx };
    await reload(mine, t);
    await prepared(mine);
    const cut = await openStream("websocket", nginx, HOST, world.peer, t.signal);
    await cut.works();
    await reload(mine, t);
    const began = performance.now();
    await assert.rejects(async () => {
      for (;;) await cut.works();
    }, /was cut|ECONNRESET|EPIPE/);
    t.diagnostic(`cut ${(performance.now() - began).toFixed(0)} ms after the reload, of 1,000`);
    assert.match(
      await readFile(`${nginx.options.dir}/nginx.conf`, "utf8"),
      /worker_shutdown_timeout 1000ms;/,
    );

    const lost = await openStream("websocket", nginx, HOST, world.peer, t.signal);
    await lost.works();
    const [worker = 0] = workersOf(nginx.process.pid).slice(-1);
    process.kill(worker, "SIGKILL");
    await assert.rejects(async () => {
      for (;;) await lost.works();
    }, /was cut|ECONNRESET|EPIPE/);
  });
});
