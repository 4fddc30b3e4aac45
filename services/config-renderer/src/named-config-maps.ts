import { type ConfigMap, type KubeClient, resources } from "@sluice/kube";
import type { Kit } from "@sluice/service-kit";
import { NamedWatches } from "./named-watches.ts";
import { Wake } from "./wake.ts";

/** Watches of one ConfigMap each, at most: each is a connection to the hub. */
const MAX_NAMED = 500;
/** Routes wait so long for ConfigMaps that they name first, ms. */
const LOOK_MS = 1000;
/** And so long for all to be read anew after a claim: a frozen API never fails, nor answers. */
const REFRESH_MS = 3000;

/**
 * @param object null: the hub has none of that name; undefined: nobody names it any more
 * @param seenAt when a watch told of it, ms since 1970; undefined: a list did, and it may have happened long before
 */
export type ConfigMapTold = (
  key: string,
  object: ConfigMap | null | undefined,
  seenAt: number | undefined,
) => void;

/** The ConfigMaps that objects name: each is watched by its name, so that no other need be readable. */
export class NamedConfigMaps {
  readonly #watches: NamedWatches<ConfigMap>;
  readonly #tell: ConfigMapTold;
  readonly #kit: Kit;
  readonly #wake = new Wake();
  /** Named, and not told of yet. */
  readonly #unread = new Set<string>();
  #full = false;

  constructor(hub: KubeClient, tell: ConfigMapTold, kit: Kit) {
    this.#tell = tell;
    this.#kit = kit;
    this.#watches = new NamedWatches<ConfigMap>(
      hub,
      {
        type: resources.configMap,
        came: (key, object, seenAt) => {
          this.#unread.delete(key);
          tell(key, object, seenAt);
          this.#wake.notify();
        },
        changed: () => this.#wake.notify(),
      },
      kit,
    );
  }

  /**
   * Has those looked at that are named since, for a while.
   * @param named `namespace/name` of ConfigMaps that somebody names from now on, or (false) nobody any more
   */
  async looked(named: ReadonlyMap<string, boolean>, signal: AbortSignal): Promise<void> {
    for (const [key, wanted] of named) {
      if (!wanted) this.#leave(key);
      else if (this.#watches.get(key) === undefined) this.#look(key);
    }
    await this.#atMost(LOOK_MS, () => this.#unread.size === 0 || this.#watches.failing, signal);
  }

  /** Resolves when all have been read anew, or after a while. */
  async refresh(signal: AbortSignal): Promise<void> {
    const reads = this.#watches.relisted(signal);
    let left = reads.length;
    for (const { read, ended } of reads) {
      read
        .catch((err: unknown) => {
          if (!signal.aborted && !ended()) this.#kit.log.warn({ err }, "listing ConfigMaps anew failed");
        })
        .finally(() => {
          left -= 1;
          this.#wake.notify();
        });
    }
    await this.#atMost(REFRESH_MS, () => left === 0, signal);
  }

  get done(): Promise<void> {
    return this.#watches.done;
  }

  #look(key: string): void {
    if (this.#watches.size >= MAX_NAMED) {
      if (!this.#full)
        this.#kit.log.warn({ configMap: key }, `${MAX_NAMED} ConfigMaps are watched, more count as missing`);
      this.#full = true;
      this.#tell(key, null, undefined);
      return;
    }
    this.#unread.add(key);
    this.#watches.add(key);
  }

  #leave(key: string): void {
    this.#unread.delete(key);
    this.#watches.delete(key);
    this.#tell(key, undefined, undefined);
  }

  async #atMost(ms: number, enough: () => boolean, signal: AbortSignal): Promise<void> {
    if (!enough()) await this.#wake.within(ms, enough, this.#kit.clock, signal).catch(() => {});
  }
}
