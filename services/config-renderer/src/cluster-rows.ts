import { type ClusterSeen, type FleetCluster, parseCidr } from "@sluice/contracts";
import type { JudgedCluster } from "./cluster-states.ts";

/** A loopback range of a person's must be this narrow: it is a trial's. */
const LOOPBACK_MIN_BITS = 16;

/** Ranges as the proxies hold a cluster's peers to them: those of its Nodes but loopback, and those of a person. */
export function allowedCidrs(fromNodes: readonly string[], fromFlags: readonly string[]): string[] {
  const allowed = new Set<string>();
  for (const text of fromNodes) {
    const cidr = parseCidr(text);
    if (cidr !== null && cidr[0].range() !== "loopback") allowed.add(text);
  }
  for (const text of fromFlags) {
    const cidr = parseCidr(text);
    if (cidr === null) continue;
    if (cidr[0].range() !== "loopback" || cidr[1] >= LOOPBACK_MIN_BITS) allowed.add(text);
  }
  return [...allowed].sort();
}

/** `seen` undefined: known by `--peers` alone so far. */
export function clusterRow(
  cluster: string,
  seen: ClusterSeen | undefined,
  fromFlags: readonly string[],
  judged: JudgedCluster,
): FleetCluster {
  return {
    cluster,
    ...judged,
    allowed: allowedCidrs(seen?.record.nodeCidrs ?? [], fromFlags),
  };
}
