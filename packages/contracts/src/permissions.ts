import { encodeToken, fleetKeys, plainKeys, sliceKeys } from "./keys.ts";
import { acceptedSubject, checkpointBucket, eventStream, logStream } from "./log.ts";
import { streamOf, subjectOf } from "./subjects.ts";
import {
  allTables,
  bootTable,
  clustersTable,
  fleetTable,
  intentsTable,
  loggedTables,
  membersTable,
  proxiesTable,
  slicesTable,
  type TableSpec,
  topologyTable,
  verdictsTable,
} from "./tables.ts";

/**
 * Whoever speaks on the bus; each has a credential of its own. `replay` feeds a recording into a bus, `operator` is a
 * person with a tool: it reaches every table, and nothing that is not Sluice's.
 */
export const busComponents = [
  "member-watcher",
  "aggregator",
  "config-renderer",
  "proxy-agent",
  "topology-gateway",
  "propagator",
  "replay",
  "operator",
] as const;
export type BusComponent = (typeof busComponents)[number];

/** One credential: a component, and what of the bus it is for. */
export interface BusUser {
  readonly component: BusComponent;
  /** The clusters that a member-watcher serves. */
  readonly members?: readonly string[];
  /** The fleet that a config-renderer writes, or that a proxy-agent belongs to. */
  readonly fleet?: string;
  /** The name of a proxy within its fleet. */
  readonly proxy?: string;
}

/** What a component does with one table. */
export interface Reach {
  readonly table: TableSpec;
  /** NATS filters over keys; `>` is the whole table. */
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  /** Removes old tombstones. NATS lets nobody say whose: it is a right over the whole table. */
  readonly reaps?: true;
}

const ALL = [">"];
const NONE: readonly string[] = [];

/** The one place that says who reads and writes what; docs/reference/bus.md shows it as a table. */
function tableReach(user: BusUser): Reach[] {
  const members = user.members ?? NONE;
  const fleet = user.fleet ?? "default";
  const proxy = user.proxy ?? "*";
  switch (user.component) {
    case "member-watcher":
      return [
        {
          table: slicesTable,
          reads: members.map(sliceKeys.filterOf),
          writes: members.map(sliceKeys.filterOf),
        },
        {
          table: clustersTable,
          reads: members.map(plainKeys.cluster),
          writes: members.map(plainKeys.cluster),
        },
        { table: verdictsTable, reads: members.map((name) => `${encodeToken(name)}.>`), writes: NONE },
        { table: intentsTable, reads: members.map((name) => plainKeys.intent("*", name)), writes: NONE },
      ];
    case "aggregator":
      return [
        // It writes a cluster's part once that cluster is gone for good, and removes what old tombstones are there:
        // a member's own credential cannot.
        { table: slicesTable, reads: ALL, writes: ALL, reaps: true },
        { table: clustersTable, reads: ALL, writes: ALL },
        { table: verdictsTable, reads: ALL, writes: ALL },
        { table: topologyTable, reads: ALL, writes: ALL, reaps: true },
        { table: intentsTable, reads: ALL, writes: NONE },
        // For the checkpoints.
        { table: fleetTable, reads: ALL, writes: NONE },
      ];
    case "config-renderer":
      return [
        { table: topologyTable, reads: ALL, writes: NONE },
        { table: clustersTable, reads: ALL, writes: NONE },
        { table: intentsTable, reads: ALL, writes: NONE },
        { table: proxiesTable, reads: [`${encodeToken(fleet)}.*`], writes: NONE },
        {
          table: fleetTable,
          reads: [fleetKeys.filterOf(fleet)],
          writes: [fleetKeys.filterOf(fleet)],
          reaps: true,
        },
      ];
    case "proxy-agent":
      return [
        { table: fleetTable, reads: [fleetKeys.filterOf(fleet)], writes: NONE },
        {
          table: proxiesTable,
          reads: NONE,
          writes: [proxy === "*" ? `${encodeToken(fleet)}.*` : plainKeys.proxy(fleet, proxy)],
        },
      ];
    case "topology-gateway":
      return [
        ...[slicesTable, clustersTable, verdictsTable, topologyTable, fleetTable, proxiesTable].map(
          (table) => ({
            table,
            reads: ALL,
            writes: NONE,
          }),
        ),
        { table: intentsTable, reads: ALL, writes: ALL },
      ];
    case "propagator":
      return [];
    case "operator":
      return allTables
        .filter((table) => table !== bootTable && table !== membersTable)
        .map((table) => ({ table, reads: ALL, writes: ALL, reaps: true }));
    case "replay":
      return [slicesTable, clustersTable, intentsTable].map((table) => ({ table, reads: ALL, writes: ALL }));
  }
}

/** Who may create what is missing on the bus: those beside the hub. A member waits for them. */
const provisioners: readonly BusComponent[] = [
  "aggregator",
  "config-renderer",
  "topology-gateway",
  "replay",
  "operator",
];

/** Whose heartbeats a component hears: its own role's, to share work with it. */
function membersRead(component: BusComponent): readonly string[] {
  if (component === "topology-gateway" || component === "operator") return ALL;
  // A recording is not fed into a bus that somebody lives on.
  return component === "replay" ? ["replay.*", "member-watcher.*"] : [`${component}.*`];
}

/** Everything that a credential is for, table by table. */
export function reachOf(user: BusUser): Reach[] {
  const { component } = user;
  return [
    ...tableReach(user),
    {
      table: membersTable,
      reads: membersRead(component),
      writes: component === "operator" ? ALL : [`${component}.*`],
    },
    { table: bootTable, reads: ALL, writes: provisioners.includes(component) ? ["id"] : NONE },
  ];
}

/** Whether a component may ask for any key of a table at its stream's leader; else it asks by key, at any replica. */
export function readsWhole(component: BusComponent, table: TableSpec): boolean {
  return reachOf({ component }).some((reach) => reach.table === table && reach.reads.includes(">"));
}

/**
 * Whether a component may ask how a table's stream stands. That tells names of keys, too, so a member may not: it
 * would learn what others export.
 */
export function readsState(component: BusComponent, table: TableSpec): boolean {
  if (provisioners.includes(component)) return true;
  return readsWhole(component, table) || (component === "proxy-agent" && table === fleetTable);
}

/** Whether a component may remove old tombstones of a table. Others leave that to the aggregator. */
export function reapsTable(component: BusComponent, table: TableSpec): boolean {
  return reachOf({ component }).some((reach) => reach.table === table && reach.reaps === true);
}

export function provisions(component: BusComponent): boolean {
  return provisioners.includes(component);
}

/** Streams beside the tables: the log that the servers write, its checkpoints, and the events for others. */
const history = {
  log: { stream: logStream.name, subjects: `${logStream.prefix}>` },
  events: { stream: eventStream.name, subjects: `${eventStream.prefix}>` },
  checkpoints: { stream: `OBJ_${checkpointBucket}`, subjects: `$O.${checkpointBucket}.>` },
} as const;

/** Every stream of Sluice on the bus. */
export function allStreams(): string[] {
  return [...allTables.map(streamOf), ...Object.values(history).map(({ stream }) => stream)];
}

export interface BusPermissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

/** Where answers come to the holder of an nkey, and to nobody else. */
export function inboxPrefixOf(publicKey: string): string {
  return `_INBOX_${publicKey}`;
}

/** A credential's name, e.g. `member-watcher-member1`: that of its file. */
export function busUserName(user: BusUser): string {
  const { component, members = [], fleet, proxy } = user;
  // Several members in one credential are one process's; their names would not fit into a file's.
  const member = members.length === 1 ? members[0] : undefined;
  return [component, member, fleet, proxy].filter((part) => part !== undefined && part !== "").join("-");
}

/** The subjects that a credential needs, and no others. */
export function permissionsOf(user: BusUser, publicKey: string): BusPermissions {
  const { component } = user;
  const publish = reachOf(user).flatMap((reach) => tableSubjects(component, reach));
  if (provisions(component)) {
    publish.push(
      ...allStreams().flatMap((stream) => [
        `$JS.API.STREAM.INFO.${stream}`,
        `$JS.API.STREAM.CREATE.${stream}`,
      ]),
    );
  }
  // Adds copies to what is there already; see assets.ts in packages/bus.
  if (component === "aggregator")
    publish.push(...allStreams().map((stream) => `$JS.API.STREAM.UPDATE.${stream}`));
  publish.push(...historySubjects(component));
  return {
    publish: [...new Set(publish)].sort(),
    subscribe: [`${inboxPrefixOf(publicKey)}.>`, ...heardBy(component)],
  };
}

function tableSubjects(component: BusComponent, { table, reads, writes, reaps }: Reach): string[] {
  const stream = streamOf(table);
  const subjects = writes.map((key) => subjectOf(table, key));
  if (readsState(component, table)) subjects.push(`$JS.API.STREAM.INFO.${stream}`);
  if (reaps === true) subjects.push(`$JS.API.STREAM.MSG.DELETE.${stream}`);
  if (reads.length === 0) return subjects;
  const followed = reads.map((key) => `$JS.API.CONSUMER.CREATE.${stream}.*.${subjectOf(table, key)}`);
  const asked = reads.map((key) =>
    key === ">"
      ? `$JS.API.STREAM.MSG.GET.${stream}`
      : `$JS.API.DIRECT.GET.${stream}.${subjectOf(table, key)}`,
  );
  return [...subjects, ...followed, ...asked, flowControl(stream)];
}

/** What a consumer asks of its reader when it is ahead; the answer says no more than "go on". */
function flowControl(stream: string): string {
  return `$JS.FC.${stream}.>`;
}

/** What the server tells of what it has accepted, for the log. */
function heardBy(component: BusComponent): string[] {
  if (component !== "aggregator") return [];
  return loggedTables.flatMap(({ name, logged }) =>
    (logged ?? []).map((keys) => acceptedSubject(name, keys)),
  );
}

function historySubjects(component: BusComponent): string[] {
  const read = ({ stream, subjects }: { readonly stream: string; readonly subjects: string }) => [
    `$JS.API.STREAM.INFO.${stream}`,
    `$JS.API.STREAM.MSG.GET.${stream}`,
    `$JS.API.DIRECT.GET.${stream}.>`,
    `$JS.API.CONSUMER.CREATE.${stream}.*.${subjects}`,
    // The client's own consumers, as the object store uses them, are asked for and removed by name.
    `$JS.API.CONSUMER.INFO.${stream}.*`,
    `$JS.API.CONSUMER.DELETE.${stream}.*`,
    `$JS.API.CONSUMER.MSG.NEXT.${stream}.*`,
    flowControl(stream),
  ];
  const { log, events, checkpoints } = history;
  // A checkpoint reads every logged table whole, through consumers of the client's own.
  const whole = loggedTables.flatMap((table) => [
    `$JS.API.STREAM.MSG.GET.${streamOf(table)}`,
    ...read({ stream: streamOf(table), subjects: subjectOf(table, ">") }),
  ]);
  if (component === "topology-gateway") return [...read(log), ...read(checkpoints)];
  if (component === "operator") return [...read(log), ...read(checkpoints), ...read(events)];
  if (component !== "aggregator") return [];
  // A checkpoint pulls whole tables, so that it holds no more of them than it can write.
  const pulled = loggedTables
    .map(streamOf)
    .flatMap((stream) => [
      `$JS.API.CONSUMER.INFO.${stream}.*`,
      `$JS.API.CONSUMER.DELETE.${stream}.*`,
      `$JS.API.CONSUMER.MSG.NEXT.${stream}.*`,
    ]);
  return [
    ...pulled,
    // Of several aggregators one feeds the log.
    log.subjects,
    ...whole,
    ...read(log),
    ...read(checkpoints),
    `$JS.API.STREAM.INFO.${events.stream}`,
    `$JS.API.STREAM.MSG.GET.${events.stream}`,
    events.subjects,
    checkpoints.subjects,
    // Old checkpoints go by their chunks' subject.
    `$JS.API.STREAM.PURGE.${checkpoints.stream}`,
  ];
}
