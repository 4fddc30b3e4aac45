import { type Orders, ShownDrains } from "./ordered.ts";
import { ShownSlices, type Snapshot } from "./shown.ts";
import type { NginxObserver, NginxRow, SimNginx } from "./sim-nginx.ts";
import { MEMBERS } from "./topology.ts";
import type { SliceTruth, Truth } from "./truth.ts";
import type { Violation, ViolationName } from "./violation.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** What an nginx that was started anew must have again, and by when. */
interface Due {
  readonly by: number;
  readonly had: ReadonlyMap<string, string>;
}

/** nginx and its agent have this long to serve again what they served, whoever else is away, ms. */
const AGAIN_MS = 3000;
/** Holds every nginx to what the member APIs have said, at each change of a row. */
export class NginxChecks implements NginxObserver {
  readonly violations: Violation[] = [];
  readonly #truth: Truth;
  readonly #time: VirtualTime;
  readonly #orders: Orders;
  readonly #shown = new Map<SimNginx, ShownSlices>();
  readonly #drains = new Map<SimNginx, ShownDrains>();
  /** What a last good copy holds, which may be a moment old. */
  readonly #saved = new Map<SimNginx, Snapshot>();
  readonly #due = new Map<SimNginx, Due>();
  /** Names of those that have run with what breaks them. */
  readonly #hurt = new Set<string>();

  constructor(truth: Truth, orders: Orders, time: VirtualTime) {
    this.#truth = truth;
    this.#orders = orders;
    this.#time = time;
  }

  #violate(name: ViolationName, what: string): void {
    this.violations.push({ name, at: this.#time.now, what });
  }

  #of(nginx: SimNginx): ShownSlices {
    let shown = this.#shown.get(nginx);
    if (shown === undefined) {
      shown = new ShownSlices(
        nginx.name,
        this.#truth,
        () => this.#time.now,
        (name, what) => this.#violate(name, what),
      );
      this.#shown.set(nginx, shown);
    }
    return shown;
  }

  row(nginx: SimNginx, name: string, row: NginxRow | null): void {
    const [kind, upstream = "", cluster = ""] = name.split(" ");
    if (kind === "route") return this.#lookForProfiles(nginx);
    if (kind === "cluster") return this.#clusterRow(nginx, upstream, row);
    if (kind !== "peers") return;
    const bySlice = new Map<SliceTruth, string[]>();
    if (row?.k === "peers" && "peers" in row) {
      for (const [address] of row.peers) {
        const slice = this.#truth.sliceOf(address);
        if (slice === undefined || slice.cluster !== cluster) {
          this.#violate("torn", `${nginx.name} has ${address} for ${cluster}, which no slice of it ever had`);
          continue;
        }
        const group = bySlice.get(slice);
        if (group === undefined) bySlice.set(slice, [address]);
        else group.push(address);
      }
    }
    for (const slice of this.#truth.slices.values()) {
      if (slice.cluster !== cluster || !upstream.includes(slice.service)) continue;
      this.#of(nginx).show(slice, bySlice.get(slice) ?? []);
    }
  }

  /** Requests go to a cluster, or no longer, by somebody's order alone. */
  #clusterRow(nginx: SimNginx, cluster: string, row: NginxRow | null): void {
    if (row?.k !== "cluster" || !("state" in row)) {
      if (this.#orders.everStood(`unjoin.${cluster}`)) return;
      const what = `${nginx.name}, ${cluster}: its row went, and nobody has ever ordered that it is gone`;
      return this.#violate("removed-out-of-ignorance", what);
    }
    let drains = this.#drains.get(nginx);
    if (drains === undefined) {
      drains = new ShownDrains(this.#orders);
      this.#drains.set(nginx, drains);
    }
    const drained = row.state === "drained";
    if (drains.show(cluster, drained)) return;
    const name = drained ? "drained-out-of-ignorance" : "undrained-out-of-ignorance";
    const order = drained ? "no order says so" : "the order to drain it has stood all the time";
    this.#violate(name, `${nginx.name}, ${cluster} is ${row.state}: ${order}`);
  }

  saving(nginx: SimNginx): () => void {
    const copy = this.#of(nginx).copy();
    return () => void this.#saved.set(nginx, copy);
  }

  /** Somebody asks for something else: whoever is hurt by that is hurt by another configuration. */
  asked(): void {
    this.#hurt.clear();
  }

  /** A configuration that breaks nginx is seen by one proxy at most, and no route is ever without its profile. */
  loaded(nginx: SimNginx): void {
    this.#lookForProfiles(nginx);
    if (!nginx.broken) return;
    this.#hurt.add(nginx.name);
    if (this.#hurt.size < 2) return;
    this.#violate("two-proxies-hurt", `${[...this.#hurt].join(" and ")} have tried what breaks them`);
  }

  #lookForProfiles(nginx: SimNginx): void {
    const [missing] = nginx.missing();
    if (missing === undefined) return;
    this.#violate(
      "profile-missing",
      `${nginx.name} has a route with profile ${missing}, and not the profile`,
    );
  }

  restarted(nginx: SimNginx): void {
    const saved = this.#saved.get(nginx);
    const had = new Map<string, string>();
    for (const [id, { text }] of saved ?? []) if (text !== "") had.set(id, text);
    this.#due.set(nginx, { by: this.#time.now + AGAIN_MS, had });
    this.#of(nginx).forget(saved);
    this.#drains.get(nginx)?.forget();
  }

  /** Its agent cannot work now: what is due waits for it. */
  hindered(nginx: SimNginx): void {
    const due = this.#due.get(nginx);
    if (due !== undefined) this.#due.set(nginx, { ...due, by: this.#time.now + AGAIN_MS });
  }

  /** To be called now and then: whoever was started anew serves what it served before. */
  look(): void {
    for (const [nginx, { by, had }] of this.#due) {
      if (this.#time.now < by) continue;
      this.#due.delete(nginx);
      for (const [id, text] of had) {
        const slice = this.#truth.slices.get(id)!;
        const last = slice.states.at(-1)!;
        // What changed meanwhile is another check's affair.
        if (last.at > by - AGAIN_MS || slice.contents[last.content] !== text || !last.visible) continue;
        if (this.#of(nginx).text(id) !== text) {
          this.#violate(
            "not-served-again",
            `${nginx.name}, ${id}: it had [${text}] before it was started anew`,
          );
        }
      }
    }
  }

  /** Peers that an nginx lacks, or has beyond what the APIs say now, and clusters that are not as was ordered. */
  differences(nginx: SimNginx): string[] {
    const differences: string[] = [];
    for (const cluster of MEMBERS) {
      const row = nginx.rows.get(`cluster ${cluster}`);
      const state = row?.k === "cluster" && "state" in row ? row.state : "unknown";
      const ordered = this.#orders.stands(`drain.${cluster}`) ? "drained" : "ok";
      const wanted = this.#orders.stands(`unjoin.${cluster}`) ? "unknown" : ordered;
      if (state !== wanted) differences.push(`${nginx.name}, ${cluster}: is ${state}, should be ${wanted}`);
    }
    for (const slice of this.#truth.slices.values()) {
      const wanted = this.#truth.now(slice);
      const shown = this.#of(nginx).text(slice.id);
      if (shown !== wanted)
        differences.push(`${nginx.name}, ${slice.id}: has [${shown}], the API says [${wanted}]`);
    }
    return differences;
  }
}
