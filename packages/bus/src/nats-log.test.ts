import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { ensureTool, startNatsServer, type Tool } from "@sluice/native-tools";
import { logContract } from "./log-contract.ts";
import { NatsStore } from "./nats-store.ts";

const forever = new AbortController().signal;
let tool: Tool;
let root: string;
before(async () => {
  tool = await ensureTool("nats-server", { signal: forever });
  root = await mkdtemp(join(tmpdir(), "sluice-log-"));
});
after(async () => {
  await rm(root, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});

logContract("nats-server", async () => {
  const storeDir = await mkdtemp(join(root, "nats-"));
  let server = await startNatsServer({ tool, storeDir, port: 0, signal: forever });
  return {
    connect: (kit) => new NatsStore({ url: server.url, name: "contract", kit }),
    async restart() {
      const { port } = server;
      await server.close();
      server = await startNatsServer({ tool, storeDir, port, signal: forever });
    },
    close: async () => server.close(),
  };
});
