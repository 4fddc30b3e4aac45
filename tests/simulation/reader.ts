import { createBus, type Store } from "@sluice/bus/testing";
import {
  BadRecordError,
  Claim,
  decode,
  type FencedTableSpec,
  fleetTable,
  Layout,
  type Part,
  parseJson,
  slicesTable,
  type TableSpec,
  topologyTable,
} from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";
import { ShownSlices } from "./shown.ts";
import type { Truth } from "./truth.ts";
import type { ViolationName } from "./violation.ts";

type Sink = Parameters<Store["follow"]>[2];

interface Newest {
  readonly n: number;
  readonly revision: number;
}

interface NewestClaim extends Newest {
  readonly id: string;
}

interface NewestLayout extends Newest {
  readonly shards: number;
}

export interface ReaderPorts {
  readonly name: string;
  readonly store: Store;
  readonly truth: Truth;
  /** Ms of virtual time. */
  now(): number;
  violate(name: ViolationName, what: string): void;
}

/** What of a fenced table was delivered to one consumer: who had claimed what, and under which epoch each record came. */
class Delivered {
  readonly #spec: FencedTableSpec<unknown>;
  readonly #claims = new Map<string, NewestClaim>();
  readonly #layouts = new Map<string, NewestLayout>();
  /** By revision. */
  readonly #epochs = new Map<number, string>();

  constructor(spec: FencedTableSpec<unknown>) {
    this.#spec = spec;
  }

  restart(): void {
    this.#claims.clear();
    this.#layouts.clear();
    this.#epochs.clear();
  }

  /** @throws BadRecordError for what nobody can read */
  note(key: string, value: Uint8Array, revision: number): void {
    const what = this.#spec.keys.classify(key);
    if (what.kind === "claim") {
      const { id } = decode(Claim, parseJson(value, key), key);
      const part = partId(what.part);
      if ((this.#claims.get(part)?.n ?? 0) < what.n) this.#claims.set(part, { n: what.n, id, revision });
    } else if (what.kind === "layout") {
      const { shards } = decode(Layout, parseJson(value, key), key);
      if ((this.#layouts.get(what.scope)?.n ?? 0) < what.n) {
        this.#layouts.set(what.scope, { n: what.n, shards, revision });
      }
    } else if (what.kind === "record") {
      const envelope = parseJson(value, key) as { epoch?: { id?: string } } | null;
      this.#epochs.set(revision, envelope?.epoch?.id ?? "");
    }
  }

  /** The claim that a record breaks which came after it under another epoch; null: none. */
  broken(key: string, revision: number): NewestClaim | null {
    const what = this.#spec.keys.classify(key);
    const epoch = this.#epochs.get(revision);
    if (what.kind !== "record" || epoch === undefined) return null;
    const layout = this.#layouts.get(what.scope);
    const shard = this.#spec.keys.shardOf(what.spread, layout?.shards ?? this.#spec.keys.defaultShards);
    const claim = this.#claims.get(partId({ scope: what.scope, shard }));
    // A layout voids the claims from before it; what comes then is judged by the next.
    if (claim === undefined || claim.revision < (layout?.revision ?? 0)) return null;
    return revision > claim.revision && epoch !== claim.id ? claim : null;
  }
}

/**
 * A reader of every fenced table and nothing else, beside the services: it holds each change to the rule that whoever
 * lost a claim changes nothing, and what it believes of `slices` to the APIs as every nginx is held to them.
 */
export async function runReader({ name, store, truth, now, violate }: ReaderPorts, kit: Kit): Promise<void> {
  const shown = new ShownSlices(name, truth, now, violate);

  function show(key: string, value: { endpoints?: readonly { addresses: readonly string[] }[] } | undefined) {
    const [cluster = "", , service, slice] = key.split(".");
    const known = truth.slices.get(`${cluster}/${service}/${slice}`);
    if (known === undefined) return;
    shown.show(
      known,
      (value?.endpoints ?? []).flatMap(({ addresses }) => addresses),
    );
  }

  async function read<T>(
    spec: FencedTableSpec<T>,
    onChange: (key: string, value: T | undefined) => void,
  ): Promise<void> {
    const delivered = new Delivered(spec as FencedTableSpec<unknown>);
    const view = createBus(telling(store, delivered), "topology-gateway", kit).view(spec, {
      onChange: (key, value, { revision }) => {
        const claim = delivered.broken(key, revision);
        if (claim !== null) {
          const what = `${name}, ${spec.name} ${key}: a record of another epoch came after claim ${claim.n} and counts`;
          violate("fenced-write", what);
        }
        onChange(key, value);
      },
    });
    await view.done;
  }

  await Promise.all([
    read(slicesTable, (key, value) => {
      if (!key.endsWith("._export")) show(key, value as Parameters<typeof show>[1]);
    }),
    read(topologyTable, () => {}),
    read(fleetTable, () => {}),
  ]);
}

/** The store, telling what it delivers before its reader hears of it. */
function telling(store: Store, delivered: Delivered): Store {
  return {
    get: (...args) => store.get(...args),
    put: (...args) => store.put(...args),
    removeMessage: (...args) => store.removeMessage(...args),
    lastRevision: (...args) => store.lastRevision(...args),
    boot: (signal) => store.boot(signal),
    close: () => store.close(),
    get connected() {
      return store.connected;
    },
    follow: (spec: TableSpec, filter: string, sink: Sink, signal: AbortSignal) =>
      store.follow(
        spec,
        filter,
        {
          restart: (boot) => {
            delivered.restart();
            sink.restart(boot);
          },
          resumed: () => sink.resumed?.(),
          entry: (entry) => {
            try {
              delivered.note(entry.key, entry.value, entry.revision);
            } catch (error) {
              // Nonsense that was planted is no claim; what the reader makes of it is what is looked at.
              if (!(error instanceof BadRecordError)) throw error;
            }
            sink.entry(entry);
          },
          caughtUp: () => sink.caughtUp(),
          disconnected: () => sink.disconnected(),
        },
        signal,
      ),
  };
}

function partId({ scope, shard }: Part): string {
  return `${scope}/${shard}`;
}
