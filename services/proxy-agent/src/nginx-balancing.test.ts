import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import {
  peersRow,
  routeRow,
  type TestNginx,
  type TestPod,
  testNginx,
  testPod,
} from "./testing/proxy-world.ts";

async function pods(t: TestContext, range: string, n: number, name: string): Promise<TestPod[]> {
  return Promise.all(Array.from({ length: n }, (_, i) => testPod(t, `${range}.${i + 1}`, `${name}${i + 1}`)));
}

async function ask(nginx: TestNginx, n: number): Promise<string[]> {
  const bodies: string[] = [];
  for (let i = 0; i < n; i++) {
    const { status, body } = await nginx.get("/");
    bodies.push(status === 200 ? body : String(status));
  }
  return bodies;
}

function count(bodies: readonly string[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const body of bodies) all[body] = (all[body] ?? 0) + 1;
  return all;
}

const ejected = async (nginx: TestNginx, t: TestContext) =>
  ((await nginx.client.state(t.signal)).held ?? []).map(({ cluster, peer }) => `${cluster} ${peer}`).sort();

test("peers take turns, whatever their cluster", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const [a, b, c] = await pods(t, "127.22.0", 3, "pod");
  await nginx.apply(
    peersRow("web", "member1", a!, b!),
    peersRow("web", "member2", c!),
    routeRow("shop.example.test", "web"),
  );
  assert.deepEqual(count(await ask(nginx, 30)), { pod1: 10, pod2: 10, pod3: 10 });
});

test("weights are kept, and more than sixty-four peers still share the work", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const [a, b] = await pods(t, "127.22.1", 2, "pod");
  await nginx.apply(routeRow("shop.example.test", "web"), {
    k: "peers",
    upstream: "web",
    cluster: "member1",
    peers: [
      [a!.address, a!.port, 3],
      [b!.address, b!.port, 1],
    ],
  });
  assert.deepEqual(count(await ask(nginx, 40)), { pod1: 30, pod2: 10 });
  const many = await pods(t, "127.22.2", 80, "many");
  await nginx.apply(peersRow("web", "member1", ...many));
  const seen = count(await ask(nginx, 800));
  assert.ok(Object.keys(seen).length > 70, `${Object.keys(seen).length} of 80 were asked`);
  assert.ok(Math.max(...Object.values(seen)) < 40, "one peer got a fifth of its siblings' work and more");
});

test("a draining peer gets new requests only when there is nothing else", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const [a, b] = await pods(t, "127.22.3", 2, "pod");
  const draining = { k: "peers", upstream: "web", cluster: "member1" } as const;
  await nginx.apply(routeRow("shop.example.test", "web"), {
    ...draining,
    peers: [
      [a!.address, a!.port, 1, 1],
      [b!.address, b!.port, 1],
    ],
  });
  assert.deepEqual(count(await ask(nginx, 6)), { pod2: 6 });
  await nginx.apply({ ...draining, peers: [[a!.address, a!.port, 1, 1]] });
  assert.deepEqual(count(await ask(nginx, 3)), { pod1: 3 });
});

test("a peer that refuses is passed over without a failed request, and ejected after three strikes", async (t) => {
  const nginx = await testNginx(t);
  const [a, b] = await pods(t, "127.22.4", 2, "pod");
  await nginx.apply(peersRow("web", "member1", a!, b!), routeRow("shop.example.test", "web"));
  await a!.close();
  assert.deepEqual(count(await ask(nginx, 40)), { pod2: 40 });
  assert.deepEqual(await ejected(nginx, t), [`member1 ${a!.address}:${a!.port}`]);
  // Each worker adds its counts once a second; workers that had chosen it just before may add one each.
  await t.waitFor(
    async () => {
      const { retries = 0 } = (await nginx.client.state(t.signal)).counters;
      assert.ok(retries >= 3 && retries <= 6, `${retries} retries`);
    },
    { timeout: 60_000 },
  );
});

test("when all peers are ejected all are tried, and the first answer ends the ejection", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const [a] = await pods(t, "127.22.5", 1, "pod");
  await nginx.apply(peersRow("web", "member1", a!), routeRow("shop.example.test", "web"));
  await a!.close();
  assert.deepEqual(count(await ask(nginx, 5)), { 502: 5 });
  assert.equal((await ejected(nginx, t)).length, 1);
  await testPod(t, a!.address, "back", a!.port);
  assert.deepEqual(count(await ask(nginx, 3)), { back: 3 });
  assert.deepEqual(await ejected(nginx, t), []);
});

test("after an ejection one request tries the peer, not a burst", { timeout: 240_000 }, async (t) => {
  const nginx = await testNginx(t);
  const [a, b] = await pods(t, "127.22.6", 2, "pod");
  await nginx.apply(peersRow("web", "member1", a!, b!), routeRow("shop.example.test", "web"));
  await a!.close();
  await ask(nginx, 20);
  const [held] = (await nginx.client.state(t.signal)).held ?? [];
  assert.ok(held !== undefined);
  // It accepts again but never answers: each request that tries it would hang there.
  const frozen = await testPod(t, a!.address, "frozen", a!.port);
  frozen.frozen = true;
  while (Date.now() < held.until + 200) await delay(100, undefined, { signal: t.signal });
  const burst = Array.from({ length: 30 }, () => nginx.get("/", { fresh: true }).catch(() => null));
  // All are answered: the one that tries it goes on to the other peer after three seconds.
  const answers = await Promise.all(burst);
  assert.deepEqual(new Set(answers.map((answer) => answer?.body)), new Set(["pod2"]));
  assert.ok(Math.max(...answers.map((answer) => answer?.ms ?? 0)) > 2000, "one has waited for it");
  assert.equal(frozen.requests, 1);
});

test("a peer that does not accept costs little, and a request body is sent again", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const [b] = await pods(t, "127.22.7", 1, "pod");
  // TEST-NET-1 answers nothing: either a timeout or an unreachable network, never a connection.
  await nginx.apply(
    {
      k: "peers",
      upstream: "web",
      cluster: "member1",
      peers: [
        ["192.0.2.1", 80, 1],
        [b!.address, b!.port, 1],
      ],
    },
    routeRow("shop.example.test", "web"),
  );
  for (let i = 0; i < 4; i++) {
    const answer = await nginx.get("/", { method: "POST", body: `order ${i}` });
    assert.equal(answer.body, "pod1");
    // A quarter of a second, which the golden configurations hold; nginx's own limit is a minute.
    assert.ok(answer.ms < 10_000, `${answer.ms} ms`);
    assert.equal(b!.last.body, `order ${i}`);
  }
});

test("a POST that was sent is never sent twice", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const [a, b] = await pods(t, "127.22.8", 2, "pod");
  let arrived = 0;
  for (const pod of [a!, b!]) {
    pod.server.removeAllListeners("request");
    pod.server.on("request", (request) => {
      arrived++;
      request.socket.destroy();
    });
  }
  await nginx.apply(peersRow("web", "member1", a!, b!), routeRow("shop.example.test", "web"));
  const answer = await nginx.get("/", { method: "POST", body: "pay" });
  assert.equal(answer.status, 502);
  assert.equal(arrived, 1);
  arrived = 0;
  assert.equal((await nginx.get("/")).status, 502);
  assert.equal(arrived, 2, "a GET may go to the other peer");
});

test("an answer of 502 that the application gave itself is no strike", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const [a] = await pods(t, "127.22.9", 1, "pod");
  a!.server.removeAllListeners("request");
  a!.server.on("request", (_request, response) => response.writeHead(502).end("mine"));
  await nginx.apply(peersRow("web", "member1", a!), routeRow("shop.example.test", "web"));
  for (let i = 0; i < 5; i++) assert.equal((await nginx.get("/")).body, "mine");
  assert.deepEqual(await ejected(nginx, t), []);
});
