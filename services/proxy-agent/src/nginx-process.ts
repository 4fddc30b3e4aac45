import { type ChildProcess, spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { ChildExitedError } from "@sluice/contracts";
import type { PreparedNginx } from "./prepare-nginx.ts";

export interface NginxProcess extends AsyncDisposable {
  readonly pid: number;
  readonly process: ChildProcess;
  /** Ends master and workers; SIGKILL where it must be as if the machine had failed. */
  stop(how?: "SIGTERM" | "SIGKILL"): Promise<void>;
}

/** Milliseconds that nginx gets to end after SIGTERM. */
const STOP_MS = 5000;

async function pidIn(file: string): Promise<number | null> {
  const text = await readFile(file, "utf8").catch(() => "");
  return text === "" ? null : Number(text);
}

/** Whether something accepts connections there. */
export async function accepts(address: string, signal: AbortSignal): Promise<boolean> {
  const unix = address.startsWith("/");
  const at = address.lastIndexOf(":");
  const socket = connect({
    ...(unix ? { path: address } : { host: address.slice(0, at), port: Number(address.slice(at + 1)) }),
    signal,
  });
  try {
    return await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
  } finally {
    socket.destroy();
  }
}

/**
 * Starts a prepared nginx in a process group of its own and waits until it listens on `address`.
 * @throws ChildExitedError with nginx's last words
 */
export async function startNginx(
  prepared: Pick<PreparedNginx, "command" | "args" | "env" | "pidFile">,
  address: string,
  signal: AbortSignal,
): Promise<NginxProcess> {
  const child = spawn(prepared.command, prepared.args, {
    env: { ...process.env, ...prepared.env },
    stdio: ["ignore", "ignore", "pipe"],
    detached: true,
  });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-2000);
  });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const gone = () => child.exitCode !== null || child.signalCode !== null;
  const stop = async (how: "SIGTERM" | "SIGKILL" = "SIGTERM") => {
    if (gone() || child.pid === undefined) return;
    // A killed master leaves its workers serving: the whole group goes.
    if (how === "SIGKILL") process.kill(-child.pid, "SIGKILL");
    else child.kill("SIGTERM");
    const late = setTimeout(() => process.kill(-child.pid!, "SIGKILL"), STOP_MS);
    await ended;
    clearTimeout(late);
  };
  try {
    // The pid file comes after the sockets: somebody else may listen on the address while this one fails to.
    while (!((await pidIn(prepared.pidFile)) === child.pid && (await accepts(address, signal)))) {
      if (gone())
        throw new ChildExitedError(`nginx ended with ${child.exitCode ?? child.signalCode}: ${said}`);
      await delay(5, undefined, { signal });
    }
  } catch (error) {
    await stop("SIGKILL");
    throw error;
  }
  return { pid: child.pid!, process: child, stop, [Symbol.asyncDispose]: () => stop() };
}
