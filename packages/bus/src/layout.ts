import { BadRecordError, decode, type FencedTableSpec, Layout, parseJson } from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";
import { Signal } from "./signal.ts";
import type { FollowSink, Store, StoredEntry } from "./store.ts";

export interface LayoutRequest {
  /** Into how many shards this process was told to cut the scope; undefined: as it is, one if nobody ever said. */
  readonly shards?: number | undefined;
  readonly signal: AbortSignal;
  /** Called with the newest layout once it is known, and again for each newer one; after a restore an older may come. */
  onLayout(shards: number, n: number): void;
}

type LayoutKit = Pick<Kit, "log" | "clock">;

/**
 * Follows into how many shards a scope of a fenced table is cut, and cuts it otherwise where that was asked for: once,
 * so that two processes with different settings do not cut in turns for ever. Layouts are numbered and create-only, as
 * claims are: a new one voids every older claim of the scope.
 */
export class LayoutFollower implements FollowSink {
  readonly #store: Store;
  readonly #spec: FencedTableSpec;
  readonly #scope: string;
  readonly #request: LayoutRequest;
  readonly #kit: LayoutKit;
  readonly #event = new Signal();
  #newest = { n: 0, shards: 0 };
  #caughtUp = false;
  #told = "";
  readonly done: Promise<void>;

  constructor(store: Store, spec: FencedTableSpec, scope: string, request: LayoutRequest, kit: LayoutKit) {
    this.#store = store;
    this.#spec = spec;
    this.#scope = scope;
    this.#request = request;
    this.#kit = kit;
    const filter = spec.keys.layoutKey(scope, 1)?.replace(/1$/, "*") ?? spec.keys.filterOf(scope);
    this.done = Promise.all([store.follow(spec, filter, this, request.signal), this.#run()]).then(() => {});
  }

  restart(): void {
    this.#newest = { n: 0, shards: 0 };
    this.#caughtUp = false;
  }

  entry(entry: StoredEntry): void {
    const what = this.#spec.keys.classify(entry.key);
    if (what.kind !== "layout" || what.scope !== this.#scope || what.n <= this.#newest.n) return;
    try {
      const subject = `${this.#spec.name}/${entry.key}`;
      const { shards } = decode(Layout, parseJson(entry.value, subject), subject);
      this.#newest = { n: what.n, shards };
    } catch (err) {
      if (!(err instanceof BadRecordError)) throw err;
      this.#kit.log.warn({ err, key: entry.key }, "record left out");
    }
    if (this.#caughtUp) this.#tell();
  }

  caughtUp(): void {
    this.#caughtUp = true;
    this.#event.notify();
  }

  disconnected(): void {}

  async #run(): Promise<void> {
    const { signal, shards: wanted } = this.#request;
    try {
      while (!this.#caughtUp) await this.#event.wait(signal);
      if (wanted !== undefined && wanted !== this.#shards) await this.#cut(wanted, signal);
      for (;;) {
        if (this.#caughtUp) this.#tell();
        await this.#event.wait(signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  get #shards(): number {
    return this.#newest.shards || this.#spec.keys.defaultShards;
  }

  async #cut(shards: number, signal: AbortSignal): Promise<void> {
    const { log, clock } = this.#kit;
    const key = this.#spec.keys.layoutKey(this.#scope, this.#newest.n + 1);
    if (key === null) throw new Error(`${this.#spec.name}: its number of parts is fixed`);
    const layout: Layout = { v: 1, shards, at: clock.now() };
    try {
      const result = await this.#store.put(this.#spec, key, Buffer.from(JSON.stringify(layout)), 0, signal);
      if (result.ok) log.info({ scope: this.#scope, shards, before: this.#shards }, "cut into other shards");
    } catch (err) {
      // Whether it was written comes back through the stream; until somebody says otherwise the old one holds.
      if (!signal.aborted) log.warn({ err, scope: this.#scope }, "no answer to a new layout");
    }
  }

  #tell(): void {
    const now = `${this.#newest.n} ${this.#shards}`;
    if (now === this.#told) return;
    this.#told = now;
    this.#request.onLayout(this.#shards, this.#newest.n);
  }
}
