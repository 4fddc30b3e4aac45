import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { StartedWorld } from "./started-world.ts";

const cli = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));

interface Ran {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** `sluice` as a person gives it, to the gateway of a world. */
export function sluice(world: StartedWorld, args: readonly string[], signal: AbortSignal): Promise<Ran> {
  return new Promise((resolve) => {
    const argv = [cli, ...args, "--gateway", world.addresses.gateway];
    execFile(process.execPath, argv, { signal }, (error, stdout, stderr) => {
      const exit = error === null ? 0 : typeof error.code === "number" ? error.code : 1;
      resolve({ exit, stdout, stderr });
    });
  });
}
