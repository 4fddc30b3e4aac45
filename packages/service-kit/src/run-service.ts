import { SluiceError } from "@sluice/contracts";
import closeWithGrace from "close-with-grace";
import { type ConfigOf, type ConfigSpec, duration, integer, readConfig, text } from "./config.ts";
import { createKit, type Kit } from "./kit.ts";
import { createLogger } from "./logger.ts";
import { Metrics } from "./metrics.ts";
import { serveProbes } from "./probe-server.ts";

/** Seconds that an ordered shutdown may take; after that the process ends with code 1. */
const SHUTDOWN_MS = 10_000;

/** Settings that every service has. */
export const commonConfig = {
  logLevel: {
    env: "SLUICE_LOG_LEVEL",
    flag: "log-level",
    help: "pino level: trace, debug, info, warn or error",
    default: "info",
    read: text,
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

/**
 * The whole life of one service process: settings, logger, probes, signals, ordered shutdown. `body` resolves when
 * its signal has aborted and nothing of its own runs any more.
 */
export async function runService<S extends ConfigSpec>(
  service: string,
  spec: S,
  body: (context: ServiceContext<S>) => Promise<void>,
): Promise<void> {
  let config: ConfigOf<S & typeof commonConfig>;
  try {
    config = readConfig({ ...commonConfig, ...spec }, process.argv.slice(2), process.env);
  } catch (error) {
    process.stderr.write(`sluice-${service}: ${(error as Error).message}\n`);
    process.exit(error instanceof SluiceError ? error.exit : 1);
  }
  const log = await createLogger({ service, level: config.logLevel as string });
  const metrics = new Metrics(service, { processMetrics: true });
  const controller = new AbortController();
  const kit = createKit({
    service,
    signal: controller.signal,
    log,
    metrics,
    injectDelayMs: config.injectDelay as number,
  });
  await using stack = new AsyncDisposableStack();
  const probes = stack.use(
    await serveProbes(
      { host: config.probeHost as string, port: config.probePort as number },
      kit.health,
      metrics,
    ),
  );
  log.info({ probes: probes.address, pid: process.pid }, "started");
  const done = body({
    ...kit,
    config: config as ConfigOf<S>,
    own: (resource) => stack.use(resource as AsyncDisposable) as typeof resource,
  });
  const grace = closeWithGrace({ delay: SHUTDOWN_MS, logger: undefined }, async ({ err, signal }) => {
    if (err !== undefined) log.error({ err }, "uncaught error, stopping");
    log.info({ cause: signal ?? "close" }, "stopping");
    controller.abort(new Error("stopping"));
    await done;
    await stack.disposeAsync();
    log.info("stopped");
  });
  try {
    await done;
  } catch (error) {
    log.error({ err: error }, "failed");
    grace.uninstall();
    await stack.disposeAsync();
    process.exitCode = error instanceof SluiceError ? error.exit : 1;
    return;
  }
  if (!controller.signal.aborted) {
    grace.uninstall();
  }
}
