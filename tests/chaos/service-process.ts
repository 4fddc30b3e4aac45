import { statSync } from "node:fs";
import { open } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Child } from "@sluice/cli";
import { wrongClockArgs, wrongClockEnv } from "../world/clocks-ahead.ts";

/** How long an ordered end may take; services give themselves ten seconds. */
const STOP_MS = 12_000;

/** How long it may take to load; most of a second on a machine with nothing else to do. */
const START_MS = 30_000;

export interface ServiceCommand {
  /** e.g. `aggregator-1` */
  readonly name: string;
  /** e.g. `aggregator` */
  readonly service: string;
  /** URL of its main.ts. */
  readonly entry: string;
  readonly args: readonly string[];
  readonly logFile: string;
  /** Called with what it did without having been asked, or did not do. */
  onProblem(what: string): void;
}

/** A service as a process of its own, which the test may treat badly. */
export class ServiceProcess {
  readonly name: string;
  readonly service: string;
  readonly #command: ServiceCommand;
  readonly #onProblem: (what: string) => void;
  #child: Child;
  #asked: "no" | "kill" | "end" = "no";
  #frozen = false;
  #clockMs = 0;

  constructor(command: ServiceCommand) {
    this.name = command.name;
    this.service = command.service;
    this.#command = command;
    this.#onProblem = command.onProblem;
    this.#child = this.#childWith(0);
  }

  #childWith(clockMs: number): Child {
    const { name, service, entry, args, logFile } = this.#command;
    return new Child(
      {
        name,
        command: process.execPath,
        args: [
          "--disable-warning=ExperimentalWarning",
          ...(clockMs === 0 ? [] : wrongClockArgs),
          fileURLToPath(entry),
          "--probe-port",
          "0",
          ...args,
        ],
        env: {
          SLUICE_LAUNCHER_PID: String(process.pid),
          ...wrongClockEnv({ [service]: clockMs }),
        },
        logFile,
      },
      (_child, code, signal) => this.#ended(code, signal),
    );
  }

  get running(): boolean {
    return this.#child.running;
  }

  get pid(): number | null {
    return this.#child.pid;
  }

  #ended(code: number | null, signal: string | null): void {
    if (this.#asked === "kill" || (this.#asked === "end" && code === 0)) return;
    const how = signal ?? `code ${code}`;
    this.#onProblem(
      this.#asked === "end"
        ? `${this.name} was told to end and ended with ${how}`
        : `${this.name} ended by itself (${how})`,
    );
  }

  /** By how much its clock is ahead, ms; 0: it is right, or does not run. */
  get clockMs(): number {
    return this.running ? this.#clockMs : 0;
  }

  /**
   * Resolves when it has loaded and says that it has started.
   *
   * @param clockMs by how much its clock is ahead from then on
   */
  async start(signal: AbortSignal, clockMs = 0): Promise<void> {
    this.#child = this.#childWith(clockMs);
    this.#clockMs = clockMs;
    this.#asked = "no";
    this.#frozen = false;
    const logged = statSync(this.#child.logFile, { throwIfNoEntry: false })?.size ?? 0;
    this.#child.start();
    const deadline = performance.now() + START_MS;
    while (this.running && !(await saysStarted(this.#child.logFile, logged))) {
      if (performance.now() > deadline) {
        return this.#onProblem(`${this.name} did not start within ${START_MS / 1000} s`);
      }
      await delay(20, undefined, { signal });
    }
  }

  #signal(signal: NodeJS.Signals): boolean {
    const { pid } = this.#child;
    if (pid !== null) process.kill(pid, signal);
    return pid !== null;
  }

  async kill(): Promise<void> {
    this.#asked = "kill";
    if (this.#signal("SIGKILL")) await this.#child.exited;
  }

  /** SIGTERM. */
  async end(): Promise<void> {
    this.#asked = "end";
    if (this.#frozen) this.thaw();
    if (!this.#signal("SIGTERM")) return;
    const over = new AbortController();
    const late = delay(STOP_MS, true, { signal: over.signal }).catch(() => false);
    if (await Promise.race([this.#child.exited.then(() => false), late])) {
      this.#onProblem(`${this.name} did not end within ${STOP_MS / 1000} s of SIGTERM`);
      await this.kill();
    }
    over.abort();
  }

  freeze(): void {
    this.#frozen = this.#signal("SIGSTOP");
  }

  thaw(): void {
    this.#frozen = false;
    this.#signal("SIGCONT");
  }
}

/** @param from bytes of its log that were there before */
async function saysStarted(logFile: string, from: number): Promise<boolean> {
  await using file = await open(logFile, "r");
  const { size } = await file.stat();
  if (size <= from) return false;
  const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
  return buffer.subarray(0, bytesRead).includes('"msg":"started"');
}
