import Type from "typebox";
import { Cidrs, Name } from "../record-parts.ts";
import { Peer } from "../records.ts";
import { PeerPolicy } from "./health.ts";

/** `fleet`, key `<fleet>.profiles.<hash>`: what needs a location of its own in nginx.conf. */
export const ProfileRow = Type.Object({
  hash: Type.String({ pattern: "^[0-9a-z]{1,64}$" }),
  settings: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()])),
});
export type ProfileRow = Type.Static<typeof ProfileRow>;

/** `fleet`, key `<fleet>.upstreams.<id>`: an import's port, as nginx balances over it. */
export const UpstreamRow = Type.Object({
  id: Type.String({ pattern: "^[0-9a-z-]{1,128}$" }),
  namespace: Name,
  service: Name,
  /** Port name in the slices. */
  port: Type.String(),
  balance: Type.Literal("round_robin"),
  ...PeerPolicy.properties,
});
export type UpstreamRow = Type.Static<typeof UpstreamRow>;

/** `fleet`, key `<fleet>.peers.<id>.<cluster>`. */
export const PeersRow = Type.Object({
  upstream: Type.String({ pattern: "^[0-9a-z-]{1,128}$" }),
  cluster: Name,
  /** Of all requests, beside the shares of the other clusters; 0: only where no other has peers. Absent: each peer counts. */
  share: Type.Optional(Type.Integer({ minimum: 0, maximum: 1000 })),
  /** Failover: those of the lowest rank are asked while any of them can be. Absent: 0. */
  rank: Type.Optional(Type.Integer({ minimum: 0, maximum: 15 })),
  peers: Type.Array(Peer, { maxItems: 100_000 }),
});
export type PeersRow = Type.Static<typeof PeersRow>;

/** `fleet`, key `<fleet>.clusters.<cluster>`: looked up per cluster, never baked into peers. */
export const FleetCluster = Type.Object({
  cluster: Name,
  state: Type.Union([
    Type.Literal("ok"),
    Type.Literal("stale"),
    Type.Literal("down"),
    Type.Literal("drained"),
  ]),
  /** Why it is not ok, for people. */
  reason: Type.Optional(Type.String()),
  /** Drained also where no other cluster has peers of an upstream. */
  forced: Type.Optional(Type.Literal(true)),
  /** CIDRs that its peers must be in; the agent holds them to it once more. */
  allowed: Cidrs,
});
export type FleetCluster = Type.Static<typeof FleetCluster>;
