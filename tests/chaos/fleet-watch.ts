import { connectBus } from "@sluice/bus";
import { type FleetValue, fleetTable, type PeersRow, type UpstreamRow } from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import type { Members } from "./members.ts";
import type { World } from "./world.ts";

/** Reads `fleet` as a proxy does, and says when a row loses a pod that is ready and exported. */
export class FleetWatch implements AsyncDisposable {
  readonly #end: () => Promise<void>;
  readonly #rows = new Map<string, PeersRow>();
  readonly #upstreams = new Map<string, string>();
  readonly #members: Members;
  readonly #onLoss: (what: string) => void;
  /** When all was last seen converged, ms of performance.now(). */
  calmAt = Infinity;

  private constructor(members: Members, onLoss: (what: string) => void, end: () => Promise<void>) {
    this.#members = members;
    this.#onLoss = onLoss;
    this.#end = end;
  }

  static async start(world: World, onLoss: (what: string) => void): Promise<FleetWatch> {
    const stop = new AbortController();
    const signal = AbortSignal.any([world.signal, stop.signal]);
    const bus = await connectBus({
      url: world.busUrl("test"),
      files: { ...world.credentials.operator, ...(world.bus.ca === null ? {} : { ca: world.bus.ca }) },
      name: "chaos",
      kit: createKit({ service: "chaos", signal }),
    });
    const watch: FleetWatch = new FleetWatch(world.members, onLoss, async () => {
      stop.abort(new Error("the world ends"));
      await view.done;
      await bus.close();
    });
    const view = bus.view(fleetTable, { onChange: (key, value) => watch.#changed(key, value) });
    return watch;
  }

  /** Addresses by `<service>/<member>`, without those that take no new requests. */
  peers(): Map<string, ReadonlySet<string>> {
    const all = new Map<string, ReadonlySet<string>>();
    for (const { upstream, cluster, peers } of this.#rows.values()) {
      const taking = peers.filter(({ draining }) => draining !== true);
      const service = this.#upstreams.get(upstream) ?? upstream;
      all.set(`${service}/${cluster}`, new Set(taking.map(({ address }) => address)));
    }
    return all;
  }

  #changed(key: string, value: FleetValue | undefined): void {
    const kind = key.split(".")[1];
    if (kind === "upstreams" && value !== undefined) {
      const { id, service } = value as UpstreamRow;
      this.#upstreams.set(id, service);
    }
    if (kind === "peers") this.#changedPeers(key, value as PeersRow | undefined);
  }

  #changedPeers(key: string, row: PeersRow | undefined): void {
    const before = this.#rows.get(key)?.peers ?? [];
    if (row === undefined) this.#rows.delete(key);
    else this.#rows.set(key, row);
    const left = new Set(row?.peers.map(({ address }) => address));
    for (const { address } of before) {
      if (left.has(address)) continue;
      const pod = this.#members.podAt(address);
      // One that lost and regained its readiness meanwhile may rightly be missing for a moment.
      if (pod === undefined || !this.#members.mayAnswer(pod) || pod.lostAt >= this.calmAt) continue;
      this.#onLoss(
        `${key} lost ${pod.name} (${address}), which is ready and exported; it has ${left.size} peers left`,
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
  }
}
