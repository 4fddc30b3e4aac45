import type { SliceRecord } from "@sluice/contracts";

/** A slice of shop/web in member1 whose endpoints are all ready. */
export function webSlice(
  name: string,
  addresses: readonly string[],
  more: Partial<SliceRecord> = {},
): SliceRecord {
  return {
    cluster: "member1",
    namespace: "shop",
    service: "web",
    slice: name,
    addressType: "IPv4",
    ports: [{ name: "", port: 8080, protocol: "TCP" }],
    endpoints: addresses.map((address) => ({
      addresses: [address],
      ready: true,
      serving: true,
      terminating: false,
    })),
    ...more,
  };
}
