import type { SandboxCluster } from "../cluster.ts";
import type { Logger } from "../logger.ts";

export interface WorkloadsOptions {
  cluster: SandboxCluster;
  signal: AbortSignal;
  log: Logger;
  /** Loopback addresses of this cluster's pods, as a CIDR. */
  podRange: string;
}

/** The controllers and the node of one cluster. undefined until there are any. */
export const startWorkloads:
  | ((options: WorkloadsOptions) => Promise<{ close(): Promise<void> }>)
  | undefined = undefined;
