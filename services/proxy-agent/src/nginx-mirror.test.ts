// Copies of requests, on a real nginx: who gets them, what is in them, and what they never do to the request.
import assert from "node:assert/strict";
import { request } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type TestContext, test } from "node:test";
import type { Mirror } from "@sluice/contracts";
import { testAuthority, testCertificate } from "./testing/certificates.ts";
import { guardedWorld, HOST } from "./testing/guarded-world.ts";
import { type TestNginx, type TestPod, testPod } from "./testing/proxy-world.ts";
import { servedWorld } from "./testing/served-world.ts";

const patience = { timeout: 60_000, interval: 20 };
const MIB = 1024 * 1024;
/** Copies that a worker has in hand at most. */
const MOST = 128;

async function countedBy(t: TestContext, nginx: TestNginx) {
  const { counters } = await nginx.client.state(t.signal);
  const { mirrored = 0, mirror_failures: failed = 0, mirror_drops: dropped = 0 } = counters;
  return { mirrored, failed, dropped };
}

/** Until a copy comes of a request, and all have come: before that nginx may not know the address. */
async function copiesKnown(t: TestContext, nginx: TestNginx, copies: TestPod) {
  const sum = async () => Object.values(await countedBy(t, nginx)).reduce((all, n) => all + n, 0);
  const [first, begun] = [copies.requests, await sum()];
  let sent = 0;
  await t.waitFor(async () => {
    sent++;
    assert.equal((await nginx.get("/")).status, 200);
    await t.waitFor(() => assert.ok(copies.requests > first), { timeout: 200, interval: 5 });
  }, patience);
  await t.waitFor(async () => assert.equal(await sum(), begun + sent), patience);
}

/** @param range third byte of addresses in 127.25.0.0/16 */
async function copiedWorld(t: TestContext, range: number) {
  const world = await guardedWorld(t, range);
  const copies = await testPod(t, `127.25.${range}.9`, "copies", undefined, () => ({
    status: 500,
    body: "nobody sees this",
  }));
  const counted = () => countedBy(t, world.nginx);
  const mirror = (more: Partial<Mirror> = {}): Mirror => ({
    host: copies.address,
    port: copies.port,
    target: [{ variable: "request_uri" }],
    hostHeader: [{ text: "copies.example.test" }],
    ...more,
  });
  const known = () => copiesKnown(t, world.nginx, copies);
  return { ...world, copies, counted, mirror, known };
}

/** Until so many requests have come to their end, the last one for this. */
async function arrived(t: TestContext, pod: TestPod, n: number, url: string) {
  await t.waitFor(() => assert.deepEqual([pod.requests, pod.last.url], [n, url]), patience);
}

test("mirror-target gets what the peer gets, without a client's word on who it is, and what it answers is thrown away", async (t) => {
  const pod = await testPod(t, "127.25.110.1", "web");
  const copies = await testPod(t, "127.25.110.9", "copies", undefined, () => ({ status: 503, body: "no" }));
  const world = await servedWorld(t, { web: [pod] });
  const { nginx, show } = world;
  const target = `http://${copies.address}:${copies.port}`;
  const at = { hosts: { [HOST]: ["P / -> web"] } };
  await show({ annotations: { "mirror-target": target }, ...at });
  assert.deepEqual([world.verdicts, world.profiles], [[], 1]);
  await copiesKnown(t, nginx, copies);
  const before = copies.requests;
  const answer = await nginx.get("/a%20b?x=1", {
    method: "POST",
    body: "a body",
    headers: { "x-forwarded-for": "192.0.2.1", "x-real-ip": "192.0.2.1", "x-own": "1", te: "trailers" },
  });
  assert.deepEqual([answer.status, answer.body], [200, "web"]);
  await arrived(t, copies, before + 1, "/a%20b?x=1");
  assert.equal(copies.last.body, "a body");
  assert.deepEqual(copies.last.headers, {
    host: copies.address,
    "x-own": "1",
    "x-request-id": pod.last.headers["x-request-id"],
    "x-real-ip": "127.0.0.1",
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-host": HOST,
    "x-forwarded-proto": "http",
    "x-scheme": "http",
    "x-sluice-mirror": "1",
    "content-length": "6",
  });
  // Another target, another name and no body are data: nothing reloads.
  const reloads = world.profiles;
  await show({
    annotations: {
      "mirror-target": `${target}/copy/$namespace/$ingress_name/$service_name?of=$escaped_request_uri`,
      "mirror-host": "$host",
      "mirror-request-body": "off",
    },
    ...at,
  });
  assert.equal(world.profiles, reloads);
  assert.equal((await nginx.get("/cart?x=1", { method: "POST", body: "a body" })).body, "web");
  assert.deepEqual([pod.last.body, pod.last.url], ["a body", "/cart?x=1"]);
  await arrived(t, copies, before + 2, "/copy/shop/ingress-0/web?of=%2Fcart%3Fx%3D1");
  assert.deepEqual(
    [copies.last.headers.host, copies.last.body, copies.last.headers["content-length"]],
    [HOST, "", "0"],
  );
  // One that cannot be read is told, and the object served without.
  for (const text of [
    "copies.example.test",
    "http://$host/",
    "http://x/#a",
    "file:///etc/passwd",
    "http://x:0/",
  ]) {
    await show({ annotations: { "mirror-target": text }, ...at });
    assert.match(world.verdicts[0] ?? "", /AnnotationInvalid .*mirror-target\]: .* is not an absolute http/);
    assert.equal((await nginx.get("/", { fresh: true })).status, 200);
  }
  assert.equal(copies.requests, before + 2);
});

test("whoever gets copies and hangs, or is away, neither slows nor fails a request; what is too much is not copied", async (t) => {
  const { nginx, pod, copies, counted, mirror, known, show } = await copiedWorld(t, 111);
  await show({ "/": { mirror: mirror() } });
  await known();
  let [open, most] = [0, 0];
  copies.server.on("request", (_request, response) => {
    most = Math.max(most, ++open);
    response.once("close", () => open--);
  });
  copies.frozen = true;
  const before = await counted();
  // By one connection: with nginx's own mirror the second request would wait for the first copy.
  for (let i = 0; i < 20; i++) assert.equal((await nginx.get("/")).body, "web");
  await t.waitFor(async () => {
    const answers = await Promise.all(Array.from({ length: 2 * MOST }, () => nginx.get("/")));
    assert.ok(answers.every(({ body }) => body === "web"));
    assert.ok((await counted()).dropped > before.dropped);
  }, patience);
  assert.ok(most > 0 && most <= MOST, `${most} at one time`);
  // They are given up, and the next ones are sent again.
  await copies.close();
  await t.waitFor(async () => assert.ok((await counted()).failed > before.failed), patience);
  const [{ failed }, requests] = [await counted(), pod.requests];
  for (let i = 0; i < 10; i++) assert.equal((await nginx.get("/")).body, "web");
  assert.equal(pod.requests - requests, 10);
  await t.waitFor(async () => assert.ok((await counted()).failed >= failed + 10), patience);
});

/** A body that does not say how long it is. */
function chunked(address: string, body: string): Promise<number | undefined> {
  const [host, port] = address.split(":");
  return new Promise((resolve, reject) => {
    const sent = request({ host, port, method: "POST", headers: { host: HOST } }, (response) => {
      response.resume().on("end", () => resolve(response.statusCode));
    });
    sent.on("error", reject);
    sent.write(body);
    sent.end(body);
  });
}

test("a body of 1 MiB is copied whole; a request with a larger one, or one of unknown length, goes to its peer alone", async (t) => {
  const { nginx, pod, copies, counted, mirror, known, show } = await copiedWorld(t, 112);
  await show({ "/": { mirror: mirror() }, "/bare": { mirror: mirror({ bodiless: true }) } });
  await known();
  const post = (path: string, bytes: number) => nginx.get(path, { method: "POST", body: "x".repeat(bytes) });
  const first = copies.requests;
  // More than nginx keeps in memory.
  for (const [i, size] of [16_000, 100_000, MIB].entries()) {
    assert.equal((await post(`/${size}`, size)).status, 200);
    assert.equal(pod.last.body.length, size);
    await arrived(t, copies, first + i + 1, `/${size}`);
    assert.equal(copies.last.body.length, size);
  }
  const { dropped } = await counted();
  assert.equal(await chunked(nginx.options.httpAddress, "part"), 200);
  assert.equal(pod.last.body, "partpart");
  assert.equal((await counted()).dropped - dropped, 1);
  assert.equal((await post("/bare", 100_000)).status, 200);
  await arrived(t, copies, first + 4, "/bare");
  assert.equal(copies.last.body, "");
  const head = await nginx.get("/head", { method: "HEAD" });
  assert.equal(head.status, 200);
  await arrived(t, copies, first + 5, "/head");
});

test("who is refused is not copied, a password is not passed on, and a copy that comes back is not copied again", async (t) => {
  const { nginx, copies, mirror, known, show, users } = await copiedWorld(t, 113);
  await users("staff", { alice: "{PLAIN}x" });
  const access = { users: { secret: "staff", realm: "shop" } };
  await show({
    "/": { mirror: mirror() },
    "/staff": { mirror: mirror(), access },
    "/shut": { mirror: mirror(), access: { deny: ["127.0.0.0/8"] } },
  });
  await known();
  const before = copies.requests;
  assert.equal((await nginx.get("/shut")).status, 403);
  assert.equal((await nginx.get("/staff")).status, 401);
  assert.equal((await nginx.get("/", { headers: { "x-sluice-mirror": "1" } })).status, 200);
  const authorization = `Basic ${Buffer.from("alice:x").toString("base64")}`;
  assert.equal((await nginx.get("/staff", { headers: { authorization } })).status, 200);
  await arrived(t, copies, before + 1, "/staff");
  assert.equal(copies.last.headers.authorization, undefined);
});

test("a copy goes nowhere where auth-url may not ask, and by https without a look at the certificate", async (t) => {
  const { nginx, agent, names, copies, counted, mirror, show } = await copiedWorld(t, 114);
  for (const host of ["169.254.169.254", "127.0.0.1", "127.25.9.9", "::1"]) {
    await show({ "/": { mirror: mirror({ host }) } });
    const told = `mirror-target ${host} may not be asked`;
    await t.waitFor(() => {
      const problems = agent.records.at(-1)?.problems.map(({ problem }) => problem) ?? [];
      assert.ok(
        problems.some((problem) => problem.startsWith(told)),
        problems.join("\n"),
      );
    }, patience);
    const { dropped } = await counted();
    assert.equal((await nginx.get("/")).status, 200);
    assert.equal((await counted()).dropped - dropped, 1);
  }
  assert.equal(copies.requests, 0);
  const { chain: cert, key } = await testCertificate(await testAuthority("test"), ["other.example.test"]);
  const seen: (string | undefined)[] = [];
  const secure = createTlsServer({ cert, key }, (incoming, response) => {
    seen.push(`${incoming.headers.host} ${incoming.url}`);
    response.end();
  });
  await new Promise<void>((resolve) => secure.listen(0, "127.25.114.8", resolve));
  t.after(async () => {
    secure.closeAllConnections();
    await new Promise((resolve) => secure.close(resolve));
  });
  names.set("copies.example.test", { addresses: ["127.25.114.8"], ttlSeconds: 60 });
  const bound = secure.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : 0;
  await show({ "/": { mirror: mirror({ secure: true, host: "copies.example.test", port }) } });
  await t.waitFor(async () => {
    assert.equal((await nginx.get("/tls")).status, 200);
    assert.equal(seen[0], "copies.example.test /tls");
  }, patience);
});
