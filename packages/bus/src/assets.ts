import {
  DiscardPolicy,
  JetStreamApiError,
  type JetStreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "@nats-io/jetstream";
import { BusAssetError, type TableSpec } from "@sluice/contracts";

/** A KV bucket's stream by NATS's own convention (ADR-8), so that `nats kv` shows it. */
export function streamOf(spec: TableSpec): string {
  return `KV_sluice_${spec.name}`;
}

export function subjectOf(spec: TableSpec, key: string): string {
  return `$KV.sluice_${spec.name}.${key}`;
}

function wanted(spec: TableSpec) {
  return {
    name: streamOf(spec),
    subjects: [subjectOf(spec, ">")],
    retention: RetentionPolicy.Limits,
    storage: spec.storage === "file" ? StorageType.File : StorageType.Memory,
    num_replicas: 1,
    // One value a key: what readers believe rests on that.
    max_msgs_per_subject: 1,
    max_msgs: -1,
    max_bytes: -1,
    // A full bucket is an error that is seen, never a record that silently vanishes.
    discard: DiscardPolicy.New,
    max_age: (spec.ttlSeconds ?? 0) * 1e9,
    allow_direct: true,
    allow_rollup_hdrs: true,
    // Old tombstones are removed by their sequence.
    deny_delete: false,
    deny_purge: false,
  } satisfies Partial<StreamConfig>;
}

const STREAM_NOT_FOUND = 10059;
const STREAM_NAME_IN_USE = 10058;

function code(error: unknown): number {
  return error instanceof JetStreamApiError ? error.code : 0;
}

/**
 * Creates what is missing and compares each bucket, as the server echoes it, with what Sluice needs.
 * @throws BusAssetError naming bucket, setting, what is there and what is needed
 */
export async function provision(jsm: JetStreamManager, specs: readonly TableSpec[]): Promise<void> {
  const failures = await Promise.all(specs.map((spec) => provisionOne(jsm, spec)));
  const differences = failures.flat();
  if (differences.length > 0) {
    throw new BusAssetError(
      `${differences.join("; ")}. Undo the change, or delete the bucket: it comes back.`,
    );
  }
}

async function provisionOne(jsm: JetStreamManager, spec: TableSpec): Promise<string[]> {
  const want = wanted(spec);
  for (;;) {
    try {
      const { config } = await jsm.streams.info(want.name);
      return differences(want, config);
    } catch (error) {
      if (code(error) !== STREAM_NOT_FOUND) throw error;
    }
    try {
      // Deduplication is not used; its window may not be longer than the age of messages.
      const window = Math.min(120e9, want.max_age || 120e9);
      await jsm.streams.add({ ...want, duplicate_window: window });
    } catch (error) {
      if (code(error) !== STREAM_NAME_IN_USE) throw error;
    }
  }
}

function differences(want: ReturnType<typeof wanted>, have: StreamConfig): string[] {
  const found: string[] = [];
  for (const [name, value] of Object.entries(want)) {
    const there = (have as unknown as Record<string, unknown>)[name] ?? (value === false ? false : undefined);
    if (JSON.stringify(there) !== JSON.stringify(value)) {
      found.push(`${want.name}: ${name} is ${JSON.stringify(there)}, needed is ${JSON.stringify(value)}`);
    }
  }
  return found;
}
