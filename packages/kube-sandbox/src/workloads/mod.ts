import { connectCluster, type KubeClient, resources } from "@sluice/kube";
import { systemClock } from "@sluice/service-kit";
import type { SandboxCluster } from "../cluster.ts";
import type { PodFault } from "../http/faults.ts";
import type { Logger } from "../logger.ts";
import { runDeployments } from "./deployments.ts";
import { runEndpointSlices } from "./endpoint-slices.ts";
import type { WorkloadsKit } from "./kit.ts";
import { Mirror } from "./mirror.ts";
import { runNode } from "./node.ts";
import { runReplicaSets } from "./replica-sets.ts";

export interface WorkloadsOptions {
  cluster: Pick<SandboxCluster, "name" | "kubeconfig" | "onPodFault">;
  signal: AbortSignal;
  log: Logger;
  /** Loopback addresses of this cluster's pods, as a CIDR. */
  podRange: string;
}

/** The controllers and the node of one cluster, until `close` or the signal. Resolves once the node is registered. */
export async function startWorkloads(options: WorkloadsOptions): Promise<{ close(): Promise<void> }> {
  const { cluster, log, podRange } = options;
  const stopping = new AbortController();
  const kit: WorkloadsKit = {
    log,
    clock: systemClock,
    signal: AbortSignal.any([options.signal, stopping.signal]),
  };
  const client = await connectCluster({ name: cluster.name, kubeconfig: cluster.kubeconfig(), log });
  const done = runWorkloads({
    client,
    podRange,
    kit,
    onPodFault: (listener) => cluster.onPodFault(listener),
  }).catch((err: unknown) => {
    if (!kit.signal.aborted) log.error({ err }, "workloads ended");
  });
  return {
    async close() {
      stopping.abort();
      await done;
      client.close();
    },
  };
}

export interface RunWorkloadsOptions {
  readonly client: KubeClient;
  readonly podRange: string;
  readonly kit: WorkloadsKit;
  onPodFault?(listener: (fault: PodFault) => void): () => void;
}

/** Deployments, ReplicaSets, EndpointSlices and a node, against any API server, until kit.signal aborts. */
async function runWorkloads(options: RunWorkloadsOptions): Promise<void> {
  const { client, kit, podRange, onPodFault } = options;
  const mirrors = {
    deployments: new Mirror(client, resources.deployment, kit),
    replicaSets: new Mirror(client, resources.replicaSet, kit),
    pods: new Mirror(client, resources.pod, kit),
    services: new Mirror(client, resources.service, kit),
    slices: new Mirror(client, resources.endpointSlice, kit),
  };
  const { deployments, replicaSets, pods, services, slices } = mirrors;
  // Before all is known, what is missing here would look as if it were to be made.
  await Promise.all(Object.values(mirrors).map((mirror) => mirror.listed));
  if (!kit.signal.aborted) {
    await Promise.all([
      runDeployments(client, deployments, replicaSets, kit),
      runReplicaSets(client, replicaSets, pods, kit),
      runEndpointSlices(client, services, pods, slices, kit),
      runNode({
        client,
        name: `${client.name}-node`,
        podRange,
        pods,
        kit,
        ...(onPodFault === undefined ? {} : { onPodFault }),
      }),
    ]);
  }
  await Promise.all(Object.values(mirrors).map((mirror) => mirror.done));
}
