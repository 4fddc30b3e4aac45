import type { Bus, PlainWriter, TableView } from "@sluice/bus";
import { plainKeys, type VerdictRecord, verdictsTable } from "@sluice/contracts";

/** What has been said of exports: only what is other than what stands in `verdicts` is written. */
export class VerdictBook {
  readonly #view: TableView<VerdictRecord>;
  readonly #writer: PlainWriter<VerdictRecord>;
  readonly #owns: (verdict: VerdictRecord) => boolean;
  /** What was written and has perhaps not come back yet. */
  readonly #spoken = new Map<string, string>();
  #open = false;

  /** @param owns whether this process has the word about that export; others have it about the rest */
  constructor(bus: Bus, owns: (verdict: VerdictRecord) => boolean) {
    this.#owns = owns;
    this.#view = bus.view(verdictsTable, { onChange: (key) => this.#spoken.delete(key) });
    this.#writer = bus.writer(verdictsTable, owns);
  }

  /** From here on everything that there is has been read; before, nothing is said. */
  open(): void {
    this.#open = true;
  }

  /** No conditions: there is nothing to be said, and what was said is taken back. */
  say(verdict: VerdictRecord): void {
    if (!this.#open || !this.#owns(verdict)) return;
    const { cluster, namespace, service, conditions } = verdict;
    const key = plainKeys.verdict(cluster, namespace, service);
    const now = JSON.stringify(conditions);
    const there = this.#spoken.get(key) ?? JSON.stringify(this.#view.get(key)?.conditions ?? []);
    if (there === now) return;
    this.#spoken.set(key, now);
    if (conditions.length > 0) this.#writer.set(key, verdict);
    else this.#writer.remove(key);
  }

  /** Takes back what was said of exports of a cluster that are gone since before this process began. */
  sweep(cluster: string, isExported: (verdict: VerdictRecord) => boolean): void {
    if (!this.#open) return;
    for (const [, verdict] of this.#view.entries()) {
      if (verdict.cluster === cluster && !isExported(verdict)) this.say({ ...verdict, conditions: [] });
    }
  }

  async caughtUp(signal: AbortSignal): Promise<void> {
    await this.#view.caughtUp(signal);
  }

  get done(): Promise<void> {
    return Promise.all([this.#view.done, this.#writer.done]).then(() => {});
  }
}
