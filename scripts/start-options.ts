import { ConfigError } from "@sluice/contracts";
import {
  assignment,
  bool,
  type ConfigOf,
  type ConfigSpec,
  duration,
  integer,
  natsFileSettings,
  natsReplicasSetting,
  oneOf,
  readConfig,
  text,
  usageOf,
} from "@sluice/service-kit";

/** What can be left out, to see that its absence is found out and named. */
export const STAGES = [
  "member-watcher",
  "aggregator",
  "config-renderer",
  "proxy-agent",
  "propagator",
  "topology-gateway",
  "nats",
  "nginx",
] as const;
export type Stage = (typeof STAGES)[number];

const startSettings = {
  members: {
    env: "SLUICE_START_MEMBERS",
    flag: "members",
    help: "how many member clusters the sandbox has",
    default: "2",
    read: integer(1, 200),
  },
  stateDir: {
    env: "SLUICE_START_STATE_DIR",
    flag: "state-dir",
    help: "folder for kubeconfigs, state and logs",
    default: ".sluice",
    read: text,
  },
  httpPort: {
    env: "SLUICE_START_HTTP_PORT",
    flag: "http-port",
    help: "port of the proxy on 127.0.0.1",
    default: "31590",
    read: integer(1, 65535),
  },
  gatewayPort: {
    env: "SLUICE_START_GATEWAY_PORT",
    flag: "gateway-port",
    help: "port of the topology-gateway on 127.0.0.1",
    default: "31580",
    read: integer(1, 65535),
  },
  empty: {
    env: "SLUICE_START_EMPTY",
    flag: "empty",
    help: "without the example",
    default: "false",
    boolean: true,
    read: bool,
  },
  once: {
    env: "SLUICE_START_ONCE",
    flag: "once",
    help: "run the failover story by itself and exit",
    default: "false",
    boolean: true,
    read: bool,
  },
  without: {
    env: "SLUICE_START_WITHOUT",
    flag: "without",
    help: `leave a part out: ${STAGES.join(", ")}; may be repeated`,
    many: true,
    read: oneOf(...STAGES),
  },
  processes: {
    env: "SLUICE_START_PROCESSES",
    flag: "processes",
    help: "one process a service",
    default: "false",
    boolean: true,
    read: bool,
  },
  inject: {
    env: "SLUICE_START_INJECT",
    flag: "inject",
    help: "SERVICE=DURATION: how long that service waits before it publishes a change; for benchmarks",
    many: true,
    read: (value: string) => {
      const [service, time] = assignment(value);
      oneOf(...STAGES)(service);
      duration(time);
      return value;
    },
  },
  natsUrl: {
    env: "SLUICE_START_NATS_URL",
    flag: "nats-url",
    help: "a bus that runs already; by default one is started",
    default: "",
    read: text,
  },
  natsAuth: {
    env: "SLUICE_START_NATS_AUTH",
    flag: "nats-auth",
    help: "folder that sluice nats auth wrote for that bus",
    default: "",
    read: text,
  },
  natsCa: natsFileSettings.natsCa,
  natsReplicas: natsReplicasSetting,
  firstByteTimeout: {
    env: "SLUICE_START_FIRST_BYTE_TIMEOUT",
    flag: "first-byte-timeout",
    help: "how long a GET or HEAD waits for a first byte before another cluster is asked",
    default: "2s",
    read: (value: string) => {
      duration(value);
      return value;
    },
  },
  logLevel: {
    env: "SLUICE_LOG_LEVEL",
    flag: "log-level",
    help: "level of the logs in STATE-DIR/logs",
    default: "info",
    read: oneOf("trace", "debug", "info", "warn", "error"),
  },
  json: {
    env: "SLUICE_START_JSON",
    flag: "json",
    help: "one line of JSON on stdout when ready, with every address",
    default: "false",
    boolean: true,
    read: bool,
  },
} satisfies ConfigSpec;

export type StartOptions = ConfigOf<typeof startSettings>;

/** @throws ConfigError */
export function readStartOptions(argv: readonly string[], env: NodeJS.ProcessEnv): StartOptions {
  const options = readConfig(startSettings, argv, env);
  if (options.httpPort === options.gatewayPort) {
    throw new ConfigError(`--http-port and --gateway-port are both ${options.httpPort}; give them two`);
  }
  if (options.once && options.empty) throw new ConfigError("--once needs the example; leave --empty out");
  return options;
}

export function startUsage(): string {
  return `npm start -- [flags]\n\nA hub and member clusters in a sandbox, and Sluice on them.\n\n${usageOf(startSettings)}`;
}
