export type { Clock } from "./clock.ts";
export { type ClusterOptions, type FaultChange, type SandboxCluster, startCluster } from "./cluster.ts";
export type { ApiFault, PodFault } from "./http/faults.ts";
export type { Logger } from "./logger.ts";
export { podRangeOf, type Sandbox, type SandboxOptions, startSandbox } from "./sandbox.ts";
export type { ObjectStore, StoreEvent, StoreListener } from "./store/object-store.ts";
export type { WorkloadsOptions } from "./workloads/mod.ts";
