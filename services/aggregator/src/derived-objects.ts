import { createHash } from "node:crypto";
import type { AddressVerdict, SliceRecord } from "@sluice/contracts";
import type { EndpointSlice, Service, ServiceImport } from "@sluice/kube";
import type { IndexedService } from "./service-index.ts";
import { derivedName } from "./topology.ts";

// Pure: what an import shall have in the hub.

const MANAGED_BY = "aggregator.sluice.dev";
const SERVICE_LABELS = { "app.kubernetes.io/managed-by": MANAGED_BY };
/** Finds the objects that are ours. */
export const OWN_SERVICES = `app.kubernetes.io/managed-by=${MANAGED_BY}`;
export const OWN_SLICES = `endpointslice.kubernetes.io/managed-by=${MANAGED_BY}`;

export function isOwnService(service: Service): boolean {
  return service.metadata.labels?.["app.kubernetes.io/managed-by"] === MANAGED_BY;
}

/** Names of EndpointSlices are DNS subdomains. */
const MAX_NAME = 253;

/** `imported-<cluster>-<slice>`; where that is too long, its end gives way to a hash of the whole. */
export function importedName(cluster: string, slice: string): string {
  const name = `imported-${cluster}-${slice}`;
  if (name.length <= MAX_NAME) return name;
  const digest = createHash("sha256").update(name).digest("hex").slice(0, 16);
  return `${name.slice(0, MAX_NAME - 17).replace(/[^a-z0-9]+$/, "")}-${digest}`;
}

/** The derived Service of an import, or null when its name would be too long. */
export function derivedService(object: ServiceImport): Service | null {
  const { namespace = "", name } = object.metadata;
  const derived = derivedName(name);
  if (derived === null) return null;
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      name: derived,
      namespace,
      labels: { ...SERVICE_LABELS, "multicluster.kubernetes.io/service-name": name },
    },
    spec: {
      ...(object.spec?.type === "Headless" ? { clusterIP: "None" } : {}),
      ports: (object.spec?.ports ?? []).map((port) => ({
        ...(port.name === undefined ? {} : { name: port.name }),
        port: port.port,
        protocol: port.protocol ?? "TCP",
        ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
      })),
    },
  };
}

/** What of a cluster's rules an import needs. */
export interface PeerRulesOf {
  knows(cluster: string): boolean;
  filter(cluster: string): (address: string) => AddressVerdict;
}

/** The imported EndpointSlices of a service: of every cluster that exports it and whose rules for peers are known. */
export function importedSlices(
  indexed: IndexedService | undefined,
  derived: string,
  rules: PeerRulesOf,
): EndpointSlice[] {
  const slices: EndpointSlice[] = [];
  for (const [cluster, copy] of indexed?.copies ?? []) {
    if (copy.export === undefined || !rules.knows(cluster)) continue;
    const allowed = rules.filter(cluster);
    for (const record of copy.slices.values()) {
      // Names to resolve are nobody's peers here.
      if (record.addressType !== "FQDN") slices.push(importedSlice(record, derived, allowed));
    }
  }
  return slices;
}

function importedSlice(
  record: SliceRecord,
  derived: string,
  allowed: (address: string) => AddressVerdict,
): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: importedName(record.cluster, record.slice),
      namespace: record.namespace,
      labels: {
        "kubernetes.io/service-name": derived,
        "endpointslice.kubernetes.io/managed-by": MANAGED_BY,
        "multicluster.kubernetes.io/service-name": record.service,
        "multicluster.kubernetes.io/source-cluster": record.cluster,
      },
    },
    addressType: record.addressType,
    ports: record.ports.map((port) => ({
      name: port.name,
      protocol: port.protocol,
      ...(port.port === null ? {} : { port: port.port }),
      ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
    })),
    endpoints: record.endpoints
      .filter((endpoint) => endpoint.addresses.every((address) => allowed(address).allowed))
      .map(({ addresses, ready, serving, terminating, zone }) => ({
        addresses,
        conditions: { ready, serving, terminating },
        ...(zone === undefined ? {} : { zone }),
      })),
  };
}

export const SERVICE_NAME = "multicluster.kubernetes.io/service-name";
export const SOURCE_CLUSTER = "multicluster.kubernetes.io/source-cluster";

/** Whether everything that is wanted stands in what is there; an API adds defaults and fields of others. */
export function contains(there: unknown, wanted: unknown): boolean {
  if (Array.isArray(wanted)) {
    return (
      Array.isArray(there) &&
      there.length === wanted.length &&
      wanted.every((item, i) => contains(there[i], item))
    );
  }
  if (typeof wanted === "object" && wanted !== null) {
    if (typeof there !== "object" || there === null) return false;
    const have = there as Readonly<Record<string, unknown>>;
    return Object.entries(wanted).every(([key, value]) => value === undefined || contains(have[key], value));
  }
  return there === wanted;
}
