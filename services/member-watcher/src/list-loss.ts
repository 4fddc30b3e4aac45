import type { SliceEndpoint, SliceRecord, SliceValue } from "@sluice/contracts";

/** From so many peers on a loss is looked at; fewer may go at once whatever share they are. */
const MIN_LOST = 10;

export interface LostPeer {
  readonly address: string;
  readonly port: number;
}

/** What a list would take away of what a cluster has published. */
export interface Loss {
  readonly peers: number;
  readonly of: number;
  /** Records to keep while they are held, by key: as published, of services that would lose peers. */
  readonly records: ReadonlyMap<string, SliceValue>;
  readonly lost: readonly LostPeer[];
}

const isSlice = (value: SliceValue): value is SliceRecord => "slice" in value;
const serviceOf = ({ namespace, service }: SliceValue) => `${namespace}/${service}`;

/** Addresses that get requests. */
function* readyAddresses(record: SliceRecord): Generator<string> {
  for (const { ready, addresses } of record.endpoints) if (ready) yield* addresses;
}

/**
 * Compares what stands on the bus with what the lists say now. A peer that moved to another slice of its service is not
 * lost.
 * @param published of the parts that this process holds
 * @returns null unless more than half of the peers, and at least ten, would go
 */
export function lossOf(
  published: Iterable<readonly [key: string, value: SliceValue]>,
  listed: ReadonlyMap<string, SliceValue>,
): Loss | null {
  let of = 0;
  const changed = new Map<string, [string, SliceValue][]>();
  for (const [key, value] of published) {
    if (isSlice(value)) for (const _ of readyAddresses(value)) of += 1;
    if (listed.get(key) === value) continue;
    const records = changed.get(serviceOf(value));
    if (records === undefined) changed.set(serviceOf(value), [[key, value]]);
    else records.push([key, value]);
  }
  if (changed.size === 0 || of < MIN_LOST) return null;
  const kept = addressesOf(changed, listed);
  const records = new Map<string, SliceValue>();
  const lost: LostPeer[] = [];
  let peers = 0;
  for (const [service, entries] of changed) {
    const still = kept.get(service);
    const before = peers;
    for (const [, value] of entries) {
      if (!isSlice(value)) continue;
      const port = value.ports.find((each) => each.port !== null && each.protocol === "TCP")?.port;
      for (const address of readyAddresses(value)) {
        if (still?.has(address) === true) continue;
        peers += 1;
        if (port != null && value.addressType !== "FQDN") lost.push({ address, port });
      }
    }
    // The export with it: without that nobody takes the service's peers.
    if (peers > before) for (const [key, value] of entries) records.set(key, value);
  }
  return peers >= MIN_LOST && peers * 2 > of ? { peers, of, records, lost } : null;
}

/** Addresses that services have by what is listed now. */
function addressesOf(
  services: ReadonlyMap<string, unknown>,
  listed: ReadonlyMap<string, SliceValue>,
): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const value of listed.values()) {
    const service = serviceOf(value);
    if (!isSlice(value) || !services.has(service)) continue;
    let addresses = found.get(service);
    if (addresses === undefined) {
      addresses = new Set();
      found.set(service, addresses);
    }
    for (const address of readyAddresses(value)) addresses.add(address);
  }
  return found;
}

/** EndpointSlices hold no more endpoints than that (Kubernetes API). */
const MAX_ENDPOINTS = 1000;

/** A record while it is held: what it says now, and the peers that would go, as they were published. */
export function heldRecord(published: SliceValue, listed: SliceValue | undefined): SliceValue {
  if (listed === undefined || !isSlice(published) || !isSlice(listed)) return listed ?? published;
  // Ports are told once a slice: peers of other ports cannot stand in it.
  if (JSON.stringify(published.ports) !== JSON.stringify(listed.ports)) return published;
  const ready = new Set(readyAddresses(listed));
  const isKept = ({ ready: wasReady, addresses }: SliceEndpoint) =>
    wasReady && addresses.some((address) => !ready.has(address));
  const kept = published.endpoints.filter(isKept);
  const again = new Set(kept.flatMap(({ addresses }) => addresses));
  const said = listed.endpoints.filter(({ addresses }) => !addresses.some((address) => again.has(address)));
  if (said.length + kept.length > MAX_ENDPOINTS) return published;
  return { ...listed, endpoints: [...said, ...kept] };
}
