import {
  type Access,
  type FleetCluster,
  type HostClients,
  type Limits,
  PathPolicy,
  type Redirect,
  type RoutePath,
  type SealedContents,
  type UpstreamRow,
} from "@sluice/contracts";
import { type PackedRanges, packRanges } from "./packed-ranges.ts";

/** Address, port, weight, and 1 when it takes no new requests. */
export type PeerEntry = readonly [address: string, port: number, weight: number, draining?: 1];
/** What most paths do not say: their policy as the row has it, and this. */
export interface PathMore extends Omit<PathPolicy, "access" | "limits"> {
  readonly access?: Omit<Access, "allow" | "deny"> & {
    readonly allow?: PackedRanges;
    readonly deny?: PackedRanges;
  };
  readonly limits?: Omit<Limits, "except"> & { readonly except?: PackedRanges };
  /** Where to instead, with the status that says so. */
  readonly redirect?: readonly [code: number, to: string, keeps?: Redirect["keeps"]];
  /** Upstream that is asked while the path's own is `""` or has no peers. */
  readonly spare?: string;
}
/** Exact, prefix or regular expression, path, upstream (`""`: answer 503), profile. */
export type PathEntry = readonly [
  type: "E" | "P" | "R",
  path: string,
  upstream: string,
  profile: string,
  more?: PathMore,
];

/** What requests of a path are counted and logged under: its object, and the service (`""`: none). */
export type PathSource = readonly [namespace: string, name: string, service: string];

/** What nginx's API takes: the whole state of one small thing, as rows.lua reads it. */
export type NginxRow =
  | {
      readonly k: "cluster";
      readonly cluster: string;
      readonly state: FleetCluster["state"];
      /** Drained also where no other cluster has peers. */
      readonly forced?: true;
    }
  | {
      readonly k: "upstream";
      readonly id: string;
      /** Seconds in which the share of a peer grows that is new or back. */
      readonly slow?: number;
      /** Requests in hand at a peer at most. */
      readonly connections?: number;
      /** Percent of its peers below which all are asked. */
      readonly panic?: number;
    }
  | {
      readonly k: "peers";
      readonly upstream: string;
      readonly cluster: string;
      readonly share?: number;
      readonly rank?: number;
      readonly peers: readonly PeerEntry[];
    }
  | {
      readonly k: "route";
      readonly host: string;
      readonly paths: readonly PathEntry[];
      /** Secret that is shown to TLS clients. */
      readonly certificate?: string;
      readonly clients?: HostClients;
      readonly sources?: readonly PathSource[];
      /** For each path the place of its source, from 1. */
      readonly of?: readonly number[];
    }
  | NginxSecret
  | NginxRemoval;

/** A secret in clear, PEM as SecretRow has it. Kept in nginx's memory and in one file; never told to anybody. */
export interface NginxSecret {
  readonly k: "secret";
  readonly id: string;
  readonly chain?: string;
  readonly key?: string;
  readonly authorities?: string;
  readonly users?: NonNullable<SealedContents["users"]>;
}

export type NginxRemoval =
  | { readonly k: "cluster"; readonly cluster: string; readonly del: true }
  | { readonly k: "upstream"; readonly id: string; readonly del: true }
  | { readonly k: "peers"; readonly upstream: string; readonly cluster: string; readonly del: true }
  | { readonly k: "route"; readonly host: string; readonly del: true }
  | { readonly k: "secret"; readonly id: string; readonly del: true };

/** Where a service is that is asked of requests (auth-url): the agent's own, of no fleet record. */
export type NginxNameRow =
  | { readonly k: "name"; readonly name: string; readonly addresses: readonly string[] }
  | { readonly k: "name"; readonly name: string; readonly del: true };

/** Names a row without its contents. */
export type NginxRowName =
  | { readonly k: "cluster"; readonly cluster: string }
  | { readonly k: "upstream"; readonly id: string }
  | { readonly k: "peers"; readonly upstream: string; readonly cluster: string }
  | { readonly k: "route"; readonly host: string }
  | { readonly k: "secret"; readonly id: string };

/** One text per row, whatever is in it. No name holds a blank. */
export function rowKey(row: NginxRowName): string {
  switch (row.k) {
    case "cluster":
      return `cluster ${row.cluster}`;
    case "upstream":
      return `upstream ${row.id}`;
    case "peers":
      return `peers ${row.upstream} ${row.cluster}`;
    case "route":
      return `route ${row.host}`;
    case "secret":
      return `secret ${row.id}`;
  }
}

export function removal(row: NginxRowName): NginxRemoval {
  switch (row.k) {
    case "cluster":
      return { k: "cluster", cluster: row.cluster, del: true };
    case "upstream":
      return { k: "upstream", id: row.id, del: true };
    case "peers":
      return { k: "peers", upstream: row.upstream, cluster: row.cluster, del: true };
    case "route":
      return { k: "route", host: row.host, del: true };
    case "secret":
      return { k: "secret", id: row.id, del: true };
  }
}

function redirectEntry({ code, to, keeps }: Redirect): NonNullable<PathMore["redirect"]> {
  return keeps === undefined ? [code, to] : [code, to, keeps];
}

function accessEntry({ allow, deny, ...rest }: Access): NonNullable<PathMore["access"]> {
  return {
    ...rest,
    ...(allow === undefined ? {} : { allow: packRanges(allow) }),
    ...(deny === undefined ? {} : { deny: packRanges(deny) }),
  };
}

function limitsEntry({ except, ...rest }: Limits): NonNullable<PathMore["limits"]> {
  return except === undefined ? rest : { ...rest, except: packRanges(except) };
}

export function upstreamRow({ id, slowStartMs, maxConnections, panicPercent }: UpstreamRow): NginxRow {
  return {
    k: "upstream",
    id,
    ...(slowStartMs === undefined ? {} : { slow: Math.ceil(slowStartMs / 1000) }),
    ...(maxConnections === undefined ? {} : { connections: maxConnections }),
    ...(panicPercent === undefined ? {} : { panic: panicPercent }),
  };
}

const policyKeys: ReadonlySet<string> = new Set(Object.keys(PathPolicy.properties));

export function pathEntry(path: RoutePath, profile: string): PathEntry {
  const { redirect, spare } = path;
  const { access, limits, ...policy }: PathPolicy = Object.fromEntries(
    Object.entries(path).filter(([key]) => policyKeys.has(key)),
  );
  const more: PathMore = {
    ...policy,
    ...(access === undefined ? {} : { access: accessEntry(access) }),
    ...(limits === undefined ? {} : { limits: limitsEntry(limits) }),
    ...(redirect === undefined ? {} : { redirect: redirectEntry(redirect) }),
    ...(spare === undefined ? {} : { spare }),
  };
  const type = path.regex === true ? "R" : path.type === "Exact" ? "E" : "P";
  const entry = [type, path.path, path.upstream ?? "", profile] as const;
  return Object.keys(more).length === 0 ? entry : [...entry, more];
}

/**
 * Microseconds that a worker needs for a row, roughly (measured: 15 for a row, 2 for a peer or a path, 10 for a regular expression): rows go in
 * requests of at most BATCH_COST, because a worker that applies rows serves nobody.
 */
export function costOf(row: NginxRow): number {
  if ("del" in row) return 10;
  if (row.k === "peers") return 15 + 2 * row.peers.length;
  if (row.k === "route") return 15 + row.paths.reduce((sum, [type]) => sum + (type === "R" ? 10 : 2), 0);
  // Its chain and key are read and held against each other: OpenSSL takes its time for that.
  if (row.k === "secret") return 1000;
  return 10;
}

export const BATCH_COST = 4000;
