import { watchLauncher } from "@sluice/service-kit";
import { gatewayAddress } from "./gateway.ts";
import type { RunFile } from "./run-file.ts";
import { createSteps } from "./steps.ts";
import { readUpOptions, usage } from "./up-options.ts";

/** @param named the gateway is not the one that commands find by themselves in this folder */
function summary(run: RunFile, named: boolean): string {
  return [
    "",
    `  proxy     ${[run.proxy.http, run.proxy.https].filter((each) => each !== undefined).join(", ")}`,
    `  gateway   ${run.gateway}`,
    `  status    sluice status${named ? ` --gateway ${run.gateway}` : ""}`,
    `  stop      Ctrl-C`,
    "",
  ].join("\n");
}

/** `sluice up`: resolves with the exit code once everything has ended. */
export async function upCommand(argv: readonly string[]): Promise<number> {
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(usage());
    return 0;
  }
  const options = readUpOptions(argv, process.env);
  const controller = new AbortController();
  // A second signal changes nothing: what was begun in order is ended in order.
  const stop = (signal: string) => controller.abort(new Error(signal));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, stop);
  using _launcher = watchLauncher(process.env, stop);
  const steps = createSteps(process.stderr);
  const { up } = await import("./up.ts");
  try {
    await up(
      options,
      {
        steps,
        ready: (run) => {
          const named = gatewayAddress(undefined) !== run.gateway;
          process.stdout.write(options.json ? `${JSON.stringify(run)}\n` : summary(run, named));
        },
      },
      controller.signal,
    );
  } catch (error) {
    if (!controller.signal.aborted) throw error;
  } finally {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.off(signal, stop);
  }
  return 0;
}
