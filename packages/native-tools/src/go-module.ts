import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { runCommand } from "./run-command.ts";

const BUILD_MS = 600_000;

/**
 * Builds a program from its Go module into `<folder>/bin`; beside it only Go's own caches are touched.
 * @returns why it cannot be, or null
 */
export async function buildGoModule(
  module: string,
  folder: string,
  options: {
    readonly environment: Readonly<Record<string, string | undefined>>;
    readonly signal: AbortSignal;
  },
): Promise<string | null> {
  const bin = join(folder, "bin");
  await mkdir(bin, { recursive: true });
  const { status, output } = await runCommand("go", ["install", module], {
    signal: options.signal,
    timeoutMs: BUILD_MS,
    environment: options.environment,
    // Two at a time: a build that takes a whole machine is noticed by whoever else works on it.
    env: { GOBIN: bin, GOFLAGS: "-p=2", CGO_ENABLED: "0" },
  });
  if (status === 0) return null;
  return `go install ${module}: ${output.trim().split("\n").at(-1) ?? "no answer"}`;
}
