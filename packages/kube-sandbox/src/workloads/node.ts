import { KubeStatusError } from "@sluice/contracts";
import {
  type KubeClient,
  type Node,
  objectKey,
  type Pod,
  Reconciler,
  recordEvent,
  resourcePath,
  resources,
} from "@sluice/kube";
import { Backoff, slept } from "@sluice/service-kit";
import { kubeTime, systemClock } from "../clock.ts";
import type { PodFault } from "../http/faults.ts";
import { AddressPool } from "./address-pool.ts";
import { type ImageHandler, imageHandler, KNOWN_IMAGES } from "./images.ts";
import type { WorkloadsKit } from "./kit.ts";
import type { Mirror } from "./mirror.ts";
import { canonical } from "./names.ts";
import { PodServer } from "./pod-server.ts";
import { type PodState, podStatus } from "./pod-status.ts";
import { hasEnded } from "./pods.ts";

export interface NodeOptions {
  readonly client: KubeClient;
  /** The Node object's name. */
  readonly name: string;
  /** Loopback addresses for this node's pods, as a CIDR. */
  readonly podRange: string;
  readonly pods: Mirror<Pod>;
  readonly kit: WorkloadsKit;
  /** Calls back with the present fault and each change; absent: pods are never broken on purpose. */
  onPodFault?(listener: (fault: PodFault) => void): () => void;
}

interface RunningPod {
  readonly uid: string;
  readonly server: PodServer;
  /** When its deletion was first seen, on the monotonic clock. Timestamps of the API are whole seconds. */
  endingSince?: number;
}

/** A pod on its way out ends once nobody has asked it anything for so long, at the latest when its grace is over. */
const QUIET_MS = 1000;
/** Addresses tried when somebody else on this machine listens there. */
const ADDRESS_TRIES = 64;
const DEFAULT_PORT = 8080;
const COMPONENT = "sandbox-node";

/**
 * Scheduler and kubelet of a cluster with one node: binds pending pods and runs each as HTTP servers on a loopback
 * address of its own. A client of the API like any other, so that it serves real API servers too.
 */
export async function runNode(options: NodeOptions): Promise<void> {
  const { client, name: nodeName, pods, kit } = options;
  const pool = new AddressPool(options.podRange);
  const running = new Map<string, RunningPod>();
  let fault: PodFault = "none";
  /** Older and smaller API servers have no binding subresource. */
  let binds = true;

  const reconciler = new Reconciler({
    name: "pod",
    kit,
    workers: 32,
    backoff: [50, 2000],
    async reconcile(key, signal) {
      const [namespace = "", name = ""] = key.split("/");
      let pod = pods.get(namespace, name);
      const known = running.get(key);
      if (known !== undefined && known.uid !== pod?.metadata.uid) await stop(key, known);
      if (pod === undefined || hasEnded(pod)) return;
      const bound = pod.spec?.nodeName ?? "";
      if (bound === "") {
        if (pod.metadata.deletionTimestamp !== undefined) return;
        const answer = await bind(pod, signal);
        if (answer === null) return;
        pod = answer;
      } else if (bound !== nodeName) return;
      if (pod.metadata.deletionTimestamp !== undefined) await finish(key, pod, signal);
      else await keepRunning(key, pod, signal);
    },
  });

  /** The bound pod when the API says it at once; else the watch will. */
  async function bind(pod: Pod, signal: AbortSignal): Promise<Pod | null> {
    const { namespace = "", name, uid } = pod.metadata;
    if (binds) {
      const answer = await client.request(
        {
          method: "POST",
          path: resourcePath(resources.pod, namespace, name, "binding"),
          body: {
            apiVersion: "v1",
            kind: "Binding",
            metadata: { name, namespace, uid },
            target: { apiVersion: "v1", kind: "Node", name: nodeName },
          },
        },
        signal,
      );
      if (answer.status < 300 || answer.status === 409) return null;
      if (answer.status !== 404 && answer.status !== 405) {
        throw new KubeStatusError(`pod ${namespace}/${name}: binding: ${answer.body.slice(0, 200)}`, {
          status: answer.status,
        });
      }
    }
    try {
      const patch = { metadata: { uid }, spec: { nodeName } };
      const patched = await client.mergePatch(resources.pod, { namespace, name }, patch, {}, signal);
      binds = false;
      return patched;
    } catch (error) {
      if (error instanceof KubeStatusError && error.status === 404) return null;
      throw error;
    }
  }

  async function keepRunning(key: string, pod: Pod, signal: AbortSignal): Promise<void> {
    let known = running.get(key);
    let state: PodState;
    if (known === undefined) {
      const started = await start(pod);
      if ("kind" in started) state = started;
      else {
        known = started;
        running.set(key, known);
        state = { kind: "running", podIp: known.server.address };
      }
    } else state = { kind: "running", podIp: known.server.address };
    await report(pod, state, signal);
  }

  /** The pod's servers, or why there are none. */
  async function start(pod: Pod): Promise<RunningPod | Extract<PodState, { kind: "waiting" }>> {
    const ports = new Map<number, ImageHandler>();
    for (const { image = "", ports: declared = [] } of pod.spec?.containers ?? []) {
      const handler = imageHandler(image, pod.metadata.name);
      if (handler === null) {
        const message = `the sandbox pulls no images and has none called ${image}; it knows ${KNOWN_IMAGES}`;
        return { kind: "waiting", reason: "ImageNotKnown", message };
      }
      const numbers = declared.length === 0 ? [DEFAULT_PORT] : declared.map((port) => port.containerPort);
      for (const port of numbers) ports.set(port, handler);
    }
    let address = pod.status?.podIP ?? "";
    if (address === "" || !pool.claim(address)) address = pool.take();
    for (let tried = 1; ; tried += 1) {
      const server = new PodServer(address, ports);
      try {
        await server.listen();
        const started = { uid: pod.metadata.uid ?? "", server };
        await setFault(started, fault);
        return started;
      } catch (error) {
        pool.release(address);
        const { code, message } = error as NodeJS.ErrnoException;
        if (code !== "EADDRINUSE" || tried === ADDRESS_TRIES) {
          return { kind: "waiting", reason: "CannotListen", message };
        }
        address = pool.take();
      }
    }
  }

  async function report(pod: Pod, state: PodState, signal: AbortSignal): Promise<void> {
    const status = podStatus(pod, pool.node, state);
    const same = Object.entries(status).every(
      ([key, value]) => canonical(value) === canonical((pod.status as Record<string, unknown>)?.[key]),
    );
    if (same) return;
    const { namespace, name } = pod.metadata;
    await client.mergePatch(
      resources.pod,
      { namespace, name },
      { status },
      { subresource: "status" },
      signal,
    );
    if (state.kind === "waiting") {
      const { reason, message } = state;
      await recordEvent(
        client,
        { regarding: pod, type: "Warning", reason, message, component: COMPONENT },
        signal,
      );
    }
  }

  /** Serves on until nobody asks any more, then lets the pod go. */
  async function finish(key: string, pod: Pod, signal: AbortSignal): Promise<void> {
    const known = running.get(key);
    const { namespace, name, uid = "", deletionTimestamp = "" } = pod.metadata;
    if (known !== undefined) {
      const graceMs = Date.parse(deletionTimestamp) - Date.now();
      known.endingSince ??= kit.clock.monotonic();
      known.server.drain();
      const quietMs = Math.min(known.server.quietMs, kit.clock.monotonic() - known.endingSince);
      const leftMs = QUIET_MS - quietMs;
      if (graceMs > 0 && leftMs > 0) {
        reconciler.addAfter(key, Math.max(1, Math.min(graceMs, leftMs)));
        return;
      }
      await stop(key, known);
    }
    await client.delete(
      resources.pod,
      { namespace, name },
      { gracePeriodSeconds: 0, preconditions: { uid } },
      signal,
    );
  }

  async function stop(key: string, known: RunningPod): Promise<void> {
    running.delete(key);
    await known.server.close();
    pool.release(known.server.address);
  }

  async function setFault(pod: RunningPod, to: PodFault): Promise<void> {
    await pod.server.setFault(to).catch((err: unknown) => {
      kit.log.warn({ err, address: pod.server.address, fault: to }, "pod fault did not take effect");
    });
  }

  const stopFaults = options.onPodFault?.((to) => {
    fault = to;
    for (const pod of running.values()) void setFault(pod, to);
  });
  try {
    const registered = register(client, nodeName, pool.node, options.podRange, kit);
    pods.onChange((change) => reconciler.add(change.key));
    for (const pod of pods.all()) reconciler.add(objectKey(pod));
    await Promise.all([registered, reconciler.run()]);
  } finally {
    stopFaults?.();
    await Promise.all([...running.values()].map((pod) => pod.server.close()));
  }
}

/** Makes the Node object, or brings an older one of this name up to date. */
async function register(
  client: KubeClient,
  name: string,
  address: string,
  podRange: string,
  kit: WorkloadsKit,
): Promise<void> {
  const now = kubeTime(systemClock);
  const node: Node = {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name,
      labels: {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "sandbox.sluice.dev/node": "true",
      },
    },
    spec: { podCIDR: podRange, podCIDRs: [podRange] },
  };
  const status = {
    addresses: [
      { type: "InternalIP", address },
      { type: "Hostname", address: name },
    ],
    capacity: { pods: "1000" },
    allocatable: { pods: "1000" },
    conditions: [
      {
        type: "Ready",
        status: "True",
        reason: "KubeletReady",
        message: "the sandbox's node runs pods",
        lastHeartbeatTime: now,
        lastTransitionTime: now,
      },
    ],
    nodeInfo: { kubeletVersion: "v0.0.0-sandbox", operatingSystem: "linux" },
  };
  const backoff = new Backoff(100, 5000);
  for (;;) {
    try {
      await client.create(resources.node, node, kit.signal).catch((error: unknown) => {
        if (!(error instanceof KubeStatusError && error.reason === "AlreadyExists")) throw error;
      });
      await client.mergePatch(resources.node, { name }, { status }, { subresource: "status" }, kit.signal);
      return;
    } catch (err) {
      if (kit.signal.aborted) return;
      kit.log.warn({ err, node: name }, "the node could not be registered, trying again");
      if (!(await slept(kit.clock, backoff.next(), kit.signal))) return;
    }
  }
}
