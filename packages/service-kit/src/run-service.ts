import { SluiceError } from "@sluice/contracts";
import {
  type ConfigOf,
  type ConfigSpec,
  duration,
  integer,
  oneOf,
  readConfig,
  text,
  usageOf,
} from "./config.ts";
import type { Health } from "./health.ts";
import { createKit, type Kit } from "./kit.ts";
import { watchLauncher } from "./launcher.ts";
import { createLogger, type Logger } from "./logger.ts";
import { Metrics } from "./metrics.ts";
import { serveProbes } from "./probe-server.ts";
import { onStopSignal } from "./stop-signals.ts";

/** Milliseconds that an ordered shutdown may take; after that the process ends with code 1. */
const SHUTDOWN_MS = 10_000;

/** Settings that every service has. */
const commonConfig = {
  logLevel: {
    env: "SLUICE_LOG_LEVEL",
    flag: "log-level",
    help: "how much is logged",
    default: "info",
    read: oneOf("trace", "debug", "info", "warn", "error", "fatal", "silent"),
  },
  probeHost: {
    env: "SLUICE_PROBE_HOST",
    flag: "probe-host",
    help: "address for /livez, /readyz and /metrics",
    default: "127.0.0.1",
    read: text,
  },
  probePort: {
    env: "SLUICE_PROBE_PORT",
    flag: "probe-port",
    help: "port for /livez, /readyz and /metrics; 0 takes any free one",
    default: "9090",
    read: integer(0, 65535),
  },
  injectDelay: {
    env: "SLUICE_INJECT_DELAY",
    flag: "inject-delay",
    help: "how long this service waits before it publishes a change; for benchmarks",
    default: "0ms",
    read: duration,
  },
} satisfies ConfigSpec;

export interface ServiceContext<S extends ConfigSpec> extends Kit {
  readonly config: ConfigOf<S>;
  /** Closes what it is given when the service stops, in reverse order. */
  own<T extends Disposable | AsyncDisposable>(resource: T): T;
}

/** A service: its name, its settings, and its life from start to stop. */
export interface ServiceDefinition<S extends ConfigSpec = ConfigSpec> {
  readonly name: string;
  readonly settings: S;
  /** Resolves when the context's signal has aborted and nothing of the service runs any more. */
  run(context: ServiceContext<S>): Promise<void>;
}

/** A definition whose settings only its own `run` needs to know. */
export type AnyService = Pick<ServiceDefinition, "name"> & {
  /** What `--help` prints. */
  usage(): string;
  start(argv: readonly string[], options: StartOptions): Promise<RunningService>;
};

export interface StartOptions {
  readonly signal: AbortSignal;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Default: JSON lines on stderr. */
  readonly log?: Logger;
  /** CPU, memory and event loop of the process; only where the process is the service. */
  readonly processMetrics?: boolean;
}

export interface RunningService {
  readonly health: Health;
  readonly log: Logger;
  /** Address of /livez, /readyz and /metrics. */
  readonly probes: string;
  /** Rejects on a fatal error; else resolves once the signal has aborted and all is closed. */
  readonly done: Promise<void>;
}

/** Ties a definition's settings to its `run`, so that it can be started by whoever has its arguments. */
export function defineService<S extends ConfigSpec>(definition: ServiceDefinition<S>): AnyService {
  const { name, settings } = definition;
  return {
    name,
    usage: () => `sluice-${name} [flags]\n\n${usageOf({ ...settings, ...commonConfig })}`,
    start: (argv, options) => startService(definition, argv, options),
  };
}

/** @throws ConfigError before anything has begun */
async function startService<S extends ConfigSpec>(
  definition: ServiceDefinition<S>,
  argv: readonly string[],
  options: StartOptions,
): Promise<RunningService> {
  const { name } = definition;
  // Two reads, because the compiler cannot see through the union of a generic specification and a fixed one.
  const specs = { ...commonConfig, ...definition.settings };
  const all = readConfig(specs, argv, options.env);
  const common = all as unknown as ConfigOf<typeof commonConfig>;
  const log = options.log ?? (await createLogger({ service: name, level: common.logLevel }));
  const metrics = new Metrics(name, { processMetrics: options.processMetrics ?? false });
  const kit = createKit({
    service: name,
    signal: options.signal,
    log,
    metrics,
    injectDelayMs: common.injectDelay,
  });
  const stack = new AsyncDisposableStack();
  const probes = stack.use(
    await serveProbes({ host: common.probeHost, port: common.probePort }, kit.health, metrics),
  );
  log.info({ probes: probes.address, pid: process.pid }, "started");
  const run = async () => {
    try {
      await definition.run({
        ...kit,
        config: all as unknown as ConfigOf<S>,
        own: (resource) => {
          stack.use(resource as AsyncDisposable);
          return resource;
        },
      });
    } catch (error) {
      // Told to stop while it waited for something that it cannot do without, e.g. the first answer of the bus.
      if (!options.signal.aborted || error !== options.signal.reason) throw error;
    } finally {
      await stack.disposeAsync();
      log.info("stopped");
    }
  };
  return { health: kit.health, log, probes: probes.address, done: run() };
}

/** The whole life of one service process: settings, logger, probes, signals, ordered shutdown. */
export async function runService(service: AnyService): Promise<void> {
  const controller = new AbortController();
  const argv = process.argv.slice(2);
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(service.usage());
    return;
  }
  let log: Logger | undefined;
  let code = 0;
  const stop = (why: string) => {
    log?.info({ cause: why }, "stopping");
    controller.abort(new Error(why));
  };
  // Before anything begins: a signal between the first step and this line would end the process on the spot.
  using _signals = onStopSignal(
    SHUTDOWN_MS,
    (cause) => {
      if ("signal" in cause) return stop(cause.signal);
      code = 1;
      log?.error({ err: cause.error }, "uncaught error");
      stop("uncaught error");
    },
    () => {
      log?.error(`not stopped after ${SHUTDOWN_MS / 1000} s, leaving`);
      process.exit(1);
    },
  );
  let running: RunningService;
  try {
    running = await service.start(argv, {
      signal: controller.signal,
      env: process.env,
      processMetrics: true,
    });
  } catch (error) {
    process.stderr.write(`sluice-${service.name}: ${(error as Error).message}\n`);
    process.exit(error instanceof SluiceError ? error.exit : 1);
  }
  log = running.log;
  using _launcher = watchLauncher(process.env, stop);
  try {
    await running.done;
  } catch (error) {
    log.error({ err: error }, "failed");
    code = error instanceof SluiceError ? error.exit : 1;
  }
  // Explicit: a socket that some library keeps alive must not keep the process.
  process.exit(code);
}
