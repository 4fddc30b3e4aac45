import type { TableView } from "@sluice/bus";
import { decodeToken, encodeToken, type SliceValue, type TopologyService } from "@sluice/contracts";
import type { AllowedPeers } from "./allowed-peers.ts";

/**
 * What of the clusters is knowledge: that something is missing counts only for a cluster whose slices are settled and
 * whose rules for peers are known. Everything else is ignorance, and out of ignorance nothing is changed.
 */
export class Knowledge {
  readonly #members: readonly string[];
  readonly #slices: Pick<TableView<SliceValue>, "isScopeSettled" | "parts" | "unreadable">;
  readonly #allowed: AllowedPeers;
  readonly #isUnjoined: (cluster: string) => boolean;
  readonly #listeners: ((cluster: string) => void)[] = [];

  constructor(
    members: readonly string[],
    slices: Pick<TableView<SliceValue>, "isScopeSettled" | "parts" | "unreadable">,
    allowed: AllowedPeers,
    isUnjoined: (cluster: string) => boolean = () => false,
  ) {
    this.#members = members;
    this.#slices = slices;
    this.#allowed = allowed;
    this.#isUnjoined = isUnjoined;
  }

  /** Of a cluster that was ordered out for good nothing is waited for: that it has nothing is what was ordered. */
  knowsCluster(cluster: string): boolean {
    if (this.#isUnjoined(cluster)) return true;
    return this.#allowed.knows(cluster) && this.#slices.isScopeSettled(cluster);
  }

  /** Every cluster that publishes slices, or should, is known. */
  get whole(): boolean {
    if (!this.#members.every((cluster) => this.knowsCluster(cluster))) return false;
    return this.#slices.parts().every(({ scope }) => this.knowsCluster(scope));
  }

  /** Clusters that are known. */
  known(): string[] {
    const scopes = new Set(this.#slices.parts().map(({ scope }) => scope));
    return [...scopes].filter((cluster) => this.knowsCluster(cluster));
  }

  /** Whether a row of `topology` may be changed or removed; `there` reads what the table holds. */
  mayChange(key: string, there: () => unknown): boolean {
    const at = key.lastIndexOf(".");
    const [service, token] = [key.slice(0, at), key.slice(at + 1)];
    if (token !== "_service") return this.#knows(decodeToken(token) ?? token, service);
    // What a predecessor wrote of clusters that are known is known better by now; the rest stays.
    const clusters = (there() as TopologyService | undefined)?.clusters ?? [];
    return clusters.every((cluster) => this.#knows(cluster, service));
  }

  /** @param service `<ns>.<svc>` as in keys: one record of it that cannot be read leaves open what it has there */
  #knows(cluster: string, service: string): boolean {
    if (!this.knowsCluster(cluster)) return false;
    if (this.#slices.unreadable.size === 0) return true;
    const records = `${encodeToken(cluster)}.${service}.`;
    for (const key of this.#slices.unreadable) if (key.startsWith(records)) return false;
    return true;
  }

  /** Whether a row may have waited for what is now known of this cluster. */
  static concerns(cluster: string): (key: string) => boolean {
    const end = `.${encodeToken(cluster)}`;
    return (key) => key.endsWith(end) || key.endsWith("._service");
  }

  /** Called with a cluster of which more is known than before. */
  onMore(listener: (cluster: string) => void): void {
    this.#listeners.push(listener);
  }

  /** To be called whenever a cluster's slices are settled, or its rules have come. */
  tell(cluster: string): void {
    if (!this.knowsCluster(cluster)) return;
    for (const listener of [...this.#listeners]) listener(cluster);
  }

  /** Resolves once everything is known; rejects with the signal's reason. */
  async waitForWhole(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.whole) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const listener = () => {
      if (this.whole) resolve();
    };
    const abort = () => reject(signal.reason);
    this.#listeners.push(listener);
    signal.addEventListener("abort", abort, { once: true });
    try {
      await promise;
    } finally {
      signal.removeEventListener("abort", abort);
      this.#listeners.splice(this.#listeners.indexOf(listener), 1);
    }
  }
}
