import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { authorizationBlock, writeCredentials } from "@sluice/bus";
import { ensureTool, type NatsServer, startNatsServer } from "@sluice/native-tools";

const root = fileURLToPath(new URL("../..", import.meta.url));
const forever = new AbortController().signal;
let dir: string;
let server: NatsServer;
let stranger: string;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), "sluice-credentials-"));
  const users = await writeCredentials(join(dir, "auth"), [{ component: "aggregator" }]);
  const [other] = await writeCredentials(join(dir, "other"), [{ component: "aggregator" }]);
  stranger = other!.file;
  const tool = await ensureTool("nats-server", { signal: forever });
  const configuration = authorizationBlock(users);
  server = await startNatsServer({ tool, storeDir: join(dir, "nats"), configuration, signal: forever });
});
after(async () => {
  await server.close();
  await rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});

/** A service as a process, until it ends. */
async function ended(service: string, ...flags: string[]): Promise<{ code: number | null; said: string }> {
  const entry = join(root, "services", service, "src/main.ts");
  const args = [entry, "--probe-port", "0", "--nats-url", server.url, ...flags];
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...args], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const [code] = (await once(child, "exit")) as [number | null];
  return { code, said };
}

const services: readonly (readonly [string, readonly string[]])[] = [
  ["aggregator", ["--hub", "off"]],
  ["member-watcher", []],
  ["topology-gateway", ["--gateway-port", "0"]],
];
for (const [name, flags] of services) {
  test(`${name} that the bus does not know ends with 77, and says by file and user why`, {
    timeout: 240_000,
  }, async () => {
    const { code, said } = await ended(name, ...flags, "--nats-nkey", stranger);
    assert.equal(code, 77, said);
    assert.match(said, new RegExp(`does not let ${name} in with user U[A-Z2-7]{55} of ${stranger}`));
  });
}
