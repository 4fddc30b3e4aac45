import {
  type EndpointSlice,
  type KubeClient,
  type Reflector,
  reflect,
  resources,
  type Service,
  type ServiceImport,
} from "@sluice/kube";
import type { Kit } from "@sluice/service-kit";
import { OWN_SERVICES, OWN_SLICES, SERVICE_NAME } from "./derived-objects.ts";
import { DERIVED_PREFIX } from "./topology.ts";

const none: ReadonlyMap<string, EndpointSlice> = new Map();

/** What of ours the hub holds, and the imports that it follows from; by import, so that one costs itself only. */
export class HubObjects {
  readonly imports: Reflector<ServiceImport>;
  readonly services: Reflector<Service>;
  readonly #slices: Reflector<EndpointSlice>;
  /** `namespace/service` of the import → its imported slices by `namespace/name`. */
  readonly #slicesOf = new Map<string, Map<string, EndpointSlice>>();
  /** Of each slice, under which import it is kept: its labels may have changed since. */
  readonly #ownerOf = new Map<string, string>();

  /** @param touched called with the import that a change belongs to */
  constructor(hub: KubeClient, kit: Kit, touched: (key: string, change: "import gone" | "other") => void) {
    this.imports = reflect<ServiceImport>({
      client: hub,
      type: resources.serviceImport,
      kit,
      onChange: (change) => touched(change.key, change.kind === "delete" ? "import gone" : "other"),
    });
    this.services = reflect<Service>({
      client: hub,
      type: resources.service,
      labelSelector: OWN_SERVICES,
      kit,
      onChange: (change) => {
        // By its name, because somebody may have taken our labels off.
        const { namespace = "", name } = (change.kind === "upsert" ? change.object : change.old).metadata;
        if (name.startsWith(DERIVED_PREFIX))
          touched(`${namespace}/${name.slice(DERIVED_PREFIX.length)}`, "other");
      },
    });
    this.#slices = reflect<EndpointSlice>({
      client: hub,
      type: resources.endpointSlice,
      labelSelector: OWN_SLICES,
      kit,
      onChange: (change) => {
        const before = this.#ownerOf.get(change.key);
        const now = change.kind === "upsert" ? ownerOf(change.object) : undefined;
        if (before !== undefined && before !== now) {
          const group = this.#slicesOf.get(before);
          group?.delete(change.key);
          if (group?.size === 0) this.#slicesOf.delete(before);
          this.#ownerOf.delete(change.key);
          touched(before, "other");
        }
        if (now === undefined || change.kind !== "upsert") return;
        let group = this.#slicesOf.get(now);
        if (group === undefined) {
          group = new Map();
          this.#slicesOf.set(now, group);
        }
        group.set(change.key, change.object);
        this.#ownerOf.set(change.key, now);
        touched(now, "other");
      },
    });
  }

  slicesOf(key: string): ReadonlyMap<string, EndpointSlice> {
    return this.#slicesOf.get(key) ?? none;
  }

  /** Imports, and what was made of those that are gone. */
  keys(): Set<string> {
    const keys = new Set([...this.imports.objects.keys(), ...this.#slicesOf.keys()]);
    for (const { metadata } of this.services.objects.values()) {
      keys.add(`${metadata.namespace ?? ""}/${metadata.name.slice(DERIVED_PREFIX.length)}`);
    }
    return keys;
  }

  async listed(signal: AbortSignal): Promise<void> {
    await Promise.all([this.imports, this.services, this.#slices].map((each) => each.listed(signal)));
  }

  get done(): Promise<void> {
    return Promise.all([this.imports.done, this.services.done, this.#slices.done]).then(() => {});
  }
}

function ownerOf({ metadata: { namespace = "", labels } }: EndpointSlice): string | undefined {
  const service = labels?.[SERVICE_NAME];
  return service === undefined ? undefined : `${namespace}/${service}`;
}
