import { runSettings } from "@sluice/cli";
import { ConfigError } from "@sluice/contracts";
import {
  bool,
  type ConfigOf,
  type ConfigSpec,
  duration,
  integer,
  natsFileSettings,
  natsReplicasSetting,
  readConfig,
  usageOf,
} from "@sluice/service-kit";

const run = runSettings("SLUICE_START");

const startSettings = {
  members: {
    env: "SLUICE_START_MEMBERS",
    flag: "members",
    help: "how many member clusters the sandbox has",
    default: "2",
    read: integer(1, 200),
  },
  stateDir: { ...run.stateDir, help: "folder for kubeconfigs, state and logs" },
  httpPort: run.httpPort,
  httpsPort: run.httpsPort,
  configMap: run.configMap,
  defaultCertificate: run.defaultCertificate,
  authAddresses: run.authAddresses,
  gatewayPort: run.gatewayPort,
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
  without: run.without,
  processes: run.processes,
  inject: run.inject,
  natsUrl: run.natsUrl,
  natsAuth: run.natsAuth,
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
  logLevel: run.logLevel,
  json: run.json,
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
