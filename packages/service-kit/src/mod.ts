export { rejectedBy } from "./aborted.ts";
export { Backoff } from "./backoff.ts";
export { Bursts } from "./bursts.ts";
export { type Clock, slept, systemClock } from "./clock.ts";
export {
  assignment,
  bool,
  type ConfigOf,
  type ConfigSpec,
  dnsName,
  duration,
  groupAssignments,
  integer,
  natsFileSettings,
  natsReplicasSetting,
  natsUrlSetting,
  oneOf,
  peersSetting,
  readConfig,
  type Setting,
  text,
  usageOf,
} from "./config.ts";
export { FairQueue } from "./fair-queue.ts";
export { createGuard, type Guard, type GuardOptions } from "./guard.ts";
export { Health } from "./health.ts";
export { createKit, type Kit, type KitOptions } from "./kit.ts";
export { watchLauncher } from "./launcher.ts";
export { LinkedAbort } from "./linked-abort.ts";
export { createLogger, type Logger, silentLogger } from "./logger.ts";
export { Metrics } from "./metrics.ts";
export { NewestByKey } from "./newest-by-key.ts";
export { type ProbeServer, serveProbes } from "./probe-server.ts";
export { type ProxyFlagOptions, proxyFlagSettings } from "./proxy-flags.ts";
export { type Random, systemRandom } from "./random.ts";
export {
  type AnyService,
  defineService,
  type RunningService,
  runService,
  type ServiceContext,
  type ServiceDefinition,
} from "./run-service.ts";
export { TimeLimit } from "./time-limit.ts";
