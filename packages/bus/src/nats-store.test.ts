import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { jetstreamManager, StorageType } from "@nats-io/jetstream";
import { AuthorizationError, connect } from "@nats-io/transport-node";
import { BusAssetError } from "@sluice/contracts";
import { ensureTool, type NatsServer, startNatsServer, type Tool } from "@sluice/native-tools";
import { createKit, type Kit } from "@sluice/service-kit";
import { connectBus } from "./connect.ts";
import { isRefusal } from "./nats-connect.ts";
import { NatsStore } from "./nats-store.ts";
import { resumeContract } from "./resume-contract.ts";
import { tableContract } from "./table-contract.ts";
import { startRelay } from "./tcp-relay.ts";

const forever = new AbortController().signal;
let tool: Tool;
let root: string;
before(async () => {
  tool = await ensureTool("nats-server", { signal: forever });
  root = await mkdtemp(join(tmpdir(), "sluice-bus-"));
});
after(async () => {
  await rm(root, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});

async function startServer(storeDir: string, port = 0): Promise<NatsServer> {
  return startNatsServer({ tool, storeDir, port, signal: forever });
}

async function startContractServer() {
  const storeDir = await mkdtemp(join(root, "nats-"));
  let server = await startServer(storeDir);
  const relay = await startRelay(server.port);
  return {
    connect: (kit: Kit) => new NatsStore({ url: `nats://127.0.0.1:${relay.port}`, name: "contract", kit }),
    async restart(options: { wipe?: boolean } = {}) {
      const { port } = server;
      await server.close();
      if (options.wipe === true) await rm(join(storeDir, "jetstream"), { recursive: true, force: true });
      server = await startServer(storeDir, port);
    },
    cut: async () => relay.cut(),
    close: async () => {
      await relay.close();
      await server.close();
    },
  };
}

tableContract("nats-server", startContractServer);
resumeContract("nats-server", startContractServer);

test("a bucket that was changed by hand is refused at boot, with the difference in the message", async () => {
  await using server = await startServer(await mkdtemp(join(root, "nats-")));
  const connection = await connect({ servers: server.url });
  const jsm = await jetstreamManager(connection);
  await jsm.streams.add({
    name: "KV_sluice_slices",
    subjects: ["$KV.sluice_slices.>"],
    storage: StorageType.File,
    max_msgs_per_subject: 5,
  });
  await connection.close();
  const controller = new AbortController();
  const kit = createKit({ service: "test", signal: controller.signal });
  try {
    await assert.rejects(connectBus({ url: server.url, name: "test", kit }), (error: unknown) => {
      assert.ok(error instanceof BusAssetError);
      assert.match(error.message, /KV_sluice_slices: max_msgs_per_subject is 5, needed is 1/);
      return true;
    });
  } finally {
    controller.abort();
  }
});

test("a bus that is not there yet is waited for", async () => {
  const storeDir = await mkdtemp(join(root, "nats-"));
  const first = await startServer(storeDir);
  const { url, port } = first;
  await first.close();
  const controller = new AbortController();
  const kit = createKit({ service: "test", signal: controller.signal });
  const bus = await connectBus({ url, name: "test", kit, waitOnFirstConnect: false });
  assert.equal(bus.connected, false);
  await using _server = await startServer(storeDir, port);
  const store = new NatsStore({ url, name: "test", kit });
  await store.boot(kit.signal);
  controller.abort();
  await bus.close();
  await store.close();
});

test("a store that is closed while it connects ends, though the server greets it after that", {
  timeout: 60_000,
}, async () => {
  const accepted = Promise.withResolvers<void>();
  const greeted = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    accepted.resolve();
    const info = { server_id: "late", version: "2.10.0", max_payload: 1_048_576, proto: 1, headers: true };
    void greeted.promise.then(() => socket.write(`INFO ${JSON.stringify(info)}\r\n`));
    socket.on("data", (said) => said.includes("PING") && socket.write("PONG\r\n"));
    socket.on("error", () => {});
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const controller = new AbortController();
  const kit = createKit({ service: "test", signal: controller.signal });
  const { port } = server.address() as AddressInfo;
  const store = new NatsStore({ url: `nats://127.0.0.1:${port}`, name: "test", kit });
  await accepted.promise;
  const closed = store.close();
  greeted.resolve();
  await closed;
  controller.abort();
  server.close();
});

test("a server that waited in vain for a credential has not refused it", () => {
  const refused = new AuthorizationError("Authorization Violation");
  assert.equal(isRefusal(refused), true);
  assert.equal(isRefusal(new Error("no connection", { cause: refused })), true);
  const late = new AuthorizationError("Authentication Timeout");
  assert.equal(isRefusal(late), false);
  assert.equal(isRefusal(new Error("no connection", { cause: late })), false);
});
