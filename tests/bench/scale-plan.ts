import type { ClusterRecord, ExportRecord, SliceRecord } from "@sluice/contracts";

/** How much there is: `services` services, each in `clustersPerService` of the clusters. */
export interface ScaleSize {
  readonly clusters: number;
  readonly services: number;
  /** Endpoints in all: endpoints ÷ (services × clustersPerService) in each slice. */
  readonly endpoints: number;
  readonly clustersPerService: number;
}

export const NAMESPACE = "shop";
export const PORT = 8080;
/** Every cluster may have addresses of 10.0.0.0/8: each endpoint ever made has one of its own. */
export const CIDRS = ["10.0.0.0/8"];
/** 10.0.0.0 as a number. */
const FIRST_ADDRESS = 0x0a000000;

export function serviceName(service: number): string {
  return `svc-${String(service).padStart(5, "0")}`;
}

export function clusterName(cluster: number): string {
  return `member${String(cluster).padStart(3, "0")}`;
}

/** The n-th address ever given out. */
export function addressAt(n: number): string {
  const value = FIRST_ADDRESS + 256 + n;
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
}

/** Which number an address has; the inverse of `addressAt`. */
export function numberOf(address: string): number {
  let value = 0;
  for (const part of address.split(".")) value = value * 256 + Number(part);
  return value - FIRST_ADDRESS - 256;
}

export function endpointsPerSlice(size: ScaleSize): number {
  return Math.round(size.endpoints / (size.services * size.clustersPerService));
}

/** One cluster's copy of one service. */
export interface PlannedCopy {
  readonly service: number;
  readonly cluster: number;
}

/** Copies in an order in which neighbours have nothing in common. */
export function plannedCopies(size: ScaleSize): PlannedCopy[] {
  const copies: PlannedCopy[] = [];
  for (let k = 0; k < size.clustersPerService; k++) {
    for (let service = 0; service < size.services; service++) {
      const spread = Math.floor(size.clusters / size.clustersPerService);
      copies.push({ service, cluster: (service + k * Math.max(1, spread)) % size.clusters });
    }
  }
  return copies;
}

export function exportOf({ service, cluster }: PlannedCopy): ExportRecord {
  return {
    cluster: clusterName(cluster),
    namespace: NAMESPACE,
    service: serviceName(service),
    createdAt: 1_700_000_000_000 + cluster,
    type: "ClusterSetIP",
    ipFamilies: ["IPv4"],
    ports: [{ name: "", port: 80, protocol: "TCP" }],
  };
}

export function sliceOf({ service, cluster }: PlannedCopy, addresses: readonly string[]): SliceRecord {
  return {
    cluster: clusterName(cluster),
    namespace: NAMESPACE,
    service: serviceName(service),
    slice: `${serviceName(service)}-a1`,
    addressType: "IPv4",
    ports: [{ name: "", port: PORT, protocol: "TCP" }],
    endpoints: addresses.map((address) => ({
      addresses: [address],
      ready: true,
      serving: true,
      terminating: false,
    })),
  };
}

export function clusterOf(cluster: number, now: number, exports: number): ClusterRecord {
  return {
    cluster: clusterName(cluster),
    heartbeatAt: now,
    api: { reachable: true, since: 1_700_000_000_000 },
    kubernetesVersion: "v1.34.1",
    labels: {},
    nodeCidrs: CIDRS,
    waiting: [],
    exports,
    watcher: "member-watcher.bench",
  };
}
