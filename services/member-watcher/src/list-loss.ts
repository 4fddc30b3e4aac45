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

/** Whether a peer goes, or an export with all its peers, as far as this record tells. */
export function losesPeers(before: SliceValue, now: SliceValue | undefined): boolean {
  if (!isSlice(before)) return now === undefined;
  const ready = new Set(now !== undefined && isSlice(now) ? readyAddresses(now) : []);
  for (const address of readyAddresses(before)) if (!ready.has(address)) return true;
  return false;
}

/** Peers that a record stands for. */
export function peersOf(value: SliceValue | null | undefined): number {
  let peers = 0;
  if (value && isSlice(value)) for (const _ of readyAddresses(value)) peers += 1;
  return peers;
}

/** Records that are looked at between two moments at which the work may be interrupted. */
const STEP = 8;

/**
 * What goes of some records by what the lists say now. A peer that moved to another slice of its service is not lost.
 * To be gone through step by step: of ten thousand slices it is the work of some hundred milliseconds.
 * @param changed as published, by key
 * @param published how many peers each published record stands for
 * @returns null unless more than half of the peers, and at least ten, would go
 */
export function* lossOf(
  changed: ReadonlyMap<string, SliceValue>,
  listed: ReadonlyMap<string, SliceValue>,
  published: Iterable<number>,
): Generator<void, Loss | null, void> {
  if (changed.size === 0) return null;
  let seen = 0;
  const services = new Map<string, [string, SliceValue][]>();
  for (const entry of changed) {
    const service = serviceOf(entry[1]);
    const records = services.get(service);
    if (records === undefined) services.set(service, [entry]);
    else records.push(entry);
  }
  const kept = yield* addressesOf(services, listed);
  const records = new Map<string, SliceValue>();
  const lost: LostPeer[] = [];
  let peers = 0;
  for (const [service, entries] of services) {
    const still = kept.get(service);
    const before = peers;
    for (const [, value] of entries) {
      if (++seen % STEP === 0) yield;
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
  if (peers < MIN_LOST) return null;
  let of = 0;
  for (const each of published) {
    of += each;
    if (++seen % STEP === 0) yield;
  }
  return peers * 2 > of ? { peers, of, records, lost } : null;
}

/** Addresses that services have by what is listed now. */
function* addressesOf(
  services: ReadonlyMap<string, unknown>,
  listed: ReadonlyMap<string, SliceValue>,
): Generator<void, Map<string, Set<string>>, void> {
  const found = new Map<string, Set<string>>();
  let seen = 0;
  for (const value of listed.values()) {
    if (++seen % STEP === 0) yield;
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
