import Type from "typebox";
import { ClusterChange } from "./cluster-events.ts";
import { eventStream } from "./log.ts";
import { Peer, type TopologyPeers, type TopologyService } from "./records.ts";
import type { TopologyValue } from "./tables.ts";

// What happens to services, as events: one for each change of a record of `topology`.

/** The last token of an event's type; `docs/reference/log.md` says when each is seen. */
export const ServiceEventType = Type.Union([
  Type.Literal("service-added"),
  Type.Literal("service-changed"),
  Type.Literal("service-removed"),
  Type.Literal("cluster-added"),
  Type.Literal("peers-changed"),
  Type.Literal("cluster-removed"),
]);
export type ServiceEventType = Type.Static<typeof ServiceEventType>;

const PeerOfPort = Type.Intersect([Peer, Type.Object({ portName: Type.String() })]);
type PeerOfPort = Type.Static<typeof PeerOfPort>;

const Text = Type.String();

/** One accepted change of a service, or of its peers in one cluster. */
export const ServiceChange = Type.Object({
  type: ServiceEventType,
  namespace: Text,
  service: Text,
  /** Absent where the service as a whole is meant. */
  cluster: Type.Optional(Text),
  added: Type.Array(PeerOfPort),
  removed: Type.Array(PeerOfPort),
  /** Peers that began, or ceased, to drain. */
  altered: Type.Array(PeerOfPort),
  /** Addresses afterwards, draining ones included; of a service as a whole: clusters. */
  count: Type.Integer({ minimum: 0 }),
  /** What of the service changed, for people. */
  notes: Type.Array(Text),
});
export type ServiceChange = Type.Static<typeof ServiceChange>;

/** The same with its place in the log. */
export const HistoryEntry = Type.Object({
  seq: Type.Integer({ minimum: 0 }),
  /** When the log took it, ms since 1970. */
  at: Type.Number({ minimum: 0 }),
  /** Of the record in its table; of the claim where an absence was believed. */
  revision: Type.Integer({ minimum: 0 }),
  /** `<boot>:<revision>`, and the key where several changes share a revision. */
  id: Text,
  /** Trace id of the watch event that it began with. */
  trace: Type.Optional(Text),
  change: Type.Union([ServiceChange, ClusterChange]),
});
export type HistoryEntry = Type.Static<typeof HistoryEntry>;

/** An entry about a service. */
export type ServiceEntry = HistoryEntry & { readonly change: ServiceChange };

/**
 * A change with its place in the log. `record` is the revision of the entry that brought it about: a change that is
 * another's (an absence, believed of many keys at once) carries its key in its id.
 */
export function historyEntry<C extends HistoryEntry["change"]>(
  change: C,
  place: { readonly seq: number; readonly at: number; readonly boot: string; readonly record: number },
  of: { readonly key: string; readonly revision: number; readonly trace?: { readonly id: string } },
): HistoryEntry & { readonly change: C } {
  const { seq, at, boot, record } = place;
  const id = `${boot}:${of.revision}${of.revision === record ? "" : `:${of.key}`}`;
  return {
    seq,
    at,
    revision: of.revision,
    id,
    ...(of.trace === undefined ? {} : { trace: of.trace.id }),
    change,
  };
}

/** A change of the believed `topology` as an event; null where nothing is different for anybody. */
export function serviceChange(
  before: TopologyValue | undefined,
  after: TopologyValue | undefined,
): ServiceChange | null {
  const some = after ?? before;
  if (some === undefined) return null;
  return "cluster" in some
    ? peersChange(before as TopologyPeers | undefined, after as TopologyPeers | undefined)
    : wholeChange(before as TopologyService | undefined, after as TopologyService | undefined);
}

function peersChange(
  before: TopologyPeers | undefined,
  after: TopologyPeers | undefined,
): ServiceChange | null {
  const some = after ?? before;
  if (some === undefined) return null;
  const { namespace, service, cluster } = some;
  const was = peersOf(before);
  const is = peersOf(after);
  const added = [...is].filter(([id]) => !was.has(id)).map(([, peer]) => peer);
  const removed = [...was].filter(([id]) => !is.has(id)).map(([, peer]) => peer);
  const altered = [...is]
    .filter(([id, peer]) => was.has(id) && was.get(id)?.draining !== peer.draining)
    .map(([, peer]) => peer);
  const ports = Object.keys(after?.ports ?? {}).sort();
  const portsBefore = Object.keys(before?.ports ?? {}).sort();
  const notes =
    before !== undefined && after !== undefined && ports.join() !== portsBefore.join()
      ? [
          `ports ${portsBefore.map(portName).join(", ") || "none"} → ${ports.map(portName).join(", ") || "none"}`,
        ]
      : [];
  const type =
    before === undefined ? "cluster-added" : after === undefined ? "cluster-removed" : "peers-changed";
  if (type === "peers-changed" && added.length + removed.length + altered.length + notes.length === 0)
    return null;
  const addresses = new Set([...is.values()].map(({ address }) => address));
  return { type, namespace, service, cluster, added, removed, altered, count: addresses.size, notes };
}

function peersOf(row: TopologyPeers | undefined): Map<string, PeerOfPort> {
  const found = new Map<string, PeerOfPort>();
  for (const [name, peers] of Object.entries(row?.ports ?? {})) {
    for (const peer of peers) found.set(`${name} ${peer.address} ${peer.port}`, { ...peer, portName: name });
  }
  return found;
}

function wholeChange(
  before: TopologyService | undefined,
  after: TopologyService | undefined,
): ServiceChange | null {
  const some = after ?? before;
  if (some === undefined) return null;
  const { namespace, service } = some;
  const type =
    before === undefined ? "service-added" : after === undefined ? "service-removed" : "service-changed";
  const notes: string[] = [];
  if (type === "service-changed") {
    for (const [what, of] of Object.entries(aspects)) {
      const was = of(before);
      const is = of(after);
      if (was !== is) notes.push(`${what} ${was || "none"} → ${is || "none"}`);
    }
    if (notes.length === 0) return null;
  } else if (after !== undefined) {
    notes.push(`ports ${aspects.ports(after) || "none"}`, `clusters ${aspects.clusters(after) || "none"}`);
  }
  const count = after?.clusters.length ?? 0;
  return { type, namespace, service, added: [], removed: [], altered: [], count, notes };
}

type Aspect = (row: TopologyService | undefined) => string;
const aspects = {
  type: (row) => row?.type ?? "",
  ports: (row) => (row?.ports ?? []).map((p) => `${portName(p.name)}:${p.port}/${p.protocol}`).join(", "),
  clusters: (row) => (row?.clusters ?? []).join(", "),
  conflicts: (row) => (row?.conflicts ?? []).map((c) => `${c.cluster} ${c.field}`).join(", "),
} satisfies Record<string, Aspect>;

function portName(name: string): string {
  return name === "" ? "(unnamed)" : name;
}

/** An event in CloudEvents 1.0's structured JSON, with its `sequence` extension. */
export const CloudEvent = Type.Object({
  specversion: Type.Literal("1.0"),
  id: Text,
  source: Text,
  type: Text,
  /** `<namespace>/<service>`, or the cluster */
  subject: Text,
  /** RFC 3339 */
  time: Text,
  datacontenttype: Type.Literal("application/json"),
  /** The log's sequence, as the extension wants it: text that sorts. */
  sequence: Text,
  /** Trace id of the watch event that the change began with. */
  sluicetrace: Type.Optional(Text),
  data: Type.Union([ServiceChange, ClusterChange]),
});
export type CloudEvent = Type.Static<typeof CloudEvent>;

export function cloudEvent(entry: HistoryEntry): CloudEvent {
  const { change } = entry;
  const ofService = "service" in change;
  return {
    specversion: "1.0",
    id: entry.id,
    source: `/sluice/${tableOf(change)}`,
    type: `dev.sluice.v1.${change.type}`,
    subject: ofService ? `${change.namespace}/${change.service}` : change.cluster,
    time: new Date(entry.at).toISOString(),
    datacontenttype: "application/json",
    sequence: String(entry.seq).padStart(16, "0"),
    ...(entry.trace === undefined ? {} : { sluicetrace: entry.trace }),
    data: change,
  };
}

/** An id holds a revision of its table, so the table tells two of one number apart. */
function tableOf(change: HistoryEntry["change"]): string {
  if ("service" in change) return "topology";
  return change.fleet === undefined ? "intents" : "fleet";
}

/** `sluice.events.v1.<type>.<ns>.<svc>`; `name` makes a token of a Kubernetes name. */
export function eventSubject(change: ServiceChange, name: (text: string) => string): string {
  return `${eventStream.prefix}${change.type}.${name(change.namespace)}.${name(change.service)}`;
}
