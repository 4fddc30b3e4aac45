import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { defaultSettings } from "@sluice/ingress";
import { systemClock } from "@sluice/service-kit";
import { confPathOf, renderNginx } from "./prepare-nginx.ts";
import { swapConfiguration } from "./reload-nginx.ts";
import { peersRow, routeRow, type TestNginx, testNginx, testPod } from "./testing/proxy-world.ts";

const conf = (nginx: TestNginx) => readFile(confPathOf(nginx.options.dir), "utf8");

test("a configuration that nginx -t refuses is never put in place", async (t) => {
  const nginx = await testNginx(t);
  const before = await conf(nginx);
  const rendered = renderNginx(nginx.options, new Map());
  const ports = { nginx: nginx.client, clock: systemClock, signal: t.signal };
  const keep = t.mock.fn(async () => {});
  const outcome = await swapConfiguration(
    nginx.options,
    { ...rendered, conf: `${rendered.conf}nonsense on;\n` },
    ports,
    keep,
  );
  assert.ok(!outcome.ok);
  assert.match(outcome.why, /unknown directive "nonsense"/);
  assert.equal(await conf(nginx), before);
  assert.equal(keep.mock.callCount(), 0);
});

test("what nginx -t refuses within a profile's location is that profile's, and nobody else's", async (t) => {
  const nginx = await testNginx(t);
  const slow = { ...defaultSettings, readTimeoutMs: 120_000 };
  const rendered = renderNginx(
    nginx.options,
    new Map([
      ["a1", slow],
      ["b2", slow],
      ["c3", slow],
    ]),
  );
  const ports = { nginx: nginx.client, clock: systemClock, signal: t.signal };
  const at = rendered.conf.indexOf("location @profile_b2 {");
  const conf = `${rendered.conf.slice(0, at)}${rendered.conf.slice(at).replace("120000ms", "nonsense")}`;
  const outcome = await swapConfiguration(nginx.options, { ...rendered, conf }, ports, async () => {});
  assert.ok(!outcome.ok);
  assert.equal(outcome.profile, "b2");
});

test("a configuration with which no worker comes up is taken back under traffic, and nothing is lost", async (t) => {
  const nginx = await testNginx(t);
  await nginx.apply(
    peersRow("web", "member1", await testPod(t, "127.27.0.1", "pod")),
    routeRow("shop.example.test", "web"),
  );
  const before = await conf(nginx);
  const rendered = renderNginx(
    nginx.options,
    new Map([["slow", { ...defaultSettings, readTimeoutMs: 120_000 }]]),
  );
  const ports = { nginx: nginx.client, clock: systemClock, signal: t.signal, newWorkersMs: 500 };
  // Its settings are no JSON: nginx -t does not read them, the new workers would.
  const swap = swapConfiguration(nginx.options, { ...rendered, settings: "{" }, ports, async () => {});
  let done = false;
  void swap.finally(() => {
    done = true;
  });
  let requests = 0;
  while (!done) {
    assert.equal((await nginx.get("/", { fresh: requests++ % 2 === 0 })).body, "pod");
  }
  const outcome = await swap;
  assert.ok(!outcome.ok, "it must not have worked");
  assert.equal(await conf(nginx), before);
  assert.equal((await nginx.get("/")).body, "pod");
});

test("a good configuration comes up under traffic without a failed request", async (t) => {
  const nginx = await testNginx(t);
  await nginx.apply(
    peersRow("web", "member1", await testPod(t, "127.27.1.1", "pod")),
    routeRow("shop.example.test", "web"),
  );
  const rendered = renderNginx(
    nginx.options,
    new Map([["slow", { ...defaultSettings, readTimeoutMs: 120_000 }]]),
  );
  const ports = { nginx: nginx.client, clock: systemClock, signal: t.signal };
  const swap = swapConfiguration(nginx.options, rendered, ports, async () => {});
  let done = false;
  void swap.finally(() => {
    done = true;
  });
  while (!done) assert.equal((await nginx.get("/", { fresh: true })).body, "pod");
  assert.deepEqual(await swap, { ok: true });
  const { config, old } = await nginx.client.state(t.signal, true);
  assert.deepEqual({ config, old }, { config: rendered.hash, old: 0 });
});

test("a reload is not over while a worker listens that does not know the new configuration", async (t) => {
  const nginx = await testNginx(t);
  const { worker } = await nginx.client.state(t.signal, true);
  // It cannot hear that it shall stop.
  process.kill(worker, "SIGSTOP");
  let frozen = true;
  const wake = () => {
    if (frozen) process.kill(worker, "SIGCONT");
    frozen = false;
  };
  t.after(wake);
  const rendered = renderNginx(
    nginx.options,
    new Map([["slow", { ...defaultSettings, readTimeoutMs: 120_000 }]]),
  );
  const ports = { nginx: nginx.client, clock: systemClock, signal: t.signal, newWorkersMs: 60_000 };
  let done = false;
  const swap = swapConfiguration(nginx.options, rendered, ports, async () => {}).finally(() => {
    done = true;
  });
  for (let seen = 0; seen < 20; ) {
    const { config, old } = await nginx.client.state(t.signal, true);
    if (config === rendered.hash && old === 1) seen++;
    assert.ok(!done);
    await systemClock.sleep(20, t.signal);
  }
  wake();
  assert.deepEqual(await swap, { ok: true });
});
