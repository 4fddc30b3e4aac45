import type { Condition, ExportRecord, SlicePort, SliceRecord } from "@sluice/contracts";
import type { EndpointSlice, Service, ServiceExport } from "@sluice/kube";

// Pure: what a member's objects mean for the bus. No clock, no log, no I/O.

const SERVICE_NAME = "kubernetes.io/service-name";
const MANAGED_BY = "endpointslice.kubernetes.io/managed-by";
/** Set by every implementation of the MCS API on slices that it imported (KEP-1645). */
const SOURCE_CLUSTER = "multicluster.kubernetes.io/source-cluster";
/** Annotation that Karmada puts on slices that it brought from another cluster; they bear the service's own name. */
const KARMADA_SOURCE = "endpointslice.karmada.io/provision-cluster";
/** Who makes slices of a cluster's own endpoints; a user's own slices have another value, or none. */
const IMPORTERS = /(^|\.)(karmada\.io|sluice\.dev|submariner\.io|cilium\.io)(\/|$)/;

/** The service that a slice belongs to, or null when it has none or was imported from another cluster. */
export function serviceOfSlice(slice: EndpointSlice): string | null {
  const { labels = {}, annotations } = slice.metadata;
  if (labels[SOURCE_CLUSTER] !== undefined || annotations?.[KARMADA_SOURCE] !== undefined) return null;
  const manager = labels[MANAGED_BY];
  if (manager !== undefined && IMPORTERS.test(manager)) return null;
  return labels[SERVICE_NAME] ?? null;
}

function protocol(text: string | undefined): "TCP" | "UDP" | "SCTP" {
  return text === "UDP" || text === "SCTP" ? text : "TCP";
}

/** An API takes any number for a slice's port; what is none has no peers here, and must not make the record unreadable. */
function portNumber(port: number | undefined): number | null {
  return port !== undefined && Number.isInteger(port) && port >= 1 && port <= 65_535 ? port : null;
}

/** One EndpointSlice as a record: no managedFields, targetRef, node names or hints. */
export function sliceRecord(cluster: string, service: string, slice: EndpointSlice): SliceRecord {
  return {
    cluster,
    namespace: slice.metadata.namespace ?? "",
    service,
    slice: slice.metadata.name,
    addressType: slice.addressType,
    ports: (slice.ports ?? []).map(
      (port): SlicePort => ({
        name: port.name ?? "",
        port: portNumber(port.port),
        protocol: protocol(port.protocol),
        ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
      }),
    ),
    endpoints: (slice.endpoints ?? [])
      .filter(({ addresses }) => addresses !== undefined && addresses.length > 0)
      .map((endpoint) => {
        const { ready, serving, terminating } = endpoint.conditions ?? {};
        return {
          addresses: [...endpoint.addresses],
          // EndpointSlice v1: nil ready counts as ready; nil serving as ready; nil terminating as false.
          ready: ready !== false,
          serving: serving ?? ready !== false,
          terminating: terminating ?? false,
          ...(endpoint.zone === undefined ? {} : { zone: endpoint.zone }),
        };
      }),
  };
}

export type ExportOutcome =
  | { readonly exported: true; readonly record: ExportRecord }
  | { readonly exported: false; readonly condition: Condition };

/** Whether an export is valid in its own cluster, and what it says. */
export function exportRecord(
  cluster: string,
  object: ServiceExport,
  service: Service | undefined,
): ExportOutcome {
  const { name, namespace = "" } = object.metadata;
  const invalid = (reason: string, message: string): ExportOutcome => ({
    exported: false,
    condition: { type: "Valid", status: "False", reason, message },
  });
  if (service === undefined) {
    return invalid(
      "NoService",
      `there is no Service ${namespace}/${name}; create it, or delete this ServiceExport`,
    );
  }
  if (service.spec?.type === "ExternalName") {
    return invalid(
      "InvalidServiceType",
      `Service ${namespace}/${name} has spec.type ExternalName, which has no endpoints`,
    );
  }
  return {
    exported: true,
    record: {
      cluster,
      namespace,
      service: name,
      createdAt: Date.parse(object.metadata.creationTimestamp ?? "") || 0,
      type: service.spec?.clusterIP === "None" ? "Headless" : "ClusterSetIP",
      ipFamilies: [...(service.spec?.ipFamilies ?? [])],
      ports: (service.spec?.ports ?? []).map((port) => ({
        name: port.name ?? "",
        port: port.port,
        protocol: protocol(port.protocol),
        ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
      })),
    },
  };
}

/**
 * The conditions that an export shall have: what its own cluster says first, then the aggregator's verdict, then that
 * all is well. Valid, Ready and Conflict are the types of the MCS API.
 */
export function exportConditions(own: ExportOutcome, verdict: readonly Condition[]): Condition[] {
  const fine: Condition[] = [
    { type: "Valid", status: "True", reason: "Valid", message: "the service is exported" },
    { type: "Ready", status: "True", reason: "Exported", message: "its endpoints are published" },
    {
      type: "Conflict",
      status: "False",
      reason: "NoConflicts",
      message: "all exports of this service agree",
    },
  ];
  const said = new Map(fine.map((condition) => [condition.type, condition]));
  for (const condition of verdict) said.set(condition.type, condition);
  if (!own.exported) said.set("Valid", own.condition);
  const valid = said.get("Valid");
  // What is not valid is not published, whatever else is to be said of it.
  if (valid !== undefined && valid.status !== "True") said.set("Ready", { ...valid, type: "Ready" });
  return [...said.values()];
}

/** CIDRs that a Node's pods and the Node itself have. */
export function nodeCidrs(node: {
  readonly spec?: { readonly podCIDR?: string; readonly podCIDRs?: readonly string[] };
  readonly status?: { readonly addresses?: readonly { readonly type: string; readonly address: string }[] };
}): string[] {
  const pods = node.spec?.podCIDRs ?? (node.spec?.podCIDR === undefined ? [] : [node.spec.podCIDR]);
  const own = (node.status?.addresses ?? [])
    .filter(({ type }) => type === "InternalIP" || type === "ExternalIP")
    .map(({ address }) => (address.includes(":") ? `${address}/128` : `${address}/32`));
  return [...pods, ...own];
}
