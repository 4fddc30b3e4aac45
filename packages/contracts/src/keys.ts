import { createHash } from "node:crypto";

/** Longest token that stands in a key as it is; NATS itself bounds subjects far higher, file names of stores do not. */
const MAX_TOKEN_BYTES = 200;

/**
 * A Kubernetes name (RFC 1123 subdomain) as one token of a NATS subject. Names hold no `_`, so `.` becomes `_` and
 * comes back; a name over 200 bytes becomes its sha256 and does not: records carry their names for that reason.
 */
export function encodeToken(name: string): string {
  const token = name.replaceAll(".", "_");
  if (Buffer.byteLength(token) <= MAX_TOKEN_BYTES) return token;
  return `=h_${createHash("sha256").update(name).digest("hex")}`;
}

/** The name behind a token, or null for the hash of a name that was too long. */
export function decodeToken(token: string): string | null {
  return token.startsWith("=h_") ? null : token.replaceAll("_", ".");
}

/** A host of a route as a token: lower-case A-labels; `*.x` → `=w_x`; no host (the default) → `=default`. */
export function encodeHost(host: string): string {
  if (host === "") return "=default";
  const lower = host.toLowerCase();
  if (lower.startsWith("*.")) {
    const rest = encodeToken(lower.slice(2));
    return rest.startsWith("=h_") ? `=w${rest}` : `=w_${rest}`;
  }
  return encodeToken(lower);
}

/** The host behind a host token (`""` for the default), or null for a hash. */
export function decodeHost(token: string): string | null {
  if (token === "=default") return "";
  if (token.startsWith("=w=h_")) return null;
  if (token.startsWith("=w_")) return `*.${token.slice(3).replaceAll("_", ".")}`;
  return decodeToken(token);
}

/** FNV-1a, 32 bits: which shard or partition a service falls to. Part of the key format: never change it. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash ^= text.charCodeAt(i);
    hash = Math.imul(hash, 0x01000193);
  }
  return hash >>> 0;
}

/** A part of a table: what one holder writes. `slices`: a cluster's shard; `topology`: a partition; `fleet`: a fleet. */
export interface Part {
  /** The cluster or the fleet; empty in `topology`. */
  readonly scope: string;
  /** The shard or the partition; empty in `fleet`. */
  readonly shard: string;
}

/** What a key of a fenced table is. A key that is none of these is not ours. */
export type KeyClass =
  | { readonly kind: "claim"; readonly part: Part; readonly n: number }
  | { readonly kind: "synced"; readonly part: Part }
  | { readonly kind: "layout"; readonly scope: string; readonly n: number }
  /** `spread` is what the shard is chosen by, among the scope's number of shards. */
  | { readonly kind: "record"; readonly scope: string; readonly spread: string }
  | { readonly kind: "foreign" };

/** How one fenced table names its parts. Keys are made and read here and nowhere else. */
export interface KeySpace {
  classify(key: string): KeyClass;
  claimKey(part: Part, n: number): string;
  syncedKey(part: Part): string;
  /** null where the number of shards is fixed. */
  layoutKey(scope: string, n: number): string | null;
  /** Number of shards of a scope when no layout says otherwise. */
  readonly defaultShards: number;
  shardOf(spread: string, shards: number): string;
  /** Name of the shard with this number, counted from 0. */
  shardAt(number: number): string;
  /** NATS filter over everything of a scope, e.g. `member1.>`. */
  filterOf(scope: string): string;
  /** Records of one name share a writer's turns, so that none of them keeps another's waiting: a service, a cluster. */
  turnOf(key: string): string;
}

const foreign: KeyClass = { kind: "foreign" };

/** Everybody in a process who reads a record asks of its key in turn: the newest answer is given again. */
function remembering<R>(read: (text: string) => R): (text: string) => R {
  let known: string | undefined;
  let answer: R;
  return (text) => {
    if (text !== known) {
      answer = read(text);
      known = text;
    }
    return answer;
  };
}

function number(token: string | undefined): number | null {
  return token !== undefined && /^[1-9][0-9]{0,14}$/.test(token) ? Number(token) : null;
}

/** `<cluster>.<ns>.<svc>.<slice>` · `….<svc>._export` · `<cluster>._meta.{layout.<n>,claim.<shard>.<n>,synced.<shard>}` */
export const sliceKeys: KeySpace & {
  slice(cluster: string, namespace: string, service: string, slice: string): string;
  export(cluster: string, namespace: string, service: string): string;
} = {
  defaultShards: 1,
  classify: remembering((key) => {
    const [cluster, a, b, c, d, e] = key.split(".");
    if (cluster === undefined || a === undefined || b === undefined || e !== undefined) return foreign;
    const scope = decodeToken(cluster) ?? cluster;
    if (a === "_meta") {
      if (b === "layout" && d === undefined) {
        const n = number(c);
        return n === null ? foreign : { kind: "layout", scope, n };
      }
      if (b === "claim" && c !== undefined) {
        const n = number(d);
        return n === null ? foreign : { kind: "claim", part: { scope, shard: c }, n };
      }
      if (b === "synced" && c !== undefined && d === undefined) {
        return { kind: "synced", part: { scope, shard: c } };
      }
      return foreign;
    }
    return c === undefined || d !== undefined ? foreign : { kind: "record", scope, spread: `${a}.${b}` };
  }),
  claimKey: ({ scope, shard }, n) => `${encodeToken(scope)}._meta.claim.${shard}.${n}`,
  syncedKey: ({ scope, shard }) => `${encodeToken(scope)}._meta.synced.${shard}`,
  layoutKey: (scope, n) => `${encodeToken(scope)}._meta.layout.${n}`,
  shardOf: (spread, shards) => String(hash32(spread) % shards),
  shardAt: (number) => String(number),
  filterOf: (scope) => `${encodeToken(scope)}.>`,
  turnOf: (key) => key.slice(0, key.lastIndexOf(".")),
  slice: (cluster, namespace, service, slice) =>
    [cluster, namespace, service, slice].map(encodeToken).join("."),
  export: (cluster, namespace, service) =>
    `${[cluster, namespace, service].map(encodeToken).join(".")}._export`,
};

const hashOf = remembering(hash32);

/** Partitions of `topology`; part of the key format, never changed: more aggregators share these sixteen. */
export const TOPOLOGY_PARTITIONS = 16;

/** `<ns>.<svc>._service` · `<ns>.<svc>.<cluster>` · `_meta.claim.<part>.<n>` · `_meta.synced.<part>` */
export const topologyKeys: KeySpace & {
  service(namespace: string, service: string): string;
  peers(namespace: string, service: string, cluster: string): string;
} = {
  defaultShards: TOPOLOGY_PARTITIONS,
  classify: remembering((key) => {
    const [a, b, c, d, e] = key.split(".");
    if (a === "_meta") {
      if (b === "claim" && c !== undefined && e === undefined) {
        const n = number(d);
        return n === null ? foreign : { kind: "claim", part: { scope: "", shard: c }, n };
      }
      if (b === "synced" && c !== undefined && d === undefined) {
        return { kind: "synced", part: { scope: "", shard: c } };
      }
      return foreign;
    }
    return c === undefined || d !== undefined ? foreign : { kind: "record", scope: "", spread: `${a}.${b}` };
  }),
  claimKey: ({ shard }, n) => `_meta.claim.${shard}.${n}`,
  syncedKey: ({ shard }) => `_meta.synced.${shard}`,
  layoutKey: () => null,
  shardOf: (spread, shards) => String(hashOf(spread) % shards),
  shardAt: (number) => String(number),
  filterOf: () => ">",
  turnOf: (key) => key.slice(key.lastIndexOf(".") + 1),
  service: (namespace, service) => `${encodeToken(namespace)}.${encodeToken(service)}._service`,
  peers: (namespace, service, cluster) => [namespace, service, cluster].map(encodeToken).join("."),
};

/** `<fleet>.{profiles.<hash>,rollout,routes.<host>,upstreams.<id>,peers.<id>.<cluster>,clusters.<cluster>,secrets.<id>}` · `<fleet>._meta.{claim.<n>,synced}` */
export const fleetKeys: KeySpace & {
  profile(fleet: string, hash: string): string;
  rollout(fleet: string): string;
  settings(fleet: string): string;
  route(fleet: string, host: string): string;
  upstream(fleet: string, id: string): string;
  peers(fleet: string, id: string, cluster: string): string;
  cluster(fleet: string, cluster: string): string;
  secret(fleet: string, id: string): string;
} = {
  defaultShards: 1,
  classify: remembering((key) => {
    const [fleet, a, b, c, d] = key.split(".");
    if (fleet === undefined || a === undefined) return foreign;
    const scope = decodeToken(fleet) ?? fleet;
    if (a === "_meta") {
      if (b === "claim" && d === undefined) {
        const n = number(c);
        return n === null ? foreign : { kind: "claim", part: { scope, shard: "" }, n };
      }
      return b === "synced" && c === undefined ? { kind: "synced", part: { scope, shard: "" } } : foreign;
    }
    return { kind: "record", scope, spread: "" };
  }),
  claimKey: ({ scope }, n) => `${encodeToken(scope)}._meta.claim.${n}`,
  syncedKey: ({ scope }) => `${encodeToken(scope)}._meta.synced`,
  layoutKey: () => null,
  shardOf: () => "",
  shardAt: () => "",
  filterOf: (scope) => `${encodeToken(scope)}.>`,
  turnOf: (key) => (key.includes(".peers.") ? key.slice(key.lastIndexOf(".") + 1) : ""),
  profile: (fleet, hash) => `${encodeToken(fleet)}.profiles.${hash}`,
  rollout: (fleet) => `${encodeToken(fleet)}.rollout`,
  settings: (fleet) => `${encodeToken(fleet)}.settings`,
  route: (fleet, host) => `${encodeToken(fleet)}.routes.${encodeHost(host)}`,
  upstream: (fleet, id) => `${encodeToken(fleet)}.upstreams.${id}`,
  peers: (fleet, id, cluster) => `${encodeToken(fleet)}.peers.${id}.${encodeToken(cluster)}`,
  cluster: (fleet, cluster) => `${encodeToken(fleet)}.clusters.${encodeToken(cluster)}`,
  secret: (fleet, id) => `${encodeToken(fleet)}.secrets.${id}`,
};

/** `<cluster>` in `clusters`; `<verb>.<cluster>` in `intents`; `<cluster>.<ns>.<svc>` in `verdicts`; `<fleet>.<proxy>` in `proxies`; `<role>.<process>` in `members`. */
export const plainKeys = {
  cluster: (cluster: string) => encodeToken(cluster),
  intent: (verb: string, cluster: string) => `${verb}.${encodeToken(cluster)}`,
  verdict: (cluster: string, namespace: string, service: string) =>
    [cluster, namespace, service].map(encodeToken).join("."),
  proxy: (fleet: string, proxy: string) => `${encodeToken(fleet)}.${encodeToken(proxy)}`,
  member: (role: string, process: string) => `${role}.${process}`,
  boot: () => "id",
};
