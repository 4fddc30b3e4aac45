import { assignment, bool, type ConfigSpec, duration, integer, oneOf, text } from "@sluice/service-kit";
import { readHttpsPort } from "./https-port.ts";

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
/** The proxy's where nothing is said. */
export const HTTP_PORT = 31590;
export type PartName = (typeof PARTS)[number];

/**
 * Settings of `sluice up` that a command which starts it has too, and hands on to it.
 * @param command what its variables begin with
 */
export function runSettings(command: "SLUICE_UP" | "SLUICE_START") {
  return {
    httpPort: {
      env: `${command}_HTTP_PORT`,
      flag: "http-port",
      help: "port of the proxy on 127.0.0.1",
      default: String(HTTP_PORT),
      read: integer(1, 65535),
    },
    httpsPort: {
      env: `${command}_HTTPS_PORT`,
      flag: "https-port",
      help: "port of the proxy for TLS on 127.0.0.1; auto: 31591, or a free one; off: none",
      default: "auto",
      read: readHttpsPort,
    },
    gatewayPort: {
      env: `${command}_GATEWAY_PORT`,
      flag: "gateway-port",
      help: "port of the topology-gateway on 127.0.0.1",
      default: "31580",
      read: integer(1, 65535),
    },
    stateDir: {
      env: `${command}_STATE_DIR`,
      flag: "state-dir",
      help: "folder for state, logs and sockets",
      default: ".sluice",
      read: text,
    },
    natsUrl: {
      env: `${command}_NATS_URL`,
      flag: "nats-url",
      help: "a bus that runs already, e.g. nats://a:4222,nats://b:4222; by default one is started",
      default: "",
      read: text,
    },
    natsAuth: {
      env: `${command}_NATS_AUTH`,
      flag: "nats-auth",
      help: "folder that sluice nats auth wrote for that bus; without it no credential is given",
      default: "",
      read: text,
    },
    processes: {
      env: `${command}_PROCESSES`,
      flag: "processes",
      help: "one process a service; one that ends stays down until SIGUSR2",
      default: "false",
      boolean: true,
      read: bool,
    },
    without: {
      env: `${command}_WITHOUT`,
      flag: "without",
      help: `leave a part out: ${PARTS.join(", ")}; may be repeated`,
      many: true,
      read: oneOf(...PARTS),
    },
    inject: {
      env: `${command}_INJECT`,
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
    defaultCertificate: {
      env: `${command}_DEFAULT_SSL_CERTIFICATE`,
      flag: "default-ssl-certificate",
      help: "NAMESPACE/NAME of a Secret in the hub, whose certificate is shown where no other is to be",
      default: "",
      read: text,
    },
    configMap: {
      env: `${command}_CONFIGMAP`,
      flag: "configmap",
      help: "NAMESPACE/NAME of a ConfigMap in the hub with ingress-nginx's options, for all objects",
      default: "",
      read: text,
    },
    authAddresses: {
      env: `${command}_AUTH_ADDRESSES`,
      flag: "auth-address",
      help: "a loopback range of /16 or longer in which a service may be that is asked of requests (auth-url); may be repeated",
      many: true,
      read: text,
    },
    json: {
      env: `${command}_JSON`,
      flag: "json",
      help: "one line of JSON on stdout when ready, with every address",
      default: "false",
      boolean: true,
      read: bool,
    },
  } satisfies ConfigSpec;
}
