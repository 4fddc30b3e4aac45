import { type ChildProcess, spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { ChildExitedError, StartTimeoutError } from "@sluice/contracts";
import type { PreparedNginx } from "./prepare-nginx.ts";

export interface NginxProcess extends AsyncDisposable {
  readonly pid: number;
  readonly process: ChildProcess;
  /** Ends master and workers; SIGKILL where it must be as if the machine had failed. */
  stop(how?: "SIGTERM" | "SIGKILL"): Promise<void>;
}

/** Milliseconds that nginx gets to end after SIGTERM. */
const STOP_MS = 5000;
/** Milliseconds until it listens: tenths of a second with ten thousand certificates, on a machine that is not busy. */
const START_MS = 60_000;
/** Milliseconds for one attempt to connect to it. */
const CONNECT_MS = 1000;

async function pidIn(file: string): Promise<number | null> {
  const text = await readFile(file, "utf8").catch(() => "");
  return text === "" ? null : Number(text);
}

/** Master and workers. Nobody is left to be told when they have gone by themselves. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
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
 * @param startMs milliseconds that it may take
 * @throws ChildExitedError with nginx's last words
 * @throws StartTimeoutError with what is missing, and nginx's last words
 */
export async function startNginx(
  prepared: Pick<PreparedNginx, "command" | "args" | "env" | "pidFile">,
  address: string,
  signal: AbortSignal,
  startMs = START_MS,
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
    if (how === "SIGKILL") killGroup(child.pid);
    else child.kill("SIGTERM");
    const late = setTimeout(killGroup, STOP_MS, child.pid);
    await ended;
    clearTimeout(late);
  };
  try {
    // The pid file comes after the sockets: somebody else may listen on the address while this one fails to.
    const began = performance.now();
    for (let pid: number | null; ; ) {
      pid = await pidIn(prepared.pidFile);
      const connected = AbortSignal.any([signal, AbortSignal.timeout(CONNECT_MS)]);
      if (pid === child.pid && (await accepts(address, connected))) break;
      if (gone())
        throw new ChildExitedError(`nginx ended with ${child.exitCode ?? child.signalCode}: ${said}`);
      if (performance.now() - began > startMs) {
        const missing =
          pid === child.pid ? `accepts nothing on ${address}` : `${prepared.pidFile} has not its pid`;
        throw new StartTimeoutError(`nginx does not listen after ${startMs} ms: ${missing}. ${said}`);
      }
      await delay(5, undefined, { signal });
    }
  } catch (error) {
    await stop("SIGKILL");
    throw error;
  }
  return { pid: child.pid!, process: child, stop, [Symbol.asyncDispose]: () => stop() };
}
