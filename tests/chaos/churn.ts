import { setTimeout as delay } from "node:timers/promises";
import type { SeededRandom } from "../simulation/seeded-random.ts";
import type { Members, Pod } from "./members.ts";

/** Pods of one service and member at most. */
const MOST_PODS = 3;
/**
 * Pods of one service that may stop serving in one schedule, besides those that serve on until all has converged: nginx
 * tries three peers, and with a control plane that is away nobody can tell it of a third that is dead.
 */
const MOST_CLOSED = 2;

/** Pods come and go, flap and crash, exports go and come, until stopped. One pod of each service stays all the while. */
export class Churn {
  readonly #members: Members;
  readonly #random: SeededRandom;
  readonly #note: (what: string) => void;
  readonly #anchors = new Map<string, Pod>();
  readonly #closed = new Map<string, number>();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  changes = 0;

  constructor(members: Members, random: SeededRandom, note: (what: string) => void) {
    this.#members = members;
    this.#random = random;
    this.#note = note;
    for (const service of members.services) {
      const ready = [...members.expected(service).values()].flatMap((pods) => [...pods]);
      this.#anchors.set(service, random.pick(ready));
    }
    this.#note(`these stay: ${[...this.#anchors.values()].map(({ name }) => name).join(", ")}`);
    this.#running = this.#run();
    // Whoever stops it hears of its failure.
    this.#running.catch(() => {});
  }

  /** @throws what a write to a member's API threw */
  async stop(): Promise<void> {
    this.#stop.abort(new Error("the schedule is over"));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await delay(this.#random.between(80, 300), undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      await this.#change();
      this.changes++;
    }
  }

  async #change(): Promise<void> {
    const members = this.#members;
    const random = this.#random;
    const service = random.pick(members.services);
    const cluster = random.pick(members.clusters);
    const anchor = this.#anchors.get(service);
    if (random.chance(0.12) && anchor?.cluster !== cluster) return this.#toggleExport(service, cluster);
    const pods = members.pods(service, cluster);
    const ready = pods.filter((pod) => pod.state === "ready" && pod !== anchor);
    const unready = pods.find((pod) => pod.state === "unready");
    if (unready !== undefined && random.chance(0.5)) {
      this.#note(`${unready.name} is ready again`);
      return members.setReady(unready, true);
    }
    if (ready.length === 0 || (pods.length < MOST_PODS && random.chance(0.5))) {
      const pod = await members.add(service, cluster);
      return this.#note(`${pod.name} (${pod.address}) is ready`);
    }
    return this.#takeAway(random.pick(ready));
  }

  async #toggleExport(service: string, cluster: string): Promise<void> {
    if (this.#members.exported(service, cluster)) {
      this.#note(`${cluster} exports ${service} no more`);
      await this.#members.unexport(service, cluster);
    } else {
      this.#note(`${cluster} exports ${service}`);
      await this.#members.export(service, cluster);
    }
  }

  async #takeAway(pod: Pod): Promise<void> {
    const members = this.#members;
    const closed = this.#closed.get(pod.service) ?? 0;
    const how = this.#random.next();
    if (how < 0.25) {
      this.#note(`${pod.name} is not ready`);
      return members.setReady(pod, false);
    }
    if (how < 0.6 || closed >= MOST_CLOSED) {
      this.#note(`${pod.name} ends and serves on`);
      return members.end(pod);
    }
    this.#closed.set(pod.service, closed + 1);
    if (how < 0.8) {
      this.#note(`${pod.name} ends, and serves no more after a second`);
      await members.end(pod);
      await delay(1000, undefined, { signal: this.#stop.signal }).catch(() => {});
      await members.dropEndpoint(pod);
      return members.close(pod);
    }
    this.#note(`${pod.name} crashes; its endpoint goes half a second later`);
    await members.close(pod);
    await delay(500, undefined, { signal: this.#stop.signal }).catch(() => {});
    return members.dropEndpoint(pod);
  }
}
