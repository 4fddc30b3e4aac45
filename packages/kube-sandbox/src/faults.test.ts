import assert from "node:assert/strict";
import { test } from "node:test";
import type { PodFault } from "./http/faults.ts";
import { CORE, service, startTrial } from "./trial-cluster.ts";

test("a refusing API closes its port and open watches, and comes back on the same port", async (t) => {
  const { call, cluster, watch } = await startTrial(t);
  const open = await watch(`${CORE}/services?watch=true`);
  const ended = assert.rejects(open.next());
  await cluster.setFault({ api: "refuse" });
  await ended;
  await assert.rejects(call("GET", "/version"), /fetch failed/);
  await cluster.setFault({ api: "none" });
  assert.equal((await call("GET", "/version")).code, 200);
});

test("a hanging API accepts and answers nothing, its watches fall silent, and nothing is lost after", async (t) => {
  const { call, cluster, watch } = await startTrial(t);
  const open = await watch(`${CORE}/services?watch=true`);
  await cluster.setFault({ api: "hang" });
  let answered = false;
  const made = call("POST", `${CORE}/services`, service("echo")).then((answer) => {
    answered = true;
    return answer;
  });
  await assert.rejects(fetch(`${cluster.url}/version`, { signal: AbortSignal.timeout(200) }), {
    name: "TimeoutError",
  });
  assert.equal(answered, false);
  const event = open.next();
  await cluster.setFault({ api: "none" });
  assert.equal((await made).code, 201);
  assert.equal((await event)?.type, "ADDED");
});

test("a reset happens once: open watches break, the next request is served", async (t) => {
  const { call, cluster, watch } = await startTrial(t);
  const open = await watch(`${CORE}/services?watch=true`);
  const broken = assert.rejects(open.next());
  await cluster.setFault({ api: "reset" });
  await broken;
  assert.equal((await call("GET", `${CORE}/services`)).code, 200);
  assert.equal(cluster.faults.api, "none");
});

test("an unauthorized API ends watches in order and answers 401", async (t) => {
  const { call, cluster, watch } = await startTrial(t);
  const open = await watch(`${CORE}/services?watch=true`);
  await cluster.setFault({ api: "unauthorized" });
  assert.equal(await open.next(), undefined);
  const refused = await call("GET", `${CORE}/services`);
  assert.equal(refused.code, 401);
  assert.equal(refused.body.reason, "Unauthorized");
});

test("a slow API answers after the delay that was asked for", async (t) => {
  const { call, cluster } = await startTrial(t);
  await cluster.setFault({ api: "slow", slowMs: 150 });
  const start = performance.now();
  await call("GET", "/version");
  assert.ok(performance.now() - start >= 145);
});

test("pod faults reach whoever runs the pods", async (t) => {
  const { cluster } = await startTrial(t);
  const seen: PodFault[] = [];
  const stop = cluster.onPodFault((fault) => seen.push(fault));
  await cluster.setFault({ pods: "hang" });
  await cluster.setFault({ pods: "hang", api: "none" });
  stop();
  await cluster.setFault({ pods: "none" });
  assert.deepEqual(seen, ["none", "hang"]);
});
