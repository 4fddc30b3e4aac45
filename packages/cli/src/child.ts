import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

export interface ChildCommand {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Its stdout and stderr go here, appended. */
  readonly logFile: string;
  /** How it is asked to end; default SIGTERM. */
  readonly stopSignal?: NodeJS.Signals;
}

/** Called when it ends without having been asked to. */
type OnExit = (child: Child, code: number | null, signal: string | null) => void;

/** One process of ours, in a process group of its own, so that a terminal's Ctrl-C reaches only who ends it in order. */
export class Child {
  readonly name: string;
  readonly #command: ChildCommand;
  #process: ChildProcess | null = null;
  #exited: Promise<void> = Promise.resolve();
  #stopping = false;
  readonly #onExit: OnExit;

  constructor(command: ChildCommand, onExit: OnExit = () => {}) {
    this.name = command.name;
    this.#command = command;
    this.#onExit = onExit;
  }

  get pid(): number | null {
    return this.running ? (this.#process?.pid ?? null) : null;
  }

  get running(): boolean {
    return this.#process !== null && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  get logFile(): string {
    return this.#command.logFile;
  }

  get exited(): Promise<void> {
    return this.#exited;
  }

  start(): void {
    if (this.running) return;
    const { command, args, env, logFile } = this.#command;
    const log = openSync(logFile, "a");
    const child = spawn(command, [...args], {
      stdio: ["ignore", log, log],
      detached: true,
      env: { ...process.env, ...env },
    });
    closeSync(log);
    this.#process = child;
    this.#stopping = false;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#exited = promise;
    child.once("error", () => resolve());
    child.once("exit", (code, signal) => {
      resolve();
      if (!this.#stopping) this.#onExit(this, code, signal);
    });
  }

  /** Asks it to end, and after `graceMs` ends its whole group. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    const child = this.#process;
    if (child?.pid === undefined || !this.running) return;
    child.kill(this.#command.stopSignal ?? "SIGTERM");
    const timer = new AbortController();
    const late = delay(graceMs, "late", { signal: timer.signal }).catch(() => "aborted");
    const first = await Promise.race([this.#exited.then(() => "exited"), late]);
    timer.abort();
    if (first === "late") {
      try {
        process.kill(-child.pid, "SIGKILL");
      } catch {
        // Its group has ended meanwhile.
      }
      await this.#exited;
    }
  }
}
