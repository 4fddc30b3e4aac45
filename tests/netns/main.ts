// `npm run test:netns`: a member that freezes, and one whose packets are lost, in network namespaces that it makes. As root.
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { SluiceError } from "@sluice/contracts";
import { nodeInNamespace, requireNamespaces } from "./namespace.ts";

try {
  await requireNamespaces();
  const files = ["blackhole.netns.ts"].map((name) => fileURLToPath(new URL(name, import.meta.url)));
  const child = nodeInNamespace(
    [
      "--disable-warning=ExperimentalWarning",
      "--test",
      "--test-concurrency=1",
      ...process.argv.slice(2),
      ...files,
    ],
    "inherit",
  );
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => child.kill("SIGTERM"));
  const [code] = (await once(child, "exit")) as [number | null];
  process.exitCode = code ?? 1;
} catch (error) {
  if (!(error instanceof SluiceError)) throw error;
  process.stderr.write(`npm run test:netns: ${error.message} [${error.code}]\n`);
  process.exitCode = error.exit;
}
