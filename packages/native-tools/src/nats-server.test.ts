import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ensureTool } from "./ensure-tool.ts";
import { freePort } from "./free-port.ts";
import { startNatsServer } from "./nats-server.ts";

async function scratch(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "sluice-nats-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect({ host: "127.0.0.1", port });
  const answer = await new Promise<boolean>((resolve) => {
    socket.once("data", () => resolve(true));
    socket.once("error", () => resolve(false));
  });
  socket.destroy();
  return answer;
}

test("a started server answers with JetStream, and nothing is left after close", async (t) => {
  const tool = await ensureTool("nats-server", { signal: t.signal });
  const server = await startNatsServer({ tool, storeDir: await scratch(t), signal: t.signal });
  t.after(() => server.close());
  assert.ok(await accepts(server.port));
  await server.close();
  assert.equal(await accepts(server.port), false);
  assert.throws(() => process.kill(server.pid, 0), { code: "ESRCH" });
});

test("a server started again on the same port and storage is the same address", async (t) => {
  const tool = await ensureTool("nats-server", { signal: t.signal });
  const storeDir = await scratch(t);
  const first = await startNatsServer({ tool, storeDir, signal: t.signal });
  await first.close();
  const second = await startNatsServer({ tool, storeDir, port: first.port, signal: t.signal });
  t.after(() => second.close());
  assert.equal(second.url, first.url);
  assert.notEqual(second.pid, first.pid);
});

test("a port that is taken ends the start with the server's own words", async (t) => {
  const tool = await ensureTool("nats-server", { signal: t.signal });
  const first = await startNatsServer({ tool, storeDir: await scratch(t), signal: t.signal });
  t.after(() => first.close());
  await assert.rejects(
    startNatsServer({ tool, storeDir: await scratch(t), port: first.port, signal: t.signal }),
    { code: "SLUICE_UP_CHILD_EXITED", message: /address already in use/ },
  );
});

test("an aborted start leaves no process", async (t) => {
  const tool = await ensureTool("nats-server", { signal: t.signal });
  const controller = new AbortController();
  const starting = startNatsServer({ tool, storeDir: await scratch(t), signal: controller.signal });
  controller.abort(new Error("changed my mind"));
  await assert.rejects(starting, /changed my mind/);
});

test("a free port can be bound at once", async () => {
  const port = await freePort("127.0.0.1");
  assert.ok(port > 0 && port < 65536);
});
