import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { PortTakenError } from "@sluice/contracts";
import { Health } from "./health.ts";
import { Metrics } from "./metrics.ts";
import { serveProbes } from "./probe-server.ts";

async function start(t: TestContext) {
  const health = new Health();
  const metrics = new Metrics("shop");
  const server = await serveProbes({ host: "127.0.0.1", port: 0 }, health, metrics);
  t.after(() => server[Symbol.asyncDispose]());
  const ask = async (path: string) => {
    const response = await fetch(`http://${server.address}${path}`);
    return { status: response.status, text: await response.text() };
  };
  return { health, metrics, server, ask };
}

describe("the probes of a process", () => {
  test("/readyz says what each part waits for, until none waits", async (t) => {
    const { health, ask } = await start(t);
    health.set("bus", "connecting");
    health.set("hub", "listing");
    assert.deepEqual(await ask("/readyz"), { status: 503, text: "bus: connecting\nhub: listing\n" });
    assert.deepEqual(await ask("/livez"), { status: 200, text: "ok\n" });
    health.set("bus", null);
    health.set("hub", null);
    assert.deepEqual(await ask("/readyz?verbose"), { status: 200, text: "ok\n" });
  });

  test("/livez fails with the reason once the process cannot go on, and it is not ready then", async (t) => {
    const { health, ask } = await start(t);
    health.fail("its loop ended");
    assert.deepEqual(await ask("/livez"), { status: 500, text: "its loop ended\n" });
    assert.deepEqual(await ask("/readyz"), { status: 503, text: "its loop ended\n" });
  });

  test("/metrics names the service", async (t) => {
    const { metrics, ask } = await start(t);
    metrics.dropped.inc({ table: "slices", reason: "stale_epoch" });
    const { status, text } = await ask("/metrics");
    assert.equal(status, 200);
    assert.match(
      text,
      /sluice_bus_records_dropped_total\{table="slices",reason="stale_epoch",service="shop"\} 1/,
    );
  });

  test("another path is told the three", async (t) => {
    const { ask } = await start(t);
    assert.deepEqual(await ask("/"), { status: 404, text: "/livez, /readyz or /metrics\n" });
  });

  test("a port that is taken is an error that names the address", async (t) => {
    const { server } = await start(t);
    const port = Number(server.address.split(":")[1]);
    await assert.rejects(
      serveProbes({ host: "127.0.0.1", port }, new Health(), new Metrics("shop")),
      (error) => error instanceof PortTakenError && error.message.startsWith(server.address),
    );
  });

  test("closing does not wait for a connection that somebody keeps", async (t) => {
    const { server } = await start(t);
    await fetch(`http://${server.address}/livez`);
    await server[Symbol.asyncDispose]();
    await assert.rejects(fetch(`http://${server.address}/livez`));
  });
});

test("whoever listens hears of each change of health until it stops listening", () => {
  const health = new Health();
  const heard: boolean[] = [];
  const stop = health.onChange(() => heard.push(health.ready));
  health.set("bus", "connecting");
  health.set("bus", null);
  health.fail("gone");
  stop();
  health.set("bus", "connecting");
  assert.deepEqual(heard, [false, true, false]);
});
