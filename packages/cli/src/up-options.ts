import { ConfigError } from "@sluice/contracts";
import {
  assignment,
  type ConfigOf,
  type ConfigSpec,
  duration,
  integer,
  natsFileSettings,
  natsReplicasSetting,
  oneOf,
  peersSetting,
  proxyFlagSettings,
  readConfig,
  text,
  usageOf,
} from "@sluice/service-kit";
import { runSettings } from "./run-settings.ts";

/** Services of which several share the work, or stand by. */
const SHARED = ["member-watcher", "aggregator", "config-renderer"] as const;

const run = runSettings("SLUICE_UP");

export const upSettings = {
  hub: { env: "SLUICE_UP_HUB", flag: "hub", help: "kubeconfig of the hub", read: text },
  members: {
    env: "SLUICE_UP_MEMBERS",
    flag: "member",
    help: "NAME=KUBECONFIG of a member; may be repeated",
    many: true,
    read: assignment,
  },
  peers: peersSetting,
  httpPort: run.httpPort,
  httpsPort: run.httpsPort,
  configMap: run.configMap,
  defaultCertificate: run.defaultCertificate,
  authAddresses: run.authAddresses,
  gatewayPort: run.gatewayPort,
  stateDir: run.stateDir,
  ingressClasses: {
    env: "SLUICE_UP_INGRESS_CLASS",
    flag: "ingress-class",
    help: "class of MultiClusterIngress that is served; may be repeated",
    default: "nginx",
    many: true,
    read: text,
  },
  publishAddresses: {
    env: "SLUICE_UP_PUBLISH_ADDRESS",
    flag: "publish-address",
    help: "address for status.loadBalancer; may be repeated",
    default: "127.0.0.1",
    many: true,
    read: text,
  },
  firstByteTimeout: {
    env: "SLUICE_UP_FIRST_BYTE_TIMEOUT",
    flag: "first-byte-timeout",
    help: "how long a GET or HEAD waits for a first byte before another cluster is asked; off by default",
    default: "off",
    read: duration,
  },
  ...proxyFlagSettings("SLUICE_UP"),
  natsUrl: run.natsUrl,
  natsAuth: run.natsAuth,
  natsCa: natsFileSettings.natsCa,
  natsCert: natsFileSettings.natsCert,
  natsKey: natsFileSettings.natsKey,
  natsReplicas: natsReplicasSetting,
  propagator: {
    env: "SLUICE_UP_PROPAGATOR",
    flag: "propagator",
    help: "auto: unless the hub is Karmada's, which has its own; on; off",
    default: "auto",
    read: oneOf("auto", "on", "off"),
  },
  processes: run.processes,
  replicas: {
    env: "SLUICE_UP_REPLICAS",
    flag: "replicas",
    help: `SERVICE=NUMBER: how many of ${SHARED.join(", ")} share the work; may be repeated`,
    many: true,
    read: (value: string) => {
      const [service, count] = assignment(value);
      return [oneOf(...SHARED)(service), integer(1, 16)(count)] as const;
    },
  },
  without: run.without,
  inject: run.inject,
  logLevel: run.logLevel,
  json: run.json,
} satisfies ConfigSpec;

export type UpOptions = ConfigOf<typeof upSettings>;

/** @throws ConfigError */
export function readUpOptions(argv: readonly string[], env: NodeJS.ProcessEnv): UpOptions {
  const options = readConfig(upSettings, argv, env);
  const names = options.members.map(([name]) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new ConfigError(`--member ${twice} is given twice; give each member one name`);
  const stranger = options.peers.find(([name]) => !names.includes(name));
  if (stranger !== undefined) {
    throw new ConfigError(
      `--peers ${stranger[0]}=…: there is no --member ${stranger[0]}; write one of ${names.join(", ")}`,
    );
  }
  if (options.natsUrl === "" && (options.natsAuth !== "" || options.natsReplicas > 1)) {
    throw new ConfigError(
      "--nats-auth and --nats-replicas are for a bus that runs already: name it with --nats-url",
    );
  }
  return options;
}

export function usage(): string {
  return `sluice up --hub KUBECONFIG --member NAME=KUBECONFIG …\n\nRuns Sluice on your clusters until Ctrl-C.\n\n${usageOf(upSettings)}`;
}
