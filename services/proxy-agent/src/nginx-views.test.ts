// A route that changes while requests of it are under way: each is served by one view of it, as it was or as it is.
import assert from "node:assert/strict";
import { type ClientRequest, request } from "node:http";
import { createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { defaultSettings } from "@sluice/ingress";
import { systemClock } from "@sluice/service-kit";
import type { NginxRow } from "./nginx-row.ts";
import { reloadNginx } from "./reload-nginx.ts";
import {
  peersRow,
  readAnswer,
  routeRow,
  type TestAnswer,
  type TestNginx,
  testNginx,
  testPod,
} from "./testing/proxy-world.ts";

const HOST = "shop.example.test";
const GUARDS = { ...defaultSettings, guards: true };
const soon = { timeout: 60_000, interval: 5 };
/** Nobody comes in: there is no such Secret. */
const SHUT = { access: { users: { secret: "nobody", realm: "" } } };
/** A guard that lets everybody in. */
const PASSED = { access: {} };

type More = NonNullable<Extract<NginxRow, { readonly paths: unknown }>["paths"][number][4]>;

const route = (upstream: string, profile: string, more?: More): NginxRow => ({
  k: "route",
  host: HOST,
  paths: [more === undefined ? ["P", "/", upstream, profile] : ["P", "/", upstream, profile, more]],
});

interface Waiting {
  /** Sends the rest of its body. */
  finish(): Promise<TestAnswer>;
}

/** A POST of which nginx has the header and half of the body, on a connection of its own. */
async function begun({ options }: TestNginx, path: string, signal: AbortSignal): Promise<Waiting> {
  const [host, port] = options.httpAddress.split(":");
  const headers = { host: HOST, "content-length": 8, expect: "100-continue" };
  const sent: ClientRequest = request({
    host,
    port: Number(port),
    path,
    method: "POST",
    agent: false,
    headers,
    signal,
  });
  const answer = new Promise<TestAnswer>((resolve, reject) => {
    sent.once("response", (response) => readAnswer(response, 0).then(resolve, reject));
    sent.once("error", reject);
  });
  // An answer that comes before the rest is somebody's to look at later.
  answer.catch(() => {});
  const asked = new Promise<void>((resolve) => sent.once("continue", resolve));
  sent.flushHeaders();
  // nginx says so once it waits for the body: by then it has looked for the route.
  await Promise.race([asked, answer]);
  sent.write("half");
  return {
    finish() {
      sent.end("half");
      return answer;
    },
  };
}

async function served(t: TestContext, nginx: TestNginx, profile = "default") {
  const pods = await Promise.all(
    ["127.25.80.1", "127.25.80.2"].map((at, i) => testPod(t, at, `pod-${i + 1}`)),
  );
  const [old, next] = pods as [(typeof pods)[number], (typeof pods)[number]];
  await nginx.apply(
    { k: "upstream", id: "old" },
    { k: "upstream", id: "next" },
    peersRow("old", "member1", old),
    peersRow("next", "member1", next),
    route("old", profile),
  );
  return { old, next };
}

test("a request that waits for its body is served as its route was when it came", async (t) => {
  const nginx = await testNginx(t, { profiles: { guards: { guards: true }, rewrites: { rewrites: true } } });
  const { old } = await served(t, nginx);
  // One after another on one worker: each keeps the view that it came with.
  const requests: { waiting: Waiting; url: string; body: string }[] = [];
  const come = async (url: string, body: string) => {
    requests.push({ waiting: await begun(nginx, "/a", t.signal), url, body });
    requests.push({ waiting: await begun(nginx, "/a", t.signal), url, body });
  };
  await come("/a", "pod-1");
  await nginx.apply(route("old", "rewrites", { rewrite: "/v2/a" }));
  await come("/v2/a", "pod-1");
  await nginx.apply(route("next", "guards", PASSED));
  await come("/a", "pod-2");
  await nginx.apply(route("next", "guards", SHUT));
  assert.equal((await nginx.get("/a", { fresh: true })).headers["x-sluice-reason"], "no-users");
  for (const { waiting, url, body } of requests) {
    const answer = await waiting.finish();
    assert.deepEqual([answer.status, answer.body], [200, body]);
    if (body === "pod-1") assert.deepEqual([old.last.url, old.last.body], [url, "halfhalf"]);
  }
  // Whoever comes now is not let in, and what was kept for those is gone with them.
  const late = await begun(nginx, "/a", t.signal);
  assert.equal((await late.finish()).headers["x-sluice-reason"], "no-users");
});

test("a request whose old upstream is gone goes where its route leads now, unless that asks who comes", async (t) => {
  const nginx = await testNginx(t, { workers: 1, profiles: { guards: { guards: true } } });
  await served(t, nginx);
  const first = await begun(nginx, "/", t.signal);
  const second = await begun(nginx, "/", t.signal);
  await nginx.apply(route("next", "default"), { k: "upstream", id: "old", del: true });
  assert.equal((await first.finish()).body, "pod-2");
  await nginx.apply(route("next", "guards", SHUT));
  const { status, body } = await second.finish();
  assert.ok(status >= 500, `${status} ${body}`);
});

test("a request that is tried again goes on by the view that it came with", async (t) => {
  const nginx = await testNginx(t, { workers: 1, profiles: { guards: { guards: true } } });
  const { old } = await served(t, nginx);
  const held: Socket[] = [];
  const silent = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.once("data", () => held.push(socket));
  });
  await new Promise<void>((resolve) => silent.listen(old.port, "127.25.80.3", resolve));
  nginx.users.defer(() => void silent.close());
  await nginx.apply({
    k: "peers",
    upstream: "old",
    cluster: "member1",
    peers: [
      [old.address, old.port, 1],
      ["127.25.80.3", old.port, 1],
    ],
  });
  const answers: Promise<TestAnswer>[] = [];
  await t.waitFor(() => {
    answers.push(nginx.get("/", { fresh: true }));
    assert.ok(held.length > 0);
  }, soon);
  // All of them have been routed before the change.
  await t.waitFor(() => assert.equal(held.length + old.requests, answers.length), soon);
  await nginx.apply(route("next", "guards", SHUT));
  for (const socket of held) socket.destroy();
  const bodies = (await Promise.all(answers)).map(({ body }) => body);
  assert.deepEqual([...new Set(bodies)], ["pod-1"]);
});

test("a request that came before any location asked who comes is served by the old worker that has it", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  await served(t, nginx);
  const waiting = await begun(nginx, "/", t.signal);
  const ports = { nginx: nginx.client, clock: systemClock, signal: t.signal, newWorkersMs: 60_000 };
  assert.deepEqual(await reloadNginx(nginx.options, new Map([["guards", GUARDS]]), ports), { ok: true });
  await nginx.apply(route("old", "guards", SHUT));
  assert.equal((await nginx.get("/", { fresh: true })).headers["x-sluice-reason"], "no-users");
  const answer = await waiting.finish();
  assert.deepEqual([answer.status, answer.body], [200, "pod-1"]);
  // Of rows for a location that this nginx never had, nobody is let in.
  const other = await testNginx(t, { workers: 1 });
  await other.apply({ k: "upstream", id: "web" }, routeRow(HOST, "web"));
  await served(t, other);
  const early = await begun(other, "/", t.signal);
  await other.apply(route("old", "guards", SHUT));
  const refused = await early.finish();
  assert.ok(refused.status >= 500, `${refused.status} ${refused.body}`);
});

test("under load no request fails while its route gets guards and loses them", {
  timeout: 180_000,
}, async (t) => {
  const nginx = await testNginx(t, { workers: 2, profiles: { guards: { guards: true } } });
  await served(t, nginx);
  let over = false;
  const statuses = new Map<string, number>();
  const count = ({ status, body }: TestAnswer) => {
    const key = `${status} ${body}`;
    statuses.set(key, (statuses.get(key) ?? 0) + 1);
  };
  const post = async () => {
    while (!over) count(await (await begun(nginx, "/", t.signal)).finish());
  };
  const get = async () => {
    while (!over) count(await nginx.get("/"));
  };
  const clients = [post(), post(), post(), post(), get(), get()];
  for (let i = 0; i < 100; i++) {
    await nginx.apply(i % 2 === 0 ? route("old", "guards", PASSED) : route("old", "default"));
    const before = statuses.get("200 pod-1") ?? 0;
    await t.waitFor(() => assert.ok((statuses.get("200 pod-1") ?? 0) >= before + 6), soon);
  }
  over = true;
  await Promise.all(clients);
  assert.deepEqual([...statuses.keys()], ["200 pod-1"]);
});
