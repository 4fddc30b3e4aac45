import type { Condition, Pod } from "@sluice/kube";
import { kubeTime, systemClock } from "../clock.ts";
import { keepTransitions } from "./pods.ts";

/** `"false"` on a pod makes it not ready, as a failing readiness probe would; watched as long as the pod lives. */
export const READY_ANNOTATION = "sandbox.sluice.dev/ready";

export type PodState =
  | { readonly kind: "running"; readonly podIp: string }
  | { readonly kind: "waiting"; readonly reason: string; readonly message: string };

function wantsReady(pod: Pod): boolean {
  return pod.metadata.annotations?.[READY_ANNOTATION] !== "false";
}

/** The status that a kubelet would write. */
export function podStatus(pod: Pod, hostIp: string, state: PodState): NonNullable<Pod["status"]> {
  const now = kubeTime(systemClock);
  const startTime = pod.status?.startTime ?? now;
  const running = state.kind === "running";
  const ready = running && wantsReady(pod);
  const why = running
    ? { reason: "ReadinessProbe", message: `the annotation ${READY_ANNOTATION} says "false"` }
    : { reason: "ContainersNotReady", message: state.message };
  const conditions: Condition[] = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map((type) => {
    const holds = ready || type === "PodScheduled" || type === "Initialized";
    return { type, status: holds ? "True" : "False", lastTransitionTime: now, ...(holds ? {} : why) };
  });
  return {
    phase: running ? "Running" : "Pending",
    hostIP: hostIp,
    startTime,
    ...(running ? { podIP: state.podIp, podIPs: [{ ip: state.podIp }] } : {}),
    conditions: keepTransitions(pod.status?.conditions, conditions),
    containerStatuses: (pod.spec?.containers ?? []).map(({ name, image = "" }) => ({
      name,
      image,
      imageID: running ? `sandbox://${image}` : "",
      ready,
      restartCount: 0,
      ...(running ? { started: true } : {}),
      state: running
        ? { running: { startedAt: startTime } }
        : { waiting: { reason: state.reason, message: state.message } },
    })),
  };
}
