// Peers that miss checks, are slow, full or gone, on a real nginx.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { PathMore } from "./nginx-row.ts";
import { peersRow, type TestPod, testNginx, testPod } from "./testing/proxy-world.ts";

const soon = { timeout: 60_000, interval: 20 };

test("health of peers", { timeout: 300_000 }, async (t) => {
  const nginx = await testNginx(t);
  const { instance } = await nginx.client.state(t.signal);
  let pods = 0;
  const pod = (name: string, answer?: Parameters<typeof testPod>[4]) =>
    testPod(t, `127.28.0.${++pods}`, name, 0, answer);
  const serve = (host: string, more: PathMore = {}) =>
    nginx.apply({ k: "route", host, paths: [["P", "/", host.split(".")[0] ?? "", "default", more]] });
  const named = (upstream: string, cluster: string, each: TestPod) =>
    [upstream, cluster, `${each.address}:${each.port}`] as const;
  const answering = async (host: string, requests = 12) => {
    const seen = new Set<string>();
    for (let i = 0; i < requests; i++) seen.add((await nginx.get("/", { host, fresh: true })).body);
    return [...seen].sort();
  };

  await t.test("who misses checks is asked by nobody until he passes them, but when all do", async () => {
    const [a, b] = [await pod("a"), await pod("b")];
    await nginx.apply(peersRow("checked", "member1", a), peersRow("checked", "member2", b));
    await serve("checked.example.test");
    const tell = (out: readonly TestPod[], back: readonly TestPod[]) => {
      const names = (all: readonly TestPod[]) =>
        all.map((each) => named("checked", each === a ? "member1" : "member2", each));
      return nginx.client.tell({ seconds: 60, out: names(out), back: names(back) }, instance, t.signal);
    };
    const ejections = async () => (await nginx.client.state(t.signal)).counters["ejections"] ?? 0;
    const counted = await ejections();
    assert.equal(await tell([a], []), true);
    // The agent says it again and again while it lasts.
    for (let i = 0; i < 3; i++) await tell([a], []);
    assert.equal(await ejections(), counted + 1);
    const before = a.requests;
    assert.deepEqual(await answering("checked.example.test", 30), ["b"]);
    assert.equal(a.requests, before);
    const held = ((await nginx.client.state(t.signal)).held ?? []).map(({ cluster, peer }) => [
      cluster,
      peer,
    ]);
    assert.deepEqual(held, [["member1", `${a.address}:${a.port}`]]);
    await tell([b], []);
    assert.deepEqual(await answering("checked.example.test"), ["a", "b"]);
    await tell([], [a, b]);
    assert.deepEqual((await nginx.client.state(t.signal)).held ?? [], []);
    assert.equal(
      await nginx.client.tell({ seconds: 60, out: [], back: [] }, "another", t.signal),
      false,
      "another nginx is told nothing",
    );
  });

  await t.test("what checks found is forgotten when nobody says it again", async () => {
    const [a, b] = [await pod("a"), await pod("b")];
    await nginx.apply(peersRow("alone", "member1", a, b));
    await serve("alone.example.test");
    await nginx.client.tell(
      { seconds: 0.5, out: [named("alone", "member1", a)], back: [] },
      instance,
      t.signal,
    );
    await t.waitFor(async () => assert.deepEqual(await answering("alone.example.test"), ["a", "b"]), soon);
  });

  await t.test("a path's own first-byte limit leaves a frozen cluster", async () => {
    const [frozen, alive] = [await pod("frozen"), await pod("alive")];
    frozen.frozen = true;
    await nginx.apply(peersRow("slow", "member1", frozen), peersRow("slow", "member2", alive));
    await serve("slow.example.test", { firstByteMs: 1000 });
    for (let i = 0; i < 8; i++) {
      assert.equal((await nginx.get("/", { host: "slow.example.test" })).body, "alive");
    }
    assert.ok(frozen.requests > 0, "the frozen one was asked");
  });

  await t.test("a body that a peer has had is not sent to another, and what it never got is", async () => {
    const cut = await pod("cut");
    cut.server.removeAllListeners("request");
    cut.server.on("request", (request) => {
      cut.requests++;
      request.once("data", () => request.socket.destroy());
      if (request.method === "GET") request.socket.destroy();
    });
    const whole = await pod("whole");
    await nginx.apply(peersRow("body", "member1", cut), peersRow("body", "member2", whole));
    await serve("body.example.test");
    const host = "body.example.test";
    const statuses = new Set<number>();
    for (let i = 0; i < 3 || !statuses.has(502); i++) {
      const before = cut.requests;
      const { status } = await nginx.get("/", { host, method: "PUT", body: "half of it" });
      statuses.add(status);
      assert.equal(status, cut.requests > before ? 502 : 200);
    }
    await cut.close();
    for (let i = 0; i < 4; i++) {
      assert.equal((await nginx.get("/", { host, method: "PUT", body: "all of it" })).body, "whole");
    }
  });

  await t.test(
    "tries beyond the first are no more than a fifth of requests and what any may have",
    async () => {
      const counters = async () => (await nginx.client.state(t.signal)).counters;
      const broken = [];
      for (let i = 0; i < 3; i++) {
        const each = await pod("broken");
        each.server.removeAllListeners("request");
        each.server.on("request", (request) => request.socket.destroy());
        broken.push(each);
      }
      await nginx.apply(peersRow("storm", "member1", ...broken));
      await serve("storm.example.test");
      const began = performance.now();
      const before = await counters();
      const requests = 600;
      for (let i = 0; i < requests; i++) {
        assert.equal((await nginx.get("/", { host: "storm.example.test" })).status, 502);
      }
      // A worker tells what it has counted once a second.
      await t.waitFor(async () => {
        const refused = ((await counters())["retries_refused"] ?? 0) - (before["retries_refused"] ?? 0);
        assert.ok(refused > 0, "none was refused");
      }, soon);
      const seconds = (performance.now() - began) / 1000;
      const retries = ((await counters())["retries"] ?? 0) - (before["retries"] ?? 0);
      const most = 0.2 * requests + 2 * 10 * (10 + seconds);
      assert.ok(retries <= most, `${retries} of ${requests} requests in ${seconds} s`);
    },
  );

  await t.test(
    "a peer has no more requests in hand than its limit, whichever worker took them, also when one dies",
    async () => {
      const waiting: (() => void)[] = [];
      const slow = async (name: string) => {
        const each = await pod(name);
        each.server.removeAllListeners("request");
        each.server.on("request", (_request, response) => {
          each.requests++;
          waiting.push(() => response.end(name));
        });
        return each;
      };
      const both = [await slow("one"), await slow("two")];
      const host = "full.example.test";
      await nginx.apply({ k: "upstream", id: "full", connections: 2 }, peersRow("full", "member1", ...both));
      await serve(host);
      const ask = () =>
        nginx.get("/", { host, fresh: true }).then(
          ({ status }) => status,
          () => 0,
        );
      const inHand = Array.from({ length: 4 }, ask);
      await t.waitFor(() => assert.equal(waiting.length, 4), soon);
      assert.deepEqual(
        both.map(({ requests }) => requests),
        [2, 2],
      );
      for (let i = 0; i < 8; i++) assert.equal(await ask(), 503);
      for (const answer of waiting.splice(0)) answer();
      assert.deepEqual(await Promise.all(inHand), [200, 200, 200, 200]);

      const lost = Array.from({ length: 4 }, ask);
      await t.waitFor(() => assert.equal(waiting.length, 4), soon);
      const master = nginx.process.pid;
      const workers = () =>
        readFileSync(`/proc/${master}/task/${master}/children`, "utf8").trim().split(" ").map(Number);
      const killed = workers();
      for (const worker of killed) process.kill(worker, "SIGKILL");
      await Promise.all(lost);
      waiting.length = 0;
      await t.waitFor(() => assert.ok(workers().filter((each) => !killed.includes(each)).length >= 2), soon);
      const again = Array.from({ length: 4 }, ask);
      await t.waitFor(() => assert.equal(waiting.length, 4), soon);
      assert.equal(await ask(), 503);
      for (const answer of waiting.splice(0)) answer();
      assert.deepEqual(await Promise.all(again), [200, 200, 200, 200]);
    },
  );
});
