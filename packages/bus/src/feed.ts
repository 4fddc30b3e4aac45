import {
  BadRecordError,
  Claim,
  decode,
  decodeEnvelope,
  type Envelope,
  type FencedTableSpec,
  Layout,
  type Part,
  parseJson,
  Synced,
} from "@sluice/contracts";
import type { Believer, Change } from "./believer.ts";
import type { StoredEntry } from "./store.ts";

/** What an entry was, and what it made of what is believed. */
export type Fed<T> =
  /** A claim, or that a part is synced: the part may be settled now, or no longer. */
  | { readonly kind: "part"; readonly part: Part }
  | { readonly kind: "layout"; readonly scope: string }
  | { readonly kind: "dropped"; readonly reason: string }
  | { readonly kind: "record"; readonly change: Change<T> | null };

/**
 * Delivers one entry of a fenced table to who believes.
 * @throws BadRecordError when it does not match its schema
 */
export function feed<T>(believer: Believer<T>, spec: FencedTableSpec<T>, entry: StoredEntry): Fed<T> {
  const { key, revision } = entry;
  const subject = `${spec.name}/${key}`;
  const what = spec.keys.classify(key);
  switch (what.kind) {
    case "claim": {
      const claim = decode(Claim, parseJson(entry.value, subject), subject);
      believer.claim(what.part, { ...claim, n: what.n, revision });
      return { kind: "part", part: what.part };
    }
    case "synced":
      believer.synced(what.part, decode(Synced, parseJson(entry.value, subject), subject).id);
      return { kind: "part", part: what.part };
    case "layout": {
      const { shards } = decode(Layout, parseJson(entry.value, subject), subject);
      believer.layout(what.scope, what.n, shards);
      return { kind: "layout", scope: what.scope };
    }
    case "foreign":
      return { kind: "dropped", reason: "foreign_key" };
    case "record": {
      const schema = spec.schemaOf(key);
      if (schema === null) return { kind: "dropped", reason: "foreign_key" };
      const envelope = decodeEnvelope(schema, entry.value, subject) as Envelope<T>;
      if (envelope.epoch === undefined) throw new BadRecordError(`${subject}: field /epoch is missing`);
      const outcome = believer.deliver({
        key,
        revision,
        epoch: envelope.epoch,
        ...(envelope.deleted === true ? {} : { value: envelope.data as T }),
        ...(envelope.trace === undefined ? {} : { trace: envelope.trace }),
      });
      if (outcome !== null && "dropped" in outcome) return { kind: "dropped", reason: outcome.dropped };
      return { kind: "record", change: outcome };
    }
  }
}
