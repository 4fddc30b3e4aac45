import { defineError } from "./sluice-error.ts";

// One declaration a failure. docs/reference/errors.md is held equal to this file by errors.test.ts
// (`UPDATE_DOCS=1 node --test packages/contracts/src/errors.test.ts` writes it anew).

// --- configuration and command line -------------------------------------------------------------------------------
export class ConfigError extends defineError("SLUICE_CONFIG", {
  exit: 64,
  when: "A flag or a variable is missing, unknown or ill-typed.",
  solve: "Write what the message says; `--help` lists every flag with its variable.",
}) {}

// --- sluice up ------------------------------------------------------------------------------------------------------
export class PortTakenError extends defineError("SLUICE_UP_PORT_TAKEN", {
  exit: 69,
  when: "An address that Sluice must listen on is in use.",
  solve:
    "End the process that holds it, or choose another with `--http-port`, `--https-port` or `--gateway-port`.",
}) {}
export class AlreadyRunningError extends defineError("SLUICE_UP_ALREADY_RUNNING", {
  exit: 69,
  when: "Another Sluice holds the lock of this state folder.",
  solve: "End it (its pid is in the message), or give this one a `--state-dir` of its own.",
}) {}
export class ToolMissingError extends defineError("SLUICE_TOOL_MISSING", {
  exit: 69,
  when: "nginx with its Lua module, nats-server or kubectl is neither installed nor to be fetched.",
  solve: "Run the install command that the message names.",
}) {}
export class StartTimeoutError extends defineError("SLUICE_UP_START_TIMEOUT", {
  exit: 1,
  when: "A part did not become ready in time.",
  solve: "Read the log that the message names; the part and what it waits for are in it.",
}) {}
export class ChildExitedError extends defineError("SLUICE_UP_CHILD_EXITED", {
  exit: 1,
  when: "nginx, nats-server or the sandbox ended while it was still needed.",
  solve: "Read the log that the message names.",
}) {}

// --- bus -------------------------------------------------------------------------------------------------------------
export class BusUnreachableError extends defineError("SLUICE_BUS_UNREACHABLE", {
  exit: 69,
  when: "No NATS server answers at the given address.",
  solve: "Start nats-server with JetStream, or correct `SLUICE_NATS_URL`.",
}) {}
export class BusAssetError extends defineError("SLUICE_BUS_ASSET_DIFFERS", {
  exit: 65,
  when: "A bucket on the bus is configured otherwise than Sluice needs it.",
  solve: "Undo the change that the message shows, or delete the bucket: it comes back from the APIs.",
}) {}
export class BusServerError extends defineError("SLUICE_BUS_SERVER", {
  exit: 69,
  when: "The NATS server lacks something that Sluice needs: JetStream, a version, a cluster for replicas, TLS.",
  solve: "Change the server as the message says, or name another in `SLUICE_NATS_URL`.",
}) {}
export class BusForbiddenError extends defineError("SLUICE_BUS_FORBIDDEN", {
  exit: 77,
  when: "The bus does not know the credential of this process, or the process has none that it could read.",
  solve:
    "Give it the file that `sluice nats auth` wrote for it (`--nats-nkey`), and the bus the block of that call.",
}) {}
export class BadRecordError extends defineError("SLUICE_BUS_BAD_RECORD", {
  exit: 65,
  when: "A record on the bus does not match its schema; it is counted and left out.",
  solve:
    "Find the writer by the subject in the message; a writer of another version must be upgraded or stopped.",
}) {
  /** Bounded, for a metric's label. */
  readonly reason: "bad_record" | "unknown_version";

  constructor(
    message: string,
    options?: ErrorOptions & { readonly reason?: "bad_record" | "unknown_version" },
  ) {
    super(message, options);
    this.reason = options?.reason ?? "bad_record";
  }
}
export class RecordTooLargeError extends defineError("SLUICE_BUS_RECORD_TOO_LARGE", {
  exit: 65,
  when: "One record is larger than the bus's max_payload; it is refused by name, never truncated.",
  solve: "Raise max_payload on nats-server, or split the object that the message names.",
}) {}
export class StepDownError extends defineError("SLUICE_BUS_STEP_DOWN", {
  exit: 1,
  when: "A newer claim owns the part that this process wrote.",
  solve: "Nothing: the newer holder writes on, and this process waits its turn.",
}) {}

// --- log -------------------------------------------------------------------------------------------------------------
export class LogOutOfReachError extends defineError("SLUICE_LOG_OUT_OF_REACH", {
  exit: 65,
  when: "A time or a sequence is asked for that the log does not reach: too old, or not there yet.",
  solve:
    "Ask for a moment between the two that the message names; keep more with `--log-max-age` and `--log-max-bytes`.",
}) {}
export class GatewayBusyError extends defineError("SLUICE_GATEWAY_BUSY", {
  exit: 69,
  when: "The topology-gateway tells the past to as many callers at once as it can.",
  solve: "Ask again in some seconds.",
}) {}
export class MomentError extends defineError("SLUICE_MOMENT", {
  exit: 64,
  when: "A moment is written in a way that cannot be read.",
  solve:
    "Write an RFC 3339 time (`2026-03-01T12:00:00Z`), how long ago (`2h`, `15m`), or a sequence of the log (`#1234`).",
}) {}
export class ReplayTargetError extends defineError("SLUICE_REPLAY_TARGET", {
  exit: 65,
  when: "The bus to replay into is the recorded one, has live watchers, or is not empty.",
  solve: "Give `--into` a bus of its own: a nats-server with an empty store, without member-watchers.",
}) {}
export class ReplayIntervalError extends defineError("SLUICE_REPLAY_INTERVAL", {
  exit: 65,
  when: "A bucket was emptied or restored within the interval to be replayed.",
  solve: "Replay the time before or after the sequence that the message names.",
}) {}

// --- secrets ---------------------------------------------------------------------------------------------------------
export class FleetKeyError extends defineError("SLUICE_FLEET_KEY", {
  exit: 65,
  when: "A file that should hold half of a fleet's key holds something else, or cannot be read.",
  solve:
    "Write a pair with `sluice fleet-key`; give the renderer the public file and each proxy-agent the private one.",
}) {}
export class SealedError extends defineError("SLUICE_SEALED", {
  exit: 65,
  when: "A proxy cannot open a certificate's key, or users, that the fleet's table holds; what it has serves on.",
  solve: "Give the proxy-agent the private half of the key that the message names, with `--fleet-key`.",
}) {}

// --- Kubernetes APIs ------------------------------------------------------------------------------------------------
export class KubeconfigError extends defineError("SLUICE_KUBECONFIG", {
  exit: 65,
  when: "A kubeconfig cannot be read or names no cluster.",
  solve: "Correct the file that the message names.",
}) {}
export class KubeUnreachableError extends defineError("SLUICE_KUBE_UNREACHABLE", {
  exit: 69,
  when: "A Kubernetes API does not answer.",
  solve: "Check the address in the kubeconfig and that the API server runs.",
}) {}
export class KubeStatusError extends defineError("SLUICE_KUBE_STATUS", {
  exit: 1,
  when: "A Kubernetes API refused a request.",
  solve: "The message carries the API's own reason.",
}) {
  /** HTTP status, e.g. 409. */
  readonly status: number;
  /** metav1.Status.reason, e.g. `AlreadyExists`; empty when the server sent none. */
  readonly reason: string;

  constructor(
    message: string,
    options?: ErrorOptions & { readonly status?: number; readonly reason?: string },
  ) {
    super(message, options);
    this.status = options?.status ?? 500;
    this.reason = options?.reason ?? "";
  }
}

// --- gateway ---------------------------------------------------------------------------------------------------------
export class GatewayUnreachableError extends defineError("SLUICE_GATEWAY_UNREACHABLE", {
  exit: 69,
  when: "The topology-gateway does not answer.",
  solve: "Start Sluice, or name its gateway with `--gateway` or `SLUICE_GATEWAY`.",
}) {}
export class LastClusterError extends defineError("SLUICE_LAST_CLUSTER", {
  exit: 2,
  when: "An order would take away the last cluster that serves one or more imports.",
  solve: "Bring up another cluster for what the message names, or add `--force` if it may answer 503.",
}) {}
export class OrderRefusedError extends defineError("SLUICE_ORDER_REFUSED", {
  exit: 65,
  when: "An order names a cluster that nobody has heard of, or nothing that it could be about.",
  solve: "Write the name as `sluice status` shows it; the message says what is missing.",
}) {}
export class OrderPendingError extends defineError("SLUICE_ORDER_PENDING", {
  exit: 69,
  when: "The bus did not confirm in time that an order stands, or is taken back.",
  solve: "It may have been stored or not: look at `sluice status`, and give it again.",
}) {}
export class OrderOvertakenError extends defineError("SLUICE_ORDER_OVERTAKEN", {
  exit: 1,
  when: "Somebody else ordered the opposite while an order was on its way; his stands.",
  solve:
    "Agree with whom the message names, look at `sluice status`, and give it again if it is still wanted.",
}) {}

// --- tests and benchmarks --------------------------------------------------------------------------------------------
export class NamespaceError extends defineError("SLUICE_NETWORK_NAMESPACE", {
  exit: 77,
  when: "`test:netns` or the benchmark `blackhole` cannot make network namespaces.",
  solve: "Run it as root on Linux with iproute2 and util-linux installed; the message says what is missing.",
}) {}
