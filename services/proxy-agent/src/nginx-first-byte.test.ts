import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { peersRow, routeRow, testNginx, testPod } from "./testing/proxy-world.ts";

/** Whoever answers, answers sooner than this on a busy machine too. */
const LIMIT_MS = 1000;

for (const [rank, where] of [
  [0, "a cluster"],
  [1, "a cluster that is asked before the other one"],
] as const) {
  test(`when the whole of ${where} freezes no request fails, few wait for the limit, and none longer`, async (t) => {
    const nginx = await testNginx(t, { firstByteTimeoutMs: LIMIT_MS });
    const frozen = await Promise.all(
      Array.from({ length: 10 }, (_, i) => testPod(t, `127.23.${rank * 10}.${i + 1}`, `frozen${i}`)),
    );
    const alive = await testPod(t, `127.24.${rank * 10}.1`, "alive");
    await nginx.apply(
      peersRow("web", "member1", ...frozen),
      { ...peersRow("web", "member2", alive), rank },
      routeRow("shop.example.test", "web"),
    );
    for (const pod of frozen) pod.frozen = true;
    const asked = () => frozen.reduce((sum, pod) => sum + pod.requests, 0);
    let waited = 0;
    for (let i = 0; i < 60; i++) {
      const before = asked();
      const { body, ms } = await nginx.get("/");
      assert.equal(body, "alive");
      assert.ok(asked() - before <= 1, "it waited for one frozen pod and then for another");
      assert.ok(ms < 10 * LIMIT_MS, `${ms} ms`);
      if (asked() > before) waited++;
    }
    assert.ok(waited >= 1 && waited <= 5, `${waited} requests waited: ten pods, three strikes in all`);
    const state = await nginx.client.state(t.signal);
    assert.ok(state.held?.some(({ cluster, peer }) => cluster === "member1" && peer === ""));
  });
}

test("with two of three clusters frozen a request goes on to the third", async (t) => {
  const nginx = await testNginx(t, { firstByteTimeoutMs: LIMIT_MS, workers: 1 });
  const pods = await Promise.all([1, 2, 3].map((i) => testPod(t, `127.2${i}.5.1`, `pod${i}`)));
  await nginx.apply(
    ...pods.map((pod, i) => peersRow("web", `member${i + 1}`, pod)),
    routeRow("shop.example.test", "web"),
  );
  pods[0]!.frozen = true;
  pods[1]!.frozen = true;
  for (let i = 0; i < 12; i++) {
    const { body, ms } = await nginx.get("/");
    assert.equal(body, "pod3");
    // One and a half limits at most, on a machine that has nothing else to do.
    assert.ok(ms < 10 * LIMIT_MS, `${ms} ms`);
  }
});

test("where no other cluster has a peer a slow answer is waited for", async (t) => {
  const nginx = await testNginx(t, { firstByteTimeoutMs: LIMIT_MS });
  const slow = await testPod(t, "127.23.1.1", "slow");
  slow.server.removeAllListeners("request");
  slow.server.on("request", (_request, response) => {
    setTimeout(() => response.end("slow"), LIMIT_MS * 2);
  });
  await nginx.apply(peersRow("web", "member1", slow), routeRow("shop.example.test", "web"));
  assert.equal((await nginx.get("/")).body, "slow");
});

test("a POST and an event stream are never cut short", async (t) => {
  const nginx = await testNginx(t, { firstByteTimeoutMs: LIMIT_MS });
  const pods = await Promise.all([1, 2].map((i) => testPod(t, `127.23.2.${i}`, `pod${i}`)));
  for (const pod of pods) {
    pod.server.removeAllListeners("request");
    pod.server.on("request", (_request, response) => {
      setTimeout(() => response.end("late"), LIMIT_MS * 2);
    });
  }
  await nginx.apply(
    peersRow("web", "member1", pods[0]!),
    peersRow("web", "member2", pods[1]!),
    routeRow("shop.example.test", "web"),
  );
  assert.equal((await nginx.get("/", { method: "POST", body: "x" })).body, "late");
  assert.equal((await nginx.get("/", { headers: { accept: "text/event-stream" } })).body, "late");
  const { counters } = await nginx.client.state(t.signal);
  assert.equal(counters["retries"], 0);
});

test("an upstream whose bodies come with pauses is seen, and its next answers are whole", async (t) => {
  const nginx = await testNginx(t, { firstByteTimeoutMs: LIMIT_MS, workers: 1 });
  const pods = await Promise.all([1, 2].map((i) => testPod(t, `127.23.3.${i}`, `pod${i}`)));
  for (const pod of pods) {
    pod.server.removeAllListeners("request");
    pod.server.on("request", (_request, response) => {
      response.write("one ");
      setTimeout(() => response.end("two"), LIMIT_MS * 2);
    });
  }
  await nginx.apply(
    peersRow("web", "member1", pods[0]!),
    peersRow("web", "member2", pods[1]!),
    routeRow("shop.example.test", "web"),
  );
  // nginx reads a body under the same limit: the first one is cut, and that is how it is found out.
  await assert.rejects(nginx.get("/"));
  // On a busy machine a first byte may be late too, and such an answer says nothing of bodies: then the next one does.
  await t.waitFor(async () => assert.equal((await nginx.get("/")).body, "one two"), { timeout: 60_000 });
  for (let i = 0; i < 3; i++) assert.equal((await nginx.get("/")).body, "one two");
});

test("a cluster that was frozen is tried by one request and comes back", { timeout: 240_000 }, async (t) => {
  const nginx = await testNginx(t, { firstByteTimeoutMs: LIMIT_MS });
  const a = await testPod(t, "127.23.4.1", "a");
  const b = await testPod(t, "127.24.4.1", "b");
  await nginx.apply(
    peersRow("web", "member1", a),
    peersRow("web", "member2", b),
    routeRow("shop.example.test", "web"),
  );
  a.frozen = true;
  for (let i = 0; i < 20; i++) assert.equal((await nginx.get("/")).body, "b");
  a.frozen = false;
  const before = a.requests;
  while (a.requests === before) {
    await nginx.get("/");
    await delay(50, undefined, { signal: t.signal });
  }
  const seen = new Set<string>();
  for (let i = 0; i < 10; i++) seen.add((await nginx.get("/")).body);
  assert.deepEqual([...seen].sort(), ["a", "b"]);
});
