import { JetStreamApiError, type JetStreamManager, PubHeaders } from "@nats-io/jetstream";
import { headers } from "@nats-io/transport-node";
import { streamOf, subjectOf, type TableSpec } from "@sluice/contracts";
import type { NatsPublisher } from "./nats-publisher.ts";
import { isRelayed } from "./ordered-tail.ts";
import type { PutResult, StoredEntry } from "./store.ts";

/** JetStream's "wrong last sequence": somebody else wrote the key first. */
const WRONG_LAST_SEQUENCE = new Set([10071, 10164]);
const STREAM_NOT_FOUND = 10059;

/** The newest message of a key as the stream's leader has it. */
export async function leaderMessage(
  jsm: JetStreamManager,
  spec: TableSpec,
  key: string,
): Promise<StoredEntry | null> {
  const found = await jsm.streams.getMessage(streamOf(spec), { last_by_subj: subjectOf(spec, key) });
  if (found === null) return null;
  return { ...stored(spec, found), ...(isRelayed(found.header) && { value: new Uint8Array() }) };
}

interface Message {
  readonly subject: string;
  readonly seq: number;
  readonly time: Date;
  readonly data: Uint8Array;
}

export function stored(spec: TableSpec, found: Message): StoredEntry {
  return {
    key: found.subject.slice(subjectOf(spec, "").length),
    value: found.data,
    revision: found.seq,
    storedAt: found.time.getTime(),
  };
}

export async function putMessage(
  publisher: NatsPublisher,
  spec: TableSpec,
  key: string,
  value: Uint8Array,
  expected: number | null,
): Promise<PutResult> {
  try {
    // No Nats-Msg-Id: deduplication would swallow the third write of A, deleted, A.
    const subject = subjectOf(spec, key);
    const named = expected === null ? undefined : headers();
    named?.set(PubHeaders.ExpectedLastSubjectSequenceHdr, String(expected));
    const revision = await publisher.publish({ subject, value, ...(named && { headers: named }) });
    return { ok: true, revision };
  } catch (error) {
    if (error instanceof JetStreamApiError && WRONG_LAST_SEQUENCE.has(error.code)) return { ok: false };
    throw error;
  }
}

/** The stream that was asked is not there. */
export function isMissing(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND;
}
