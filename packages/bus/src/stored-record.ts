import { BadRecordError, decodeEnvelope, type Envelope, type TableSpec } from "@sluice/contracts";
import type { Logger } from "@sluice/service-kit";
import type { StoredEntry } from "./store.ts";

/** What lies at a key of a part, as its holder compares it with what is wanted. */
export interface There {
  readonly revision: number;
  /** null: a record that does not parse; it is a difference whatever is wanted. */
  readonly epochId: string | null;
  /** null: a tombstone. */
  readonly text: string | null;
  readonly storedAt: number;
  /** What its writer had acted upon; undefined: it does not say. */
  readonly source?: Readonly<Record<string, number>> | undefined;
}

export function readThere(spec: TableSpec, entry: StoredEntry, log: Logger): There {
  const { key, revision, storedAt } = entry;
  const subject = `${spec.name}/${key}`;
  const schema = spec.schemaOf(key);
  try {
    if (schema === null) throw new BadRecordError(`${subject}: not a key of this table`);
    const envelope = decodeEnvelope(schema, entry.value, subject);
    const text = envelope.deleted === true ? null : JSON.stringify(envelope.data);
    const { epoch, source } = envelope;
    return { revision, storedAt, epochId: epoch?.id ?? null, text, source };
  } catch (error) {
    if (!(error instanceof BadRecordError)) throw error;
    log.warn({ err: error, table: spec.name }, "a record in our part is unreadable");
    return { revision, storedAt, epochId: null, text: "" };
  }
}

/** The record itself; undefined: nothing, a tombstone, or what does not parse. */
export function recordOf(there: There | undefined): unknown {
  return there?.text ? JSON.parse(there.text) : undefined;
}

/** The newest of each kind over all records; null when one of them does not say. */
export function sourcesOf(records: Iterable<There>): Map<string, number> | null {
  const newest = new Map<string, number>();
  for (const { source } of records) {
    if (source === undefined) return null;
    for (const [kind, version] of Object.entries(source)) {
      if (version > (newest.get(kind) ?? -1)) newest.set(kind, version);
    }
  }
  return newest;
}

/** An envelope around a record that is JSON already; null: a tombstone. */
export function encodeRecord(
  { epoch, trace, source }: { [K in "epoch" | "trace" | "source"]: Envelope<never>[K] | undefined },
  text: string | null,
): Uint8Array {
  // What is undefined JSON leaves out.
  const head = JSON.stringify({ v: 1, epoch, trace, source, ...(text === null ? { deleted: true } : {}) });
  return Buffer.from(text === null ? head : `${head.slice(0, -1)},"data":${text}}`);
}
