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
  peersSetting,
  readConfig,
  text,
  usageOf,
} from "@sluice/service-kit";

/** Everything that `up` starts; each can be left out with `--without`. */
export const PARTS = [
  "nats",
  "nginx",
  "member-watcher",
  "aggregator",
  "config-renderer",
  "proxy-agent",
  "topology-gateway",
  "propagator",
] as const;
export type PartName = (typeof PARTS)[number];

/** Services of which several share the work, or stand by. */
const SHARED = ["member-watcher", "aggregator", "config-renderer"] as const;

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
  httpPort: {
    env: "SLUICE_UP_HTTP_PORT",
    flag: "http-port",
    help: "port of the proxy on 127.0.0.1",
    default: "31590",
    read: integer(1, 65535),
  },
  gatewayPort: {
    env: "SLUICE_UP_GATEWAY_PORT",
    flag: "gateway-port",
    help: "port of the topology-gateway on 127.0.0.1",
    default: "31580",
    read: integer(1, 65535),
  },
  stateDir: {
    env: "SLUICE_UP_STATE_DIR",
    flag: "state-dir",
    help: "folder for state, logs and sockets",
    default: ".sluice",
    read: text,
  },
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
  natsUrl: {
    env: "SLUICE_UP_NATS_URL",
    flag: "nats-url",
    help: "a bus that runs already, e.g. nats://a:4222,nats://b:4222; by default one is started",
    default: "",
    read: text,
  },
  natsAuth: {
    env: "SLUICE_UP_NATS_AUTH",
    flag: "nats-auth",
    help: "folder that sluice nats auth wrote for that bus; without it no credential is given",
    default: "",
    read: text,
  },
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
  processes: {
    env: "SLUICE_UP_PROCESSES",
    flag: "processes",
    help: "one process a service; one that ends stays down until SIGUSR2",
    default: "false",
    boolean: true,
    read: bool,
  },
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
  without: {
    env: "SLUICE_UP_WITHOUT",
    flag: "without",
    help: `leave a part out: ${PARTS.join(", ")}; may be repeated`,
    many: true,
    read: oneOf(...PARTS),
  },
  inject: {
    env: "SLUICE_UP_INJECT",
    flag: "inject",
    help: "SERVICE=DURATION: how long that service waits before it publishes a change; for benchmarks",
    many: true,
    read: (value: string) => {
      const [service, time] = assignment(value);
      duration(time);
      return [oneOf(...PARTS)(service), time] as const;
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
    env: "SLUICE_UP_JSON",
    flag: "json",
    help: "one line of JSON on stdout when ready, with every address",
    default: "false",
    boolean: true,
    read: bool,
  },
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
