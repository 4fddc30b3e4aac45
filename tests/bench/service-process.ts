import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { freePort } from "@sluice/native-tools";

const STOP_MS = 20_000;
const POLL_MS = 50;

/** A service as a process of its own, as in production: started from its main.ts, asked over its probes. */
export class ServiceProcess implements AsyncDisposable {
  readonly name: string;
  readonly #main: string;
  readonly #args: readonly string[];
  readonly #logFile: string;
  #child: ChildProcess | null = null;
  #probes = "";

  /** @param nodeArgs for Node itself, e.g. `--cpu-prof` */
  constructor(
    name: string,
    args: readonly string[],
    options: { readonly logFile: string; readonly nodeArgs?: readonly string[] },
  ) {
    this.name = name;
    this.#main = new URL(`../../services/${name}/src/main.ts`, import.meta.url).pathname;
    this.#args = [...(options.nodeArgs ?? []), this.#main, ...args];
    this.#logFile = options.logFile;
  }

  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error(`${this.name} does not run`);
    return this.#child.pid;
  }

  async start(): Promise<void> {
    const port = await freePort();
    const log = openSync(this.#logFile, "a");
    this.#child = spawn(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", ...this.#args, "--probe-port", String(port)],
      { stdio: ["ignore", log, log], env: { ...process.env, SLUICE_LAUNCHER_PID: String(process.pid) } },
    );
    closeSync(log);
    this.#probes = `http://127.0.0.1:${port}`;
  }

  /** @throws when it ends, or is not ready in time */
  async ready(withinMs: number, signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + withinMs;
    for (let why = ""; performance.now() < deadline; ) {
      this.check();
      try {
        const answer = await fetch(`${this.#probes}/readyz`, { signal: AbortSignal.timeout(5000) });
        if (answer.ok) return;
        why = await answer.text();
      } catch (error) {
        why = String(error);
      }
      if (performance.now() + POLL_MS > deadline) throw new Error(`${this.name} is not ready: ${why}`);
      await delay(POLL_MS, undefined, { signal });
    }
  }

  /** @throws when it has ended */
  check(): void {
    const { exitCode, signalCode } = this.#child ?? {};
    if (exitCode != null || signalCode != null)
      throw new Error(`${this.name} ended with ${exitCode ?? signalCode}; its log is ${this.#logFile}`);
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await exited;
    clearTimeout(late);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
