import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ChildExitedError, StartTimeoutError } from "@sluice/contracts";
import type { Tool } from "./ensure-tool.ts";

export interface NatsServerOptions {
  readonly tool: Tool;
  /** JetStream's storage, the configuration and the log live here. */
  readonly storeDir: string;
  /** 0 or absent: a free one that the server itself chooses. */
  readonly port?: number;
  /** More of nats-server's configuration, as text; e.g. who may do what. */
  readonly configuration?: string;
  /** Stops waiting for readiness; the server itself is ended by `close()`. */
  readonly signal: AbortSignal;
  log?(message: string): void;
  /** Milliseconds until it must be ready. Default 20,000. */
  readonly readyMs?: number;
  /** Milliseconds between SIGTERM and SIGKILL. Default 5,000. */
  readonly stopMs?: number;
}

export interface NatsServer extends AsyncDisposable {
  /** `nats://127.0.0.1:PORT` */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly process: ChildProcess;
  /** Resolves when the server has ended, whoever ended it. */
  readonly exited: Promise<void>;
  close(): Promise<void>;
}

function configuration(port: number, storeDir: string, more: string): string {
  // A value in JSON is a value in NATS's own notation, and quotes paths for us.
  const settings = {
    host: "127.0.0.1",
    port: port === 0 ? -1 : port,
    jetstream: { store_dir: join(storeDir, "jetstream") },
    ports_file_dir: join(storeDir, "ports"),
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  return `${lines.join("\n")}\n${more}`;
}

/** The address in the server's ports file, or null while there is none. */
async function announced(file: string): Promise<number | null> {
  const text = await readFile(file, "utf8").catch(() => "");
  const port = /(?:nats|tls):\/\/127\.0\.0\.1:([0-9]+)/.exec(text)?.[1];
  return port === undefined ? null : Number(port);
}

/** Whether the server greets a client and has JetStream. */
async function greets(port: number, signal: AbortSignal): Promise<boolean> {
  const socket = connect({ host: "127.0.0.1", port, signal });
  try {
    return await new Promise<boolean>((resolve) => {
      socket.once("error", () => resolve(false));
      socket.once("close", () => resolve(false));
      socket.once("data", (info) => resolve(info.toString().includes('"jetstream":true')));
    });
  } finally {
    socket.destroy();
  }
}

/**
 * A single nats-server with JetStream on loopback, in a process group of its own: Ctrl-C on a terminal ends it in the
 * order that its owner chooses.
 * @throws ChildExitedError, StartTimeoutError
 */
export async function startNatsServer(options: NatsServerOptions): Promise<NatsServer> {
  const { tool, storeDir } = options;
  const stopMs = options.stopMs ?? 5000;
  options.signal.throwIfAborted();
  await rm(join(storeDir, "ports"), { recursive: true, force: true });
  await mkdir(join(storeDir, "ports"), { recursive: true });
  const conf = join(storeDir, "nats-server.conf");
  const logFile = join(storeDir, "nats-server.log");
  await writeFile(conf, configuration(options.port ?? 0, storeDir, options.configuration ?? ""), {
    mode: 0o600,
  });
  const sink = createWriteStream(logFile, { flags: "a" });
  let last = "";
  const child = spawn(tool.path, ["-c", conf], {
    env: { ...process.env, ...tool.env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      sink.write(chunk);
      last = chunk.toString("utf8").trim().split("\n").at(-1) ?? last;
    });
  }
  let ended: string | null = null;
  const exited = new Promise<void>((resolve) => {
    child.once("error", (error) => {
      ended = error.message;
      if (child.pid === undefined) resolve();
    });
    child.once("close", (code, signal) => {
      ended ??= `ended with ${signal ?? code}`;
      sink.end();
      resolve();
    });
  });
  const close = async () => {
    if (ended !== null || child.pid === undefined) return exited;
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), stopMs);
    await exited;
    clearTimeout(timer);
  };

  const deadline = AbortSignal.timeout(options.readyMs ?? 20_000);
  const waiting = AbortSignal.any([options.signal, deadline]);
  try {
    for (;;) {
      if (ended !== null) throw new ChildExitedError(`nats-server ${ended} (${last}); its log is ${logFile}`);
      const port = await announced(join(storeDir, "ports", `nats-server_${child.pid}.ports`));
      if (port !== null && (await greets(port, waiting))) {
        options.log?.(`nats-server ${tool.version} listens on 127.0.0.1:${port}`);
        return {
          url: `nats://127.0.0.1:${port}`,
          port,
          pid: child.pid!,
          process: child,
          exited,
          close,
          [Symbol.asyncDispose]: close,
        };
      }
      await delay(5, undefined, { signal: waiting });
    }
  } catch (error) {
    await close();
    options.signal.throwIfAborted();
    if (deadline.aborted) {
      throw new StartTimeoutError(`nats-server is not ready (${last}); its log is ${logFile}`, {
        cause: error,
      });
    }
    throw error;
  }
}
