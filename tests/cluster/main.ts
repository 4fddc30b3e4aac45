// `npm run test:cluster`: what holds on one nats-server holds on three, with TLS and three copies of every table.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SluiceError } from "@sluice/contracts";
import { ensureTool } from "@sluice/native-tools";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** Two at a time: most of what they take is waiting for elections. */
const files = [
  "packages/bus/src/nats-store.cluster.ts",
  "packages/bus/src/cluster-faults.cluster.ts",
  "packages/bus/src/nats-log.cluster.ts",
  "tests/cluster/services.cluster.ts",
];

const controller = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => controller.abort(new Error(name)));
try {
  await ensureTool("nats-server-cluster", {
    signal: controller.signal,
    log: (message) => process.stderr.write(`${message}\n`),
  });
  const child = spawn(
    process.execPath,
    [
      "--disable-warning=ExperimentalWarning",
      "--test",
      "--test-concurrency=2",
      "--test-timeout=600000",
      ...process.argv.slice(2),
      ...files.map((file) => join(root, file)),
    ],
    { stdio: "inherit" },
  );
  // The runner ends the files that it has begun; they end what they have started.
  controller.signal.addEventListener("abort", () => child.kill("SIGTERM"), { once: true });
  const [code] = (await once(child, "exit")) as [number | null];
  process.exitCode = code ?? 1;
} catch (error) {
  if (!(error instanceof SluiceError)) throw error;
  process.stderr.write(`npm run test:cluster: ${error.message} [${error.code}]\n`);
  process.exitCode = error.exit;
}
