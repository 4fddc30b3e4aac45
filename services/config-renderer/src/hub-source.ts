import {
  type IngressClass,
  type KubeClient,
  type KubeObject,
  type MultiClusterIngress,
  type Reflector,
  reflect,
  resources,
  type ServiceImport,
} from "@sluice/kube";
import { type Kit, slept } from "@sluice/service-kit";
import { Wake } from "./wake.ts";

export interface HubSink {
  /** `object` null: deleted. `seenAt` undefined: a list told of it, and it may have happened long before. */
  ingress(key: string, object: MultiClusterIngress | null, seenAt: number | undefined): void;
  import(key: string, object: ServiceImport | null, seenAt: number | undefined): void;
  class(name: string, object: IngressClass | null): void;
  /** What `listed` and `fresh` answer may have changed. */
  changed(): void;
}

/** How long a holder waits for the hub's lists before it goes on without, ms: a frozen API never fails, nor answers. */
const REFRESH_MS = 3000;

interface Watched {
  readonly what: string;
  readonly reflector: Reflector<KubeObject>;
  /** A kind whose absence from the API is an answer: there are none. */
  readonly optional: boolean;
  listed: boolean;
  /** Listed by a list that began after the last `refresh`. */
  fresh: boolean;
}

/** The hub's MCIs, imports and classes, and how far what is known of them may be believed. */
export class HubSource {
  readonly #watched: readonly Watched[];
  /** MCIs by `namespace/name`. */
  readonly ingresses: ReadonlyMap<string, MultiClusterIngress>;
  readonly #sink: HubSink;
  readonly #kit: Kit;
  readonly #wake = new Wake();
  #refreshes = 0;

  constructor(hub: KubeClient, sink: HubSink, kit: Kit) {
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
    const watch = (what: string, reflector: Reflector<KubeObject>, optional = false): Watched => {
      return { what, reflector, optional, listed: false, fresh: false };
    };
    this.#watched = [
      watch("MultiClusterIngresses", ingresses),
      watch("ServiceImports", imports),
      watch("IngressClasses", classes, true),
    ];
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

  /** Lists all anew; resolves when that is done, or when it is clear that it cannot be for now. */
  async refresh(signal: AbortSignal): Promise<void> {
    const refresh = ++this.#refreshes;
    for (const w of this.#watched) {
      w.fresh = false;
      w.reflector.relist(signal).then(
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
    const answered = (w: Watched) => w.fresh || w.reflector.state.kind === "failing" || notServed(w);
    let late = false;
    const over = new AbortController();
    const limit = slept(this.#kit.clock, REFRESH_MS, AbortSignal.any([signal, over.signal])).then(() => {
      late = true;
      this.#wake.notify();
    });
    try {
      await this.#wake.until(() => late || this.#watched.every(answered), signal);
    } finally {
      over.abort();
      await limit;
    }
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
