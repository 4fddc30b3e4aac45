import { DiscardPolicy, RetentionPolicy, StorageType, type StreamConfig } from "@nats-io/jetstream";
import {
  acceptedSubject,
  allTables,
  bootTable,
  checkpointBucket,
  eventStream,
  loggedTables,
  logStream,
  logSubject,
  streamOf,
  subjectOf,
  type TableSpec,
} from "@sluice/contracts";

/** What a setting must be, as the server echoes it; null: not there at all. */
export type Settings = {
  readonly [K in keyof StreamConfig]?: StreamConfig[K] | null;
} & { readonly name: string };

/** A stream as Sluice needs it. Copies are not among its settings: more than asked for do no harm. */
export interface Asset {
  readonly settings: Settings;
  /** Only when it is created; whoever runs the bus may change these. */
  readonly limits?: { readonly max_bytes: number; readonly max_age: number };
  /** Its loss is the loss of what holders wrote: claims on what is left mean nothing. */
  readonly holdsTable: boolean;
}

/** What no stream of Sluice has, by default. A server that does not know a setting echoes none. */
const plain = {
  retention: RetentionPolicy.Limits,
  max_msgs: -1,
  max_msg_size: -1,
  max_consumers: -1,
  // Nothing is lost unseen.
  no_ack: false,
  sealed: false,
  discard_new_per_subject: false,
  deny_delete: false,
  deny_purge: false,
  // One message of a stranger's could empty the stream, or let others vanish later.
  allow_rollup_hdrs: false,
  allow_msg_ttl: false,
  allow_msg_schedules: false,
  allow_msg_counter: false,
  // What is stored is what a writer of ours published here, under its own subject.
  mirror: null,
  sources: null,
  subject_transform: null,
  republish: null,
} satisfies Partial<Settings>;

/** What stands on the bus beside the tables. */
const streams: readonly Asset[] = [
  {
    settings: {
      ...plain,
      ...unbounded(logStream.name),
      // One process puts here what the server says that it has stored in the tables.
      subjects: loggedTables.flatMap(({ name, logged }) =>
        (logged ?? []).map((keys) => logSubject(name, keys)),
      ),
      discard: DiscardPolicy.Old,
    },
    limits: { max_bytes: logStream.maxBytes, max_age: logStream.maxAgeSeconds * 1e9 },
    holdsTable: false,
  },
  {
    settings: {
      ...plain,
      ...unbounded(eventStream.name),
      subjects: [`${eventStream.prefix}>`],
      discard: DiscardPolicy.Old,
    },
    limits: { max_bytes: eventStream.maxBytes, max_age: eventStream.maxAgeSeconds * 1e9 },
    holdsTable: false,
  },
  {
    // An object store by NATS's own convention (ADR-20), so that `nats object` shows it.
    settings: {
      ...plain,
      ...unbounded(`OBJ_${checkpointBucket}`),
      subjects: [`$O.${checkpointBucket}.C.>`, `$O.${checkpointBucket}.M.>`],
      max_bytes: -1,
      discard: DiscardPolicy.New,
      allow_rollup_hdrs: true,
    },
    holdsTable: false,
  },
];

function unbounded(name: string) {
  return { name, storage: StorageType.File, max_msgs_per_subject: -1 };
}

function bucketOf(spec: TableSpec): Asset {
  return {
    settings: {
      ...plain,
      name: streamOf(spec),
      subjects: [subjectOf(spec, ">")],
      storage: spec.storage === "file" ? StorageType.File : StorageType.Memory,
      // One value a key: what readers believe rests on that.
      max_msgs_per_subject: 1,
      max_bytes: -1,
      // A full bucket is an error that is seen, never a record that silently vanishes.
      discard: DiscardPolicy.New,
      max_age: (spec.ttlSeconds ?? 0) * 1e9,
      allow_direct: true,
      ...(spec.logged === undefined
        ? {}
        : { republish: { src: subjectOf(spec, ">"), dest: acceptedSubject(spec.name, ">") } }),
    },
    holdsTable: spec.storage === "file",
  };
}

/**
 * Every stream of Sluice, in the order in which they are made: what takes the tables' records comes before the tables,
 * and `boot` last, because whoever finds it takes the rest to be there.
 */
export const assetGroups: readonly (readonly Asset[])[] = [
  streams,
  allTables.filter((table) => table !== bootTable).map(bucketOf),
  [bucketOf(bootTable)],
];
