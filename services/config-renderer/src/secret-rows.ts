import { type FleetValue, fleetKeys, type SecretRow, type Trace } from "@sluice/contracts";
import type { SecretContents, SecretWant } from "@sluice/ingress";
import { type FleetPublicKey, seal } from "@sluice/sealing";
import type { Kit } from "@sluice/service-kit";

/** Sealed at a time: each takes some tenths of a millisecond of a thread beside. */
const TOGETHER = 16;

type RowWant = Extract<SecretWant, { readonly kind: "row" }>;

export interface SecretRowSink {
  set(key: string, row: FleetValue, trace?: Trace): void;
  remove(key: string, trace?: Trace): void;
}

/**
 * The rows of Secrets that routes need. What is secret of them is sealed once for each content and key: sealing gives
 * another text each time, so a row that the table has already, of the same content and for the same key, is taken over as
 * it stands.
 */
export class SecretRows {
  readonly #fleet: string;
  readonly #key: FleetPublicKey;
  readonly #sink: SecretRowSink;
  readonly #kit: Pick<Kit, "clock">;
  /** As the table has them. */
  readonly #there = new Map<string, SecretRow>();
  /** By key of the row. */
  readonly #wants = new Map<string, SecretWant>();
  /** What was made for a want. */
  readonly #rows = new Map<string, SecretRow>();
  /** Rows that no route needs any more, and when they go, monotonic, ms. */
  readonly #doomed = new Map<string, number>();
  /** Everything that predecessors wrote has been read, and what comes is our own. */
  #writing = false;

  constructor(fleet: string, key: FleetPublicKey, sink: SecretRowSink, kit: Pick<Kit, "clock">) {
    this.#fleet = fleet;
    this.#key = key;
    this.#sink = sink;
    this.#kit = kit;
  }

  /** What the table says. */
  note(key: string, row: SecretRow | undefined): void {
    if (row === undefined) this.#there.delete(key);
    else this.#there.set(key, row);
    const want = this.#wants.get(key);
    // Who stands by takes over what the holder sealed; the holder knows his own words.
    if (this.#writing || row === undefined || want?.kind !== "row" || !this.#isOf(row, want.contents)) return;
    this.#rows.set(key, row);
    this.#sink.set(key, row);
  }

  /** Somebody else wrote the table until now. */
  claimed(): void {
    this.#writing = false;
  }

  /** From now on whatever the table says is this process's, until it loses its claim. */
  current(): void {
    this.#writing = true;
  }

  /** What routes need of the row at a key; null: nothing. */
  needAt(key: string): SecretWant["need"] | null {
    return this.#wants.get(key)?.need ?? null;
  }

  /** Routes need it, and the hub has no such Secret. */
  isGone(key: string): boolean {
    return this.#wants.get(key)?.kind === "gone";
  }

  /** Brings rows to what is wanted. Resolves when all have been given on; what nobody needs any more waits for `doom`. */
  async change(changes: ReadonlyMap<string, SecretWant | null>, trace: Trace | undefined): Promise<void> {
    const sealing: [string, RowWant][] = [];
    for (const [id, want] of changes) {
      const key = fleetKeys.secret(this.#fleet, id);
      if (want === null) {
        this.#wants.delete(key);
        this.#doomed.set(key, Number.POSITIVE_INFINITY);
        continue;
      }
      this.#doomed.delete(key);
      this.#wants.set(key, want);
      if (want.kind === "row") sealing.push([key, want]);
      else if (want.kind === "gone") {
        this.#rows.delete(key);
        this.#sink.remove(key, trace);
      }
    }
    for (let at = 0; at < sealing.length; at += TOGETHER) {
      await Promise.all(sealing.slice(at, at + TOGETHER).map(([key, want]) => this.#make(key, want, trace)));
    }
  }

  /** Routes are written that do without some rows. @param dueAt when these go, monotonic, ms */
  doom(dueAt: number): void {
    for (const [key, at] of this.#doomed) {
      if (at === Number.POSITIVE_INFINITY) this.#doomed.set(key, dueAt);
    }
  }

  /** Rows whose grace is over go. */
  expire(): void {
    for (const [key, dueAt] of this.#doomed) {
      if (this.#kit.clock.monotonic() < dueAt) continue;
      this.#doomed.delete(key);
      this.#rows.delete(key);
      this.#sink.remove(key);
    }
  }

  async #make(key: string, want: RowWant, trace: Trace | undefined): Promise<void> {
    const known = () =>
      [this.#rows.get(key), this.#there.get(key)].find(
        (row) => row !== undefined && this.#isOf(row, want.contents),
      );
    const sealed = known() ?? (await this.#sealed(want));
    // It may have changed again meanwhile, or the holder whom this process stands by for has sealed it too.
    if (this.#wants.get(key) !== want) return;
    const row = known() ?? sealed;
    this.#rows.set(key, row);
    this.#sink.set(key, row, trace);
  }

  async #sealed({ need, contents }: RowWant): Promise<SecretRow> {
    const { id, namespace, name } = need;
    const { chain, notAfter, authorities, sealed, version } = contents;
    return {
      id,
      namespace,
      name,
      ...(chain === undefined ? {} : { chain }),
      ...(notAfter === undefined ? {} : { notAfter }),
      ...(authorities === undefined ? {} : { authorities }),
      ...(sealed === undefined ? {} : { sealed: await seal(this.#key, this.#fleet, id, sealed.reveal()) }),
      ...(isToldByVersion(contents) ? { version } : {}),
    };
  }

  #isOf(row: SecretRow, contents: SecretContents): boolean {
    const { chain, authorities, sealed } = contents;
    if (row.chain !== chain || row.authorities !== authorities) return false;
    if (sealed === undefined) return row.sealed === undefined;
    if (row.sealed?.key !== this.#key.id) return false;
    return !isToldByVersion(contents) || row.version === contents.version;
  }
}

/** A chain has one key; of passwords nothing stands in clear that could tell others from these. */
function isToldByVersion({ chain, sealed }: SecretContents): boolean {
  return sealed !== undefined && chain === undefined;
}
