import type { CompiledIngress } from "./compile-ingress.ts";
import type { ConfigMap } from "./config-map/read-config.ts";
import { SetIndex } from "./set-index.ts";

/** The ConfigMaps that objects name, as far as they are known. */
export class FleetConfigMaps {
  /** null: the hub has none of that name. What is missing here nobody has looked at. */
  readonly #known = new Map<string, ConfigMap | null>();
  /** MCIs by the ConfigMap that they name. */
  readonly #namers = new SetIndex();
  /** Of which it may have changed whether anybody names them. */
  readonly #renamed = new Set<string>();

  readonly lookup = (key: string): ConfigMap | null | undefined => this.#known.get(key);

  /** @returns keys of the MCIs that this concerns */
  set(key: string, object: ConfigMap | null | undefined): ReadonlySet<string> {
    if (object === undefined) this.#known.delete(key);
    else this.#known.set(key, object);
    return new Set(this.#namers.get(key));
  }

  link({ key, configMap }: CompiledIngress): void {
    if (configMap === null) return;
    this.#namers.add(configMap, key);
    this.#renamed.add(configMap);
  }

  unlink({ key, configMap }: CompiledIngress): void {
    if (configMap === null) return;
    this.#namers.delete(configMap, key);
    this.#renamed.add(configMap);
  }

  /** `namespace/name` of those that somebody names since the last call, or (false) names no more. */
  takeNamed(): Map<string, boolean> {
    const named = new Map([...this.#renamed].map((key) => [key, this.#namers.get(key).size > 0]));
    this.#renamed.clear();
    return named;
  }
}
