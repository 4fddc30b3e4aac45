import Type from "typebox";

const Milliseconds = Type.Integer({ minimum: 50, maximum: 3_600_000 });
const Status = Type.Integer({ minimum: 100, maximum: 599 });
const Times = Type.Integer({ minimum: 1, maximum: 100 });

/** How proxies ask peers whether they serve. A kind that a reader does not know means that nobody asks. */
export const HealthCheck = Type.Object({
  /** `http` (with `path`), `tcp` or `grpc` (grpc.health.v1); `https` and `grpcs` the same by TLS, as routes speak it to these peers. */
  kind: Type.String({ pattern: "^[a-z]{1,16}$" }),
  /** http, https: what is asked for, and under which name; absent: the peer's address. */
  path: Type.Optional(Type.String({ pattern: "^/[\\x21-\\x7e]*$", maxLength: 2048 })),
  host: Type.Optional(Type.String({ pattern: "^[0-9A-Za-z._:\\[\\]-]+$", maxLength: 259 })),
  /** http: the first and the last status that count as well; absent: 200 and 399. */
  statusFrom: Type.Optional(Status),
  statusTo: Type.Optional(Status),
  /** grpc: the service that is asked about; absent: the server as a whole. */
  service: Type.Optional(Type.String({ pattern: "^[0-9A-Za-z._/-]+$", maxLength: 253 })),
  intervalMs: Milliseconds,
  /** Of one check, from the connection to the answer. */
  timeoutMs: Milliseconds,
  /** Checks missed in a row until a peer is out, and passed in a row until it is back. */
  misses: Times,
  passes: Times,
});
export type HealthCheck = Type.Static<typeof HealthCheck>;

/** How an upstream treats its peers, whatever route leads there. */
export const PeerPolicy = Type.Object({
  check: Type.Optional(HealthCheck),
  /** Time in which the share of a peer that is new, or back, grows from a tenth to all of it. */
  slowStartMs: Type.Optional(Type.Integer({ minimum: 1000, maximum: 3_600_000 })),
  /** Requests that one proxy has in hand at a peer at any time. */
  maxConnections: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000 })),
  /** Where a smaller share of the peers than this is sound all are asked. Absent: where none is. */
  panicPercent: Type.Optional(Type.Integer({ minimum: 0, maximum: 100 })),
});
export type PeerPolicy = Type.Static<typeof PeerPolicy>;
