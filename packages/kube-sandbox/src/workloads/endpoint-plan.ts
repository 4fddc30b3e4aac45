import type { Endpoint, EndpointPort, EndpointSlice, Pod, Service } from "@sluice/kube";
import { canonical, generatedName } from "./names.ts";
import { hasEnded, isReady, ownedBy } from "./pods.ts";

export const MANAGED_BY = "endpointslice.kubernetes.io/managed-by";
export const CONTROLLER = "endpointslice-controller.k8s.io";
export const SERVICE_NAME = "kubernetes.io/service-name";
const HEADLESS = "service.kubernetes.io/headless";
/** --max-endpoints-per-slice of kube-controller-manager. */
const MAX_ENDPOINTS = 100;

export interface SlicePlan {
  readonly create: readonly EndpointSlice[];
  readonly update: readonly EndpointSlice[];
  readonly remove: readonly EndpointSlice[];
}

/**
 * What has to be written so that a Service's slices name its pods: slices are changed in place, as few of them as
 * possible, and a Service without pods keeps one empty slice, as Kubernetes does it.
 */
export function planSlices(
  service: Service,
  pods: readonly Pod[],
  existing: readonly EndpointSlice[],
): SlicePlan {
  const groups = new Map<string, { ports: readonly EndpointPort[]; endpoints: Map<string, Endpoint> }>();
  for (const pod of pods) {
    if (hasEnded(pod) || pod.status?.podIP === undefined || pod.status.podIP === "") continue;
    const ports = portsOf(service, pod);
    const key = canonical(ports);
    let group = groups.get(key);
    if (group === undefined) {
      group = { ports, endpoints: new Map() };
      groups.set(key, group);
    }
    group.endpoints.set(pod.metadata.uid ?? pod.metadata.name, endpointOf(service, pod));
  }
  const labels = labelsOf(service);
  const create: EndpointSlice[] = [];
  const update: EndpointSlice[] = [];
  const unused: EndpointSlice[] = [];
  const kept = new Map<string, EndpointSlice[]>();
  for (const slice of existing) {
    const key = canonical(slice.ports ?? []);
    if (!groups.has(key)) unused.push(slice);
    else kept.set(key, [...(kept.get(key) ?? []), slice]);
  }
  let wanted = 0;
  for (const [key, { ports, endpoints }] of groups) {
    const plan = fillSlices(kept.get(key) ?? [], endpoints, labels);
    update.push(...plan.update);
    unused.push(...plan.unused);
    wanted += (kept.get(key)?.length ?? 0) - plan.unused.length + plan.rest.length;
    for (const part of plan.rest) create.push(newSlice(service, labels, ports, part));
  }
  if (wanted === 0) {
    const empty = unused.findIndex((slice) => isEmpty(slice) && hasLabels(slice, labels));
    if (empty === -1) create.push(newSlice(service, labels, [], []));
    else unused.splice(empty, 1);
  }
  // A slice to delete and one to create are one to change: watchers see one event.
  while (create.length > 0 && unused.length > 0) {
    const made = create.pop()!;
    const slice = unused.pop()!;
    update.push({
      ...slice,
      metadata: { ...slice.metadata, labels },
      ports: made.ports ?? [],
      endpoints: made.endpoints ?? [],
    });
  }
  return { create, update, remove: unused };
}

function fillSlices(
  slices: readonly EndpointSlice[],
  wanted: ReadonlyMap<string, Endpoint>,
  labels: Readonly<Record<string, string>>,
) {
  const rest = new Map(wanted);
  const drafts = slices.map((slice) => {
    let changed = !hasLabels(slice, labels);
    const endpoints: Endpoint[] = [];
    for (const endpoint of slice.endpoints ?? []) {
      const uid = endpoint.targetRef?.uid ?? "";
      const next = rest.get(uid);
      if (next === undefined) changed = true;
      else {
        rest.delete(uid);
        endpoints.push(next);
        changed ||= canonical(next) !== canonical(endpoint);
      }
    }
    return { slice, endpoints, changed };
  });
  // Those that are written anyway take the new endpoints first.
  for (const draft of drafts.toSorted((a, b) => Number(b.changed) - Number(a.changed))) {
    for (const [uid, endpoint] of rest) {
      if (draft.endpoints.length >= MAX_ENDPOINTS) break;
      draft.endpoints.push(endpoint);
      draft.changed = true;
      rest.delete(uid);
    }
  }
  const left = [...rest.values()];
  const parts: Endpoint[][] = [];
  for (let i = 0; i < left.length; i += MAX_ENDPOINTS) parts.push(left.slice(i, i + MAX_ENDPOINTS));
  return {
    update: drafts
      .filter((draft) => draft.changed && draft.endpoints.length > 0)
      .map(({ slice, endpoints }) => ({ ...slice, metadata: { ...slice.metadata, labels }, endpoints })),
    unused: drafts.filter((draft) => draft.endpoints.length === 0).map((draft) => draft.slice),
    rest: parts,
  };
}

function newSlice(
  service: Service,
  labels: Readonly<Record<string, string>>,
  ports: readonly EndpointPort[],
  endpoints: readonly Endpoint[],
): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: generatedName(service.metadata.name),
      generateName: `${service.metadata.name}-`,
      ...(service.metadata.namespace === undefined ? {} : { namespace: service.metadata.namespace }),
      labels,
      ownerReferences: ownedBy(service),
    },
    addressType: "IPv4",
    ports,
    endpoints,
  };
}

/** The Service's own labels and the controller's. */
function labelsOf(service: Service): Readonly<Record<string, string>> {
  return {
    ...service.metadata.labels,
    [SERVICE_NAME]: service.metadata.name,
    [MANAGED_BY]: CONTROLLER,
    ...(service.spec?.clusterIP === "None" ? { [HEADLESS]: "" } : {}),
  };
}

/** A Service's ports as this pod has them: a named target port is another number in another pod. */
function portsOf(service: Service, pod: Pod): EndpointPort[] {
  const ports: EndpointPort[] = [];
  for (const port of service.spec?.ports ?? []) {
    const protocol = port.protocol ?? "TCP";
    const target = port.targetPort ?? port.port;
    const number =
      typeof target === "number" ? target : (containerPort(pod, target, protocol) ?? Number(target));
    // The pod has no port of that name: it is left out of that port alone.
    if (!Number.isInteger(number) || number === 0) continue;
    ports.push({
      name: port.name ?? "",
      protocol,
      port: number,
      ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
    });
  }
  return ports;
}

function containerPort(pod: Pod, name: string, protocol: string): number | undefined {
  return pod.spec?.containers
    .flatMap((container) => container.ports ?? [])
    .find((port) => port.name === name && (port.protocol ?? "TCP") === protocol)?.containerPort;
}

function endpointOf(service: Service, pod: Pod): Endpoint {
  const terminating = pod.metadata.deletionTimestamp !== undefined;
  const serving = isReady(pod);
  const publishes = service.spec?.publishNotReadyAddresses === true;
  const { namespace, name, uid } = pod.metadata;
  return {
    addresses: [pod.status?.podIP ?? ""],
    conditions: { ready: publishes || (serving && !terminating), serving, terminating },
    ...(pod.spec?.hostname !== undefined && pod.spec.subdomain === service.metadata.name
      ? { hostname: pod.spec.hostname }
      : {}),
    ...(pod.spec?.nodeName === undefined ? {} : { nodeName: pod.spec.nodeName }),
    targetRef: {
      kind: "Pod",
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(uid === undefined ? {} : { uid }),
    },
  };
}

function isEmpty(slice: EndpointSlice): boolean {
  return (slice.endpoints ?? []).length === 0 && (slice.ports ?? []).length === 0;
}

function hasLabels(slice: EndpointSlice, labels: Readonly<Record<string, string>>): boolean {
  return canonical(slice.metadata.labels ?? {}) === canonical(labels);
}
