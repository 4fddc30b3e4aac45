import type { AddressVerdict, ExportRecord, SliceRecord } from "@sluice/contracts";

// What the tests of this service are written with.

export const everything = (): AddressVerdict => ({ allowed: true });

export function endpoint(address: string, state: "ready" | "draining" | "unready" = "ready") {
  return {
    addresses: [address],
    ready: state === "ready",
    serving: state !== "unready",
    terminating: state === "draining",
  };
}

export function slice(overrides: Partial<SliceRecord> = {}): SliceRecord {
  return {
    cluster: "member1",
    namespace: "shop",
    service: "cart",
    slice: "cart-1",
    addressType: "IPv4",
    ports: [{ name: "", port: 8080, protocol: "TCP" }],
    endpoints: [endpoint("10.0.0.1")],
    ...overrides,
  };
}

export function exported(overrides: Partial<ExportRecord> = {}): ExportRecord {
  return {
    cluster: "member1",
    namespace: "shop",
    service: "cart",
    createdAt: 1000,
    type: "ClusterSetIP",
    ipFamilies: ["IPv4"],
    ports: [{ name: "", port: 80, protocol: "TCP" }],
    ...overrides,
  };
}
