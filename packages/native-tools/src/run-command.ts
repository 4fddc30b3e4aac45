import { spawn } from "node:child_process";

export interface CommandResult {
  /** null: ended by a signal, by the time limit among others, or never started. */
  readonly status: number | null;
  /** Both streams, in the order in which they came; the last 64 KiB. */
  readonly output: string;
}

export interface CommandOptions {
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  readonly cwd?: string;
  /** What it starts from; default process.env. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Added to that. */
  readonly env?: Readonly<Record<string, string>>;
}

const OUTPUT_LIMIT = 64 * 1024;

/** Runs a program to its end. A program that cannot be started is an outcome, not an error; only an abort throws. */
export async function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  options.signal.throwIfAborted();
  const limit = AbortSignal.any([options.signal, AbortSignal.timeout(options.timeoutMs)]);
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: { ...(options.environment ?? process.env), LC_ALL: "C", ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
    signal: limit,
    killSignal: "SIGKILL",
  });
  let output = "";
  const keep = (chunk: Buffer) => {
    output = (output + chunk.toString("utf8")).slice(-OUTPUT_LIMIT);
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  const status = await new Promise<number | null>((resolve) => {
    child.once("error", (error) => {
      output += `${error.message}\n`;
      // ENOENT and an abort before the start bring no `close`.
      if (child.pid === undefined) resolve(null);
    });
    child.once("close", (code) => resolve(code));
  });
  options.signal.throwIfAborted();
  return { status, output };
}
