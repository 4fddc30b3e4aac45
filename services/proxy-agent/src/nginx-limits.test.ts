// How often a client may come and how much it gets, on a real nginx with two workers.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { request } from "node:http";
import { type TestContext, test } from "node:test";
import type { Limits } from "@sluice/contracts";
import { type GuardedWorld, guardedWorld, HOST } from "./testing/guarded-world.ts";
import { http2Request, http2Session } from "./testing/tls-clients.ts";

const patience = { timeout: 60_000, interval: 20 };

/** One request on a connection of its own. @param from the client's address */
function from(world: GuardedWorld, address: string, path = "/"): Promise<number> {
  const [host = "", port] = world.nginx.options.httpAddress.split(":");
  return new Promise((resolve, reject) => {
    const sent = request(
      { host, port: Number(port), localAddress: address, path, headers: { host: HOST }, agent: false },
      (response) => {
        response.resume();
        response.on("end", () => resolve(response.statusCode ?? 0));
      },
    );
    sent.on("error", reject);
    sent.end();
  });
}

const times = async (n: number, ask: () => Promise<number>): Promise<number[]> => {
  const seen = await Promise.all(Array.from({ length: n }, ask));
  return [200, 503].map((status) => seen.filter((each) => each === status).length);
};

const perMinute = (requests: number, burst: number) => ({ requests, seconds: 60, burst });

test("above a rate and its burst a client gets 503, on whatever path of its object and in whatever worker; others do not", async (t) => {
  const world = await guardedWorld(t, 90, 2);
  const limits: Limits = { of: "shop/web", rates: [perMinute(1, 9)], except: ["127.0.0.7/32"] };
  const other: Limits = { of: "shop/other", rates: [perMinute(1, 2)] };
  await world.show({ "/": { limits }, "/cart": { limits }, "/other": { limits: other } });
  assert.deepEqual(await times(20, () => from(world, "127.0.0.5")), [10, 10]);
  assert.deepEqual(await times(5, () => from(world, "127.0.0.5", "/cart")), [0, 5]);
  assert.deepEqual(await times(5, () => from(world, "127.0.0.5", "/other")), [3, 2]);
  assert.deepEqual(await times(20, () => from(world, "127.0.0.6")), [10, 10]);
  assert.deepEqual(await times(30, () => from(world, "127.0.0.7")), [30, 0]);
  const refused = await world.nginx.get("/");
  assert.equal(refused.status, 200);
  // Another limit is another bucket.
  await world.show({ "/": { limits: { ...limits, rates: [perMinute(2, 3)] } } });
  assert.deepEqual(await times(8, () => from(world, "127.0.0.5")), [4, 4]);
});

test("a bucket empties with time", { timeout: 120_000 }, async (t) => {
  const world = await guardedWorld(t, 91, 2);
  await world.show({ "/": { limits: { of: "shop/web", rates: [{ requests: 2, seconds: 1, burst: 0 }] } } });
  assert.equal((await times(10, () => from(world, "127.0.0.5")))[0]! >= 1, true);
  await t.waitFor(async () => assert.equal(await from(world, "127.0.0.5"), 200), patience);
});

test("what comes first goes first: a redirect counts for nothing, a limit goes before a password, a refused one is told apart", async (t) => {
  const world = await guardedWorld(t, 92);
  const limits: Limits = { of: "shop/web", rates: [perMinute(1, 1)] };
  const access = { users: { secret: "shop-users-users", realm: "x" } };
  await world.users("shop-users-users", { alice: "{PLAIN}x" });
  await world.show({ "/": { limits, access } });
  const seen = [];
  for (let i = 0; i < 3; i++) {
    const { status, headers } = await world.nginx.get("/");
    seen.push([status, headers["x-sluice-reason"]]);
  }
  assert.deepEqual(seen, [
    [401, "unauthorized"],
    [401, "unauthorized"],
    [503, "too-many-requests"],
  ]);
});

/** Requests that stay in hand until they are let go. */
function holding(t: TestContext, world: GuardedWorld) {
  const waiting: (() => void)[] = [];
  /** Requests that are let go together; 0: nobody is held. */
  let together = Number.POSITIVE_INFINITY;
  world.pod.server.removeAllListeners("request");
  world.pod.server.on("request", (_request, response) => {
    waiting.push(() => response.end("web"));
    if (waiting.length >= together) release();
  });
  function release() {
    for (const each of waiting.splice(0)) each();
  }
  return {
    async held(n: number) {
      await t.waitFor(() => assert.equal(waiting.length, n), patience);
    },
    release,
    /** So many requests at one time, each answered when all have come or one of them may not. */
    async atOnce(n: number, ask: () => Promise<number>): Promise<number[]> {
      release();
      together = n;
      const all = Array.from({ length: n }, async () => {
        const status = await ask().catch(() => 0);
        if (status === 200) return status;
        together = 0;
        release();
        return status;
      });
      const statuses = await Promise.all(all);
      together = Number.POSITIVE_INFINITY;
      return statuses;
    },
  };
}

test("of one client only so many requests are in hand, over both workers and by HTTP/2; one that ends makes room", {
  timeout: 120_000,
}, async (t) => {
  const world = await guardedWorld(t, 93, 2);
  await world.show({ "/": { limits: { of: "shop/web", connections: 4 } } });
  const pod = holding(t, world);
  const session = await http2Session(world.nginx, HOST);
  for (let round = 0; round < 3; round++) {
    const held = [
      ...[1, 2].map(() => from(world, "127.0.0.1")),
      ...[1, 2].map(async () => (await http2Request(session, { ":path": "/" })).status),
    ];
    await pod.held(4);
    assert.deepEqual(await times(6, () => from(world, "127.0.0.1")), [0, 6]);
    const other = from(world, "127.0.0.8");
    await pod.held(5);
    pod.release();
    assert.deepEqual(await Promise.all([...held, other]), [200, 200, 200, 200, 200]);
    await t.waitFor(async () => {
      const one = from(world, "127.0.0.9");
      await pod.held(1);
      pod.release();
      assert.equal(await one, 200);
    }, patience);
  }
  session.close();
});

test("requests of clients that go away, and of a worker that is killed, are not counted for ever", {
  timeout: 120_000,
}, async (t) => {
  const world = await guardedWorld(t, 94, 2);
  await world.show({ "/": { limits: { of: "shop/web", connections: 3 } } });
  const pod = holding(t, world);
  const [host = "", port] = world.nginx.options.httpAddress.split(":");
  const hold = () => {
    const sent = request({ host, port: Number(port), headers: { host: HOST }, agent: false });
    sent.on("error", () => {});
    sent.on("response", (response) => response.resume());
    sent.end();
    return sent;
  };
  const roomAgain = () =>
    t.waitFor(async () => {
      assert.deepEqual(await pod.atOnce(3, () => from(world, "127.0.0.1")), [200, 200, 200]);
    }, patience);
  const gone = [hold(), hold(), hold()];
  await pod.held(3);
  assert.equal(await from(world, "127.0.0.1"), 503);
  for (const each of gone) each.destroy();
  await roomAgain();
  const lost = [hold(), hold(), hold()];
  await pod.held(3);
  assert.equal(await from(world, "127.0.0.1"), 503);
  const workers = new Set<number>();
  await t.waitFor(async () => {
    workers.add((await world.nginx.client.state(t.signal, true)).worker);
    assert.equal(workers.size, 2);
  }, patience);
  for (const pid of workers) process.kill(pid, "SIGKILL");
  await roomAgain();
  for (const each of lost) each.destroy();
});

test("requests that old workers still have after a reload count", { timeout: 120_000 }, async (t) => {
  const world = await guardedWorld(t, 96, 2);
  await world.show({ "/": { limits: { of: "shop/web", connections: 2 } } });
  const pod = holding(t, world);
  const held = [1, 2].map(() => from(world, "127.0.0.1"));
  await pod.held(2);
  const workerOf = async () => (await world.nginx.client.state(t.signal, true)).worker;
  const old = new Set<number>();
  await t.waitFor(async () => {
    old.add(await workerOf());
    assert.equal(old.size, 2);
  }, patience);
  process.kill(Number(await readFile(world.nginx.prepared.pidFile, "utf8")), "SIGHUP");
  await t.waitFor(async () => assert.ok(!old.has(await workerOf())), patience);
  assert.deepEqual(await times(5, () => from(world, "127.0.0.1")), [0, 5]);
  pod.release();
  assert.deepEqual(await Promise.all(held), [200, 200]);
  await t.waitFor(async () => {
    assert.deepEqual(await pod.atOnce(2, () => from(world, "127.0.0.1")), [200, 200]);
  }, patience);
});

test("a limited answer takes its time, but for what is free", { timeout: 120_000 }, async (t) => {
  const world = await guardedWorld(t, 95);
  const body = "x".repeat(64 * 1024);
  world.pod.server.removeAllListeners("request");
  world.pod.server.on("request", (_request, response) => response.end(body));
  const seconds = async (limits: Omit<Limits, "of">) => {
    await world.show({ "/": { limits: { of: "shop/web", ...limits } } });
    const answer = await world.nginx.get("/", { fresh: true });
    assert.equal(answer.body.length, body.length);
    return answer.ms / 1000;
  };
  // 64 KiB at 32 KiB a second: the first second's share goes at once.
  assert.ok((await seconds({ bytesPerSecond: 32 * 1024 })) >= 0.9);
  // At this rate it would take longer than the test may.
  assert.ok((await seconds({ bytesPerSecond: 256, freeBytes: 128 * 1024 })) < 60);
});
