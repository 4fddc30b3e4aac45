import {
  type ConfigMap,
  type IngressClass,
  type KubeClient,
  type KubeObject,
  type MultiClusterIngress,
  type Reflector,
  reflect,
  resources,
  type ServiceImport,
} from "@sluice/kube";
import type { Kit } from "@sluice/service-kit";
import type { ConfigName } from "./options.ts";
import { Wake } from "./wake.ts";

export interface HubSink {
  /** `object` null: deleted. `seenAt` undefined: a list told of it, and it may have happened long before. */
  ingress(key: string, object: MultiClusterIngress | null, seenAt: number | undefined): void;
  import(key: string, object: ServiceImport | null, seenAt: number | undefined): void;
  class(name: string, object: IngressClass | null): void;
  /** The ConfigMap that was asked for; null: it is not there. */
  config(object: ConfigMap | null): void;
  /** What `listed` and `fresh` answer may have changed. */
  changed(): void;
}

/** How long a holder waits for the hub's lists before it goes on without, ms: a frozen API never fails, nor answers. */
const REFRESH_MS = 3000;

interface Watched {
  readonly kind: string;
  readonly what: string;
  readonly reflector: Reflector<KubeObject>;
  /** A kind whose absence from the API is an answer: there are none. */
  readonly optional: boolean;
  listed: boolean;
  /** Listed by a list that began after the last `refresh`. */
  fresh: boolean;
}

/** The hub's MCIs, imports and classes, the ConfigMap that is asked for, and how far what is known of them may be believed. */
export class HubSource {
  readonly #watched: Watched[];
  /** MCIs by `namespace/name`. */
  readonly ingresses: ReadonlyMap<string, MultiClusterIngress>;
  readonly #sink: HubSink;
  readonly #kit: Kit;
  readonly #wake = new Wake();
  #refreshes = 0;

  /** @param configMap watched by its name alone, so that no other need be readable; null: none is */
  constructor(hub: KubeClient, configMap: ConfigName | null, sink: HubSink, kit: Kit) {
    this.#sink = sink;
    this.#kit = kit;
    const onState = () => this.#changed();
    const common = { client: hub, kit, onState };
    const ingresses = reflect({
      ...common,
      type: resources.multiClusterIngress,
      onChange: (c) =>
        sink.ingress(c.key, c.kind === "upsert" ? c.object : null, c.fromList ? undefined : c.seenAt),
      onListed: () => this.#listed(0),
    });
    const imports = reflect({
      ...common,
      type: resources.serviceImport,
      onChange: (c) =>
        sink.import(c.key, c.kind === "upsert" ? c.object : null, c.fromList ? undefined : c.seenAt),
      onListed: () => this.#listed(1),
    });
    const classes = reflect({
      ...common,
      type: resources.ingressClass,
      onChange: (c) => sink.class(c.key, c.kind === "upsert" ? c.object : null),
      onListed: () => this.#listed(2),
    });
    this.ingresses = ingresses.objects;
    const watch = (kind: string, reflector: Reflector<KubeObject>, optional = false): Watched => {
      const what = kind.endsWith("s") ? `${kind}es` : `${kind}s`;
      return { kind, what, reflector, optional, listed: false, fresh: false };
    };
    this.#watched = [
      watch("MultiClusterIngress", ingresses),
      watch("ServiceImport", imports),
      watch("IngressClass", classes, true),
    ];
    if (configMap !== null) {
      const { namespace, name } = configMap;
      const configs = reflect({
        ...common,
        type: resources.configMap,
        namespace,
        fieldSelector: `metadata.name=${name}`,
        onChange: (c) => sink.config(c.kind === "upsert" ? c.object : null),
        onListed: () => {
          if (configs.objects.size === 0) sink.config(null);
          this.#listed(3);
        },
      });
      this.#watched.push(watch("ConfigMap", configs));
    }
  }

  /** Everything has been listed once: routes made of it are whole. */
  get listed(): boolean {
    return this.#watched.every((w) => w.listed || (w.optional && notServed(w)));
  }

  /** Everything has been listed since the last `refresh`: what is not there is not in the hub. */
  get fresh(): boolean {
    return this.#watched.every((w) => w.fresh || (w.optional && notServed(w)));
  }

  /** What is still missing, for people; null: nothing. */
  get waiting(): string | null {
    const missing = this.#watched.filter((w) => !w.listed && !(w.optional && notServed(w)));
    if (missing.length === 0) return null;
    return missing.map((w) => `${w.what}: ${w.reflector.state.error ?? w.reflector.state.kind}`).join("; ");
  }

  /** Resolves when all has been listed once, or when it is clear that it cannot be for now. */
  async warm(signal: AbortSignal): Promise<void> {
    await this.#answered((w) => w.listed, signal);
  }

  /**
   * Brings all up to what predecessors had acted upon, by new lists where nobody says what that was; resolves when that
   * is done, or when it is clear that it cannot be for now.
   */
  async refresh(acted: ReadonlyMap<string, number> | null, signal: AbortSignal): Promise<void> {
    const refresh = ++this.#refreshes;
    for (const w of this.#watched) {
      w.fresh = false;
      readAnew(w.reflector, w.kind, acted, signal).then(
        () => {
          if (refresh !== this.#refreshes) return;
          w.fresh = true;
          this.#changed();
        },
        (err: unknown) => {
          if (!signal.aborted && !this.#kit.signal.aborted)
            this.#kit.log.warn({ err }, "listing anew failed");
        },
      );
    }
    await this.#answered((w) => w.fresh, signal);
  }

  /** Of each kind the newest resourceVersion acted upon; undefined when they cannot be compared. */
  source(): Readonly<Record<string, number>> | undefined {
    const acted: Record<string, number> = {};
    for (const { kind, reflector } of this.#watched) {
      if (reflector.actedOn === undefined) return undefined;
      if (reflector.actedOn >= 0) acted[kind] = reflector.actedOn;
    }
    return acted;
  }

  async #answered(enough: (watched: Watched) => boolean, signal: AbortSignal): Promise<void> {
    const answered = (w: Watched) => enough(w) || w.reflector.state.kind === "failing" || notServed(w);
    await this.#wake.within(REFRESH_MS, () => this.#watched.every(answered), this.#kit.clock, signal);
  }

  get done(): Promise<void> {
    return Promise.all(this.#watched.map((w) => w.reflector.done)).then(() => {});
  }

  #listed(which: number): void {
    const watched = this.#watched[which];
    if (watched !== undefined) watched.listed = true;
    this.#changed();
  }

  #changed(): void {
    this.#wake.notify();
    this.#sink.changed();
  }
}

function notServed(watched: Watched): boolean {
  return watched.reflector.state.kind === "waiting-for-resource";
}

/** Brings a reflector up to what predecessors had acted upon of a kind. @param acted null: nobody says what that was */
export async function readAnew(
  reflector: Reflector<KubeObject>,
  kind: string,
  acted: ReadonlyMap<string, number> | null,
  signal: AbortSignal,
): Promise<void> {
  if (acted === null) return reflector.relist(signal);
  const version = acted.get(kind);
  await (version === undefined ? reflector.listed(signal) : reflector.reach(version, signal));
}
