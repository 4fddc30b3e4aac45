import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { Backend } from "./backend.ts";
import { judgeAnswer, Load, type LoadProxy } from "./load.ts";
import type { Pod } from "./members.ts";

async function pod(t: TestContext, lostAt: number): Promise<Pod> {
  const backend = await Backend.listen("127.0.0.1", 0, () => [200, "cart-1\n"]);
  assert.ok(backend);
  t.after(() => backend.close());
  return {
    name: "cart-1",
    service: "cart",
    cluster: "member1",
    address: "127.0.0.1",
    state: "ready",
    lostAt,
    backend,
  };
}

test("a pod of that service may answer while it is ready and exported, and after that until all has converged", async (t) => {
  const steady = await pod(t, Number.NEGATIVE_INFINITY);
  assert.equal(judgeAnswer(steady, "cart-1", "cart", true, 1000), null);
  const lost = await pod(t, 1500);
  assert.equal(judgeAnswer(lost, "cart-1", "cart", false, 1000), null);
  assert.match(judgeAnswer(lost, "cart-1", "cart", false, 2000) ?? "", /has not been a ready and exported/);
  assert.match(judgeAnswer(steady, "cart-1", "search", true, 1000) ?? "", /a pod of cart/);
  assert.match(judgeAnswer(undefined, "<html>", "cart", false, 1000) ?? "", /no pod of these members/);
});

/** A proxy that answers so, or that does not answer at all. */
async function proxy(t: TestContext, name: string, status: number | null, down: boolean): Promise<LoadProxy> {
  const server = createServer((request, response) => {
    if (status === null) request.socket.destroy();
    else response.writeHead(status).end("cart-1\n");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  return { name, url: `http://127.0.0.1:${port}/`, wasDownSince: () => down };
}

async function tallyOf(proxies: readonly LoadProxy[]) {
  const wrong: string[] = [];
  const load = new Load({
    proxies,
    services: ["cart"],
    perSecond: 200,
    judge: () => null,
    onWrong: (what) => wrong.push(what),
  });
  let requests = 0;
  let failed = 0;
  let moved = 0;
  while (requests < 10) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    const tally = load.take();
    requests += tally.requests;
    failed += tally.failed;
    moved += tally.moved;
  }
  await load.stop();
  return { requests, failed, moved, wrong };
}

test("a request goes to the other proxy only where the test has ended the first one's nginx", async (t) => {
  const good = await proxy(t, "proxy-1", 200, false);
  const ended = await tallyOf([good, await proxy(t, "proxy-2", null, true)]);
  assert.equal(ended.failed, 0, ended.wrong[0]);
  assert.ok(ended.moved > 0);
  const broken = await tallyOf([good, await proxy(t, "proxy-2", null, false)]);
  assert.ok(broken.failed > 0);
  assert.equal(broken.moved, 0);
  assert.match(broken.wrong[0] ?? "", /GET cart\.example\.test by proxy-2 failed/);
});

test("an answer that is not 200 fails, whatever was done to the proxy", async (t) => {
  const good = await proxy(t, "proxy-1", 200, false);
  const { failed, moved, wrong } = await tallyOf([good, await proxy(t, "proxy-2", 503, true)]);
  assert.ok(failed > 0);
  assert.equal(moved, 0);
  assert.match(wrong[0] ?? "", /503/);
});
