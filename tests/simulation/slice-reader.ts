import { createBus, type Store } from "@sluice/bus/testing";
import {
  BadRecordError,
  Claim,
  decode,
  type Part,
  parseJson,
  slicesTable,
  type TableSpec,
} from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";
import { ShownSlices } from "./shown.ts";
import type { Truth } from "./truth.ts";
import type { ViolationName } from "./violation.ts";

type Sink = Parameters<Store["follow"]>[2];

interface NewestClaim {
  readonly n: number;
  readonly id: string;
  readonly revision: number;
}

export interface SliceReaderPorts {
  readonly name: string;
  readonly store: Store;
  readonly truth: Truth;
  violate(name: ViolationName, what: string): void;
}

/**
 * A reader of `slices` and nothing else, beside the services: it holds what it believes to the APIs as every nginx is
 * held to them, and each change to the rule that whoever lost a claim changes nothing.
 */
export async function runSliceReader(
  { name, store, truth, violate }: SliceReaderPorts,
  kit: Kit,
): Promise<void> {
  const shown = new ShownSlices(name, truth, violate);
  const claims = new Map<string, NewestClaim>();
  /** Of each record that was delivered: the epoch that it carries. */
  const epochs = new Map<number, string>();

  function note(key: string, value: Uint8Array, revision: number): void {
    const what = slicesTable.keys.classify(key);
    if (what.kind === "claim") {
      const { id } = decode(Claim, parseJson(value, key), key);
      const before = claims.get(partId(what.part));
      if ((before?.n ?? 0) < what.n) claims.set(partId(what.part), { n: what.n, id, revision });
    } else if (what.kind === "record") {
      const envelope = parseJson(value, key) as { epoch?: { id?: string } } | null;
      epochs.set(revision, envelope?.epoch?.id ?? "");
    }
  }

  const watched: Store = {
    get: (...args) => store.get(...args),
    put: (...args) => store.put(...args),
    removeMessage: (...args) => store.removeMessage(...args),
    lastRevision: (...args) => store.lastRevision(...args),
    boot: (signal) => store.boot(signal),
    close: () => store.close(),
    get connected() {
      return store.connected;
    },
    follow: (spec: TableSpec, filter: string, sink: Sink, signal: AbortSignal) => {
      const telling: Sink = {
        restart: (boot) => {
          claims.clear();
          epochs.clear();
          sink.restart(boot);
        },
        resumed: () => sink.resumed?.(),
        entry: (entry) => {
          try {
            note(entry.key, entry.value, entry.revision);
          } catch (error) {
            // Nonsense that was planted is no claim; what the reader makes of it is what is looked at.
            if (!(error instanceof BadRecordError)) throw error;
          }
          sink.entry(entry);
        },
        caughtUp: () => sink.caughtUp(),
        disconnected: () => sink.disconnected(),
      };
      return store.follow(spec, filter, telling, signal);
    },
  };

  const view = createBus(watched, "topology-gateway", kit).view(slicesTable, {
    onChange: (key, value, { revision }) => {
      const [cluster = "", , service, slice] = key.split(".");
      if (slice === "_export") return;
      const epoch = epochs.get(revision);
      const claim = claims.get(partId({ scope: cluster, shard: "0" }));
      if (epoch !== undefined && claim !== undefined && revision > claim.revision && epoch !== claim.id) {
        violate(
          "fenced-write",
          `${name}, ${key}: a record of another epoch came after claim ${claim.n} and counts`,
        );
      }
      const known = truth.slices.get(`${cluster}/${service}/${slice}`);
      if (known === undefined) return;
      const endpoints = value !== undefined && "endpoints" in value ? value.endpoints : [];
      shown.show(
        known,
        endpoints.flatMap(({ addresses }) => addresses),
      );
    },
  });
  await view.done;
}

function partId({ scope, shard }: Part): string {
  return `${scope}/${shard}`;
}
