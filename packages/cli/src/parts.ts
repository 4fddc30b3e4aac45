import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type NatsServer, startNatsServer, type Tool } from "@sluice/native-tools";
import { type AnyService, createLogger, type RunningService, slept, systemClock } from "@sluice/service-kit";
import { Child } from "./child.ts";
import { waitForListener } from "./listener.ts";

/** One thing that `up` starts and ends: a process, or a service within this one. */
export interface Part {
  readonly name: string;
  /** null: down, or no process of its own. */
  readonly pid: number | null;
  readonly running: boolean;
  readonly logFile: string;
  /** Address of its probes, if it has any. */
  readonly probes: string | null;
  start(): Promise<void>;
  stop(graceMs: number): Promise<void>;
  /** What it waits for; null when it is ready. */
  waiting(): Promise<string | null>;
  /** It ended without having been asked to. */
  onExit(listener: (why: string) => void): void;
  /** It cannot go on, and neither can `up`. */
  onFailure(listener: (error: Error) => void): void;
}

function reason(code: number | null, signal: string | null): string {
  return signal === null ? `code ${code}` : signal;
}

/** A process that is ready when `ready` resolves. */
function childPart(
  child: Child,
  probes: string | null,
  exits: Set<(why: string) => void>,
  ready: () => Promise<void>,
): Part {
  return {
    name: child.name,
    get pid() {
      return child.pid;
    },
    get running() {
      return child.running;
    },
    logFile: child.logFile,
    probes,
    start: async () => {
      child.start();
      await ready();
    },
    stop: (graceMs) => child.stop(graceMs),
    waiting: async () => (probes === null ? null : readiness(probes)),
    onExit: (listener) => void exits.add(listener),
    onFailure: () => {},
  };
}

async function readiness(probes: string): Promise<string | null> {
  try {
    const answer = await fetch(`http://${probes}/readyz`, { signal: AbortSignal.timeout(2000) });
    return answer.ok ? null : await answer.text();
  } catch {
    return "it does not answer yet";
  }
}

export function natsPart(options: {
  tool: Tool;
  storeDir: string;
  port: number;
  /** Who may do what. */
  configuration: string;
  signal: AbortSignal;
}): Part & { readonly address: string } {
  let server: NatsServer | null = null;
  let stopping = false;
  const exits = new Set<(why: string) => void>();
  const alive = () =>
    server !== null && server.process.exitCode === null && server.process.signalCode === null;
  return {
    name: "nats",
    address: `nats://127.0.0.1:${options.port}`,
    get pid() {
      return alive() ? (server?.pid ?? null) : null;
    },
    get running() {
      return alive();
    },
    logFile: `${options.storeDir}/nats-server.log`,
    probes: null,
    async start() {
      stopping = false;
      const started = await startNatsServer(options);
      server = started;
      started.process.once("exit", (code, killed) => {
        if (!stopping) for (const listener of exits) listener(reason(code, killed));
      });
    },
    async stop() {
      stopping = true;
      await server?.close();
    },
    waiting: async () => null,
    onExit: (listener) => void exits.add(listener),
    onFailure: () => {},
  };
}

export function nginxPart(options: {
  prepared: {
    readonly socketPath: string;
    readonly command: string;
    readonly args: readonly string[];
    readonly env: Readonly<Record<string, string>>;
  };
  address: string;
  logFile: string;
  signal: AbortSignal;
}): Part {
  const { prepared, address, logFile, signal } = options;
  const exits = new Set<(why: string) => void>();
  const child = new Child(
    {
      name: "nginx",
      command: prepared.command,
      args: prepared.args,
      env: prepared.env,
      logFile,
    },
    (_child, code, killed) => {
      for (const listener of exits) listener(reason(code, killed));
    },
  );
  const part = childPart(child, null, exits, () => waitForListener(address, child, signal));
  return {
    ...part,
    // Getters are not spread.
    get pid() {
      return child.pid;
    },
    get running() {
      return child.running;
    },
    async start() {
      // An nginx that was killed leaves its socket behind, and the next one could not bind it.
      rmSync(prepared.socketPath, { force: true });
      await part.start();
    },
  };
}

/** A service as a process of its own. */
export function processPart(options: {
  name: string;
  entry: string;
  args: readonly string[];
  probePort: number;
  logFile: string;
}): Part {
  const { name, entry, args, probePort, logFile } = options;
  const exits = new Set<(why: string) => void>();
  const child = new Child(
    {
      name,
      command: process.execPath,
      args: [
        "--disable-warning=ExperimentalWarning",
        fileURLToPath(entry),
        "--probe-port",
        String(probePort),
        ...args,
      ],
      env: { SLUICE_LAUNCHER_PID: String(process.pid) },
      logFile,
    },
    (_child, code, killed) => {
      for (const listener of exits) listener(reason(code, killed));
    },
  );
  return childPart(child, `127.0.0.1:${probePort}`, exits, async () => {});
}

/** A service within this process, with the arguments that it would have as a process. */
export function servicePart(options: {
  name: string;
  service: AnyService;
  args: readonly string[];
  logFile: string;
}): Part {
  const { name, service, args, logFile } = options;
  let running: RunningService | null = null;
  let controller = new AbortController();
  let done: Promise<void> = Promise.resolve();
  const failures = new Set<(error: Error) => void>();
  return {
    name,
    pid: null,
    get running() {
      return running !== null;
    },
    logFile,
    get probes() {
      return running?.probes ?? null;
    },
    async start() {
      controller = new AbortController();
      const log = await createLogger({
        service: service.name,
        level: args[args.indexOf("--log-level") + 1] ?? "info",
        file: logFile,
      });
      const started = await service.start(args, { signal: controller.signal, env: {}, log });
      running = started;
      done = started.done
        .catch((error: Error) => {
          for (const listener of failures) listener(error);
        })
        .finally(() => {
          running = null;
        });
    },
    async stop(graceMs) {
      controller.abort(new Error("stopping"));
      // Nobody can kill a service in our own process; one that does not end must not keep the others up.
      const late = new AbortController();
      await Promise.race([done, slept(systemClock, graceMs, late.signal)]);
      late.abort();
    },
    async waiting() {
      if (running === null) return "it has not started";
      const { health } = running;
      return health.ready ? null : [...health.waiting].map(([part, why]) => `${part}: ${why}`).join("; ");
    },
    onExit: () => {},
    onFailure: (listener) => void failures.add(listener),
  };
}
