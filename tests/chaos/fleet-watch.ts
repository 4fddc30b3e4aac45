import { connectBus } from "@sluice/bus";
import { type FleetValue, fleetTable, type PeersRow } from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import type { Members } from "./members.ts";
import type { World } from "./world.ts";

/** Reads `fleet` as a proxy does, and says when a row loses a pod that is ready and exported. */
export class FleetWatch implements AsyncDisposable {
  readonly #end: () => Promise<void>;
  readonly #rows = new Map<string, ReadonlySet<string>>();
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

  #changed(key: string, value: FleetValue | undefined): void {
    if (key.split(".")[1] !== "peers") return;
    const before = this.#rows.get(key) ?? new Set();
    const now = new Set((value as PeersRow | undefined)?.peers.map(({ address }) => address));
    this.#rows.set(key, now);
    for (const address of before.difference(now)) {
      const pod = this.#members.podAt(address);
      // One that lost and regained its readiness meanwhile may rightly be missing for a moment.
      if (pod === undefined || !this.#members.mayAnswer(pod) || pod.lostAt >= this.calmAt) continue;
      this.#onLoss(
        `${key} lost ${pod.name} (${address}), which is ready and exported; it has ${now.size} peers left`,
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
  }
}
