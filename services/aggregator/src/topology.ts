import type {
  AddressVerdict,
  Condition,
  ExportRecord,
  Peer,
  ServicePort,
  SliceRecord,
  TopologyPeers,
  TopologyService,
} from "@sluice/contracts";

// Pure: exports and slices in, topology and verdicts out. No clock, no log, no await.

/** `derived-` and a service's name have to fit a Service's name: a DNS label, 63 characters. */
export const DERIVED_PREFIX = "derived-";
const MAX_SERVICE_NAME = 63;

export function derivedName(service: string): string | null {
  const name = `${DERIVED_PREFIX}${service}`;
  return name.length <= MAX_SERVICE_NAME ? name : null;
}

/** Addresses and conflicts named in a verdict; the rest is counted, so that a condition stays readable. */
const NAMED = 3;

export interface RefusedPeer {
  readonly address: string;
  readonly why: string;
}

/**
 * The peers of one cluster's copy of a service, by port name (nil is ""). Ready unless `ready: false`; serving and
 * terminating endpoints are draining; one address in two slices is one peer, and ready wins.
 */
export function clusterPeers(
  identity: { readonly namespace: string; readonly service: string; readonly cluster: string },
  slices: Iterable<SliceRecord>,
  allowed: (address: string) => AddressVerdict,
): { readonly peers: TopologyPeers; readonly refused: readonly RefusedPeer[] } {
  const byPort = new Map<string, Map<string, Peer>>();
  const refused = new Map<string, RefusedPeer>();
  for (const slice of slices) {
    for (const port of slice.ports) if (!byPort.has(port.name)) byPort.set(port.name, new Map());
    // nginx is given addresses, never names to resolve.
    if (slice.addressType === "FQDN") continue;
    for (const endpoint of slice.endpoints) {
      const draining = !endpoint.ready && endpoint.serving && endpoint.terminating;
      if (!endpoint.ready && !draining) continue;
      // Addresses beyond the first are the same endpoint's, and consumers use the first (EndpointSlice v1).
      const address = endpoint.addresses[0]!;
      const verdict = allowed(address);
      if (!verdict.allowed) {
        refused.set(address, { address, why: verdict.why });
        continue;
      }
      for (const { name, port } of slice.ports) {
        if (port === null) continue;
        const peers = byPort.get(name)!;
        const id = `${address} ${port}`;
        if (draining && peers.has(id)) continue;
        peers.set(id, { address, port, ...(draining ? { draining: true as const } : {}) });
      }
    }
  }
  const ports: Record<string, Peer[]> = {};
  for (const name of [...byPort.keys()].sort()) {
    ports[name] = [...byPort.get(name)!.values()].sort(byAddressThenPort);
  }
  // Sorted: what is said of them shall not depend on the order in which slices came.
  const sorted = [...refused.values()].sort((a, b) => (a.address < b.address ? -1 : 1));
  return { peers: { ...identity, ports }, refused: sorted };
}

function byAddressThenPort(a: Peer, b: Peer): number {
  if (a.address !== b.address) return a.address < b.address ? -1 : 1;
  return a.port - b.port;
}

/** Exports in the order in which they win a conflict: the oldest first, then by cluster (KEP-1645). */
function byPrecedence(a: ExportRecord, b: ExportRecord): number {
  if (a.createdAt !== b.createdAt) return a.createdAt - b.createdAt;
  return a.cluster < b.cluster ? -1 : 1;
}

/** What all exports of a service come to, the oldest winning where they differ. Null when nobody exports it. */
export function mergeExports(exports: Iterable<ExportRecord>): TopologyService | null {
  const ordered = [...exports].sort(byPrecedence);
  const oldest = ordered[0];
  if (oldest === undefined) return null;
  const conflicts: TopologyService["conflicts"] = [];
  const ports = new Map<string, ServicePort & { readonly from: string }>();
  for (const record of ordered) {
    const { cluster } = record;
    if (record.type !== oldest.type) {
      const message = `type is ${record.type}, ${oldest.cluster}'s older export says ${oldest.type}`;
      conflicts.push({ cluster, field: "type", message });
    }
    if (!sameFamilies(record.ipFamilies, oldest.ipFamilies)) {
      const message = `ipFamilies are ${record.ipFamilies.join(", ")}, ${oldest.cluster}'s older export has ${oldest.ipFamilies.join(", ")}`;
      conflicts.push({ cluster, field: "ipFamilies", message });
    }
    for (const port of record.ports) {
      const known = ports.get(port.name);
      if (known === undefined) ports.set(port.name, { ...port, from: cluster });
      else if (!samePort(known, port)) {
        const message = `port ${JSON.stringify(port.name)} is ${showPort(port)}, ${known.from}'s older export says ${showPort(known)}`;
        conflicts.push({ cluster, field: `ports[${port.name}]`, message });
      }
    }
  }
  return {
    namespace: oldest.namespace,
    service: oldest.service,
    type: oldest.type,
    ports: [...ports.values()].map(({ from: _from, ...port }) => port),
    clusters: ordered.map((record) => record.cluster),
    conflicts,
  };
}

/** Which comes first is each cluster's own affair, and an API that names none has not contradicted anybody. */
function sameFamilies(a: readonly string[], b: readonly string[]): boolean {
  return a.length === 0 || b.length === 0 || [...a].sort().join() === [...b].sort().join();
}

function samePort(a: ServicePort, b: ServicePort): boolean {
  return a.port === b.port && a.protocol === b.protocol && a.appProtocol === b.appProtocol;
}

function showPort(port: ServicePort): string {
  return `${port.port}/${port.protocol}${port.appProtocol === undefined ? "" : ` ${port.appProtocol}`}`;
}

/** What is to be said of one cluster's export, as conditions of the MCS API; empty when all is well. */
export function exportVerdict(
  cluster: string,
  service: string,
  merged: TopologyService | null,
  refused: readonly RefusedPeer[],
): Condition[] {
  const said: Condition[] = [];
  if (derivedName(service) === null) {
    const most = MAX_SERVICE_NAME - DERIVED_PREFIX.length;
    said.push({
      type: "Valid",
      status: "False",
      reason: "NameTooLong",
      message: `${DERIVED_PREFIX}${service} would be longer than ${MAX_SERVICE_NAME} characters; rename the Service to at most ${most}`,
    });
  }
  const conflicts = merged?.conflicts.filter((conflict) => conflict.cluster === cluster) ?? [];
  if (conflicts.length > 0) {
    said.push({
      type: "Conflict",
      status: "True",
      reason: "OldestExportWins",
      message: name(conflicts.map(({ field, message }) => `${field}: ${message}`)),
    });
  }
  if (refused.length > 0) {
    said.push({
      type: "Ready",
      status: "False",
      reason: "PeersRefused",
      message: name(refused.map(({ why }) => why)),
    });
  }
  return said;
}

function name(texts: readonly string[]): string {
  const more = texts.length > NAMED ? `; and ${texts.length - NAMED} more` : "";
  // Every peer of a cluster without rules is refused for one and the same reason.
  return [...new Set(texts.slice(0, NAMED))].join("; ") + more;
}
