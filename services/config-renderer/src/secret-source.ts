import { ReadSecret } from "@sluice/ingress";
import { type KubeClient, type Reflector, reflect, resources, type Secret } from "@sluice/kube";
import { Bursts, type Kit } from "@sluice/service-kit";
import { readAnew } from "./hub-source.ts";
import { NamedWatches } from "./named-watches.ts";
import { Wake } from "./wake.ts";

// Which Secrets of a hub are read, and why so: docs/decisions/0014-which-secrets-are-read.md.

/** Watches of one Secret each, at most: each is a connection to the hub. */
const MAX_NAMED = 1000;

export interface SecretSink {
  /**
   * @param secret null: the hub has none of that name; undefined: nobody can tell any more
   * @param seenAt when a watch told of it, ms since 1970; undefined: a list did, and it may have happened long before
   */
  secret(key: string, secret: ReadSecret | null | undefined, seenAt: number | undefined): void;
  /** What `isFresh` answers may have changed. */
  refreshed(): void;
}

interface News {
  readonly object: Secret | null | undefined;
  readonly seenAt: number | undefined;
}

/** The Secrets that somebody names, of all that the hub has; those that nobody names are read by no code of ours. */
export class SecretSource {
  readonly #sink: SecretSink;
  readonly #kit: Kit;
  readonly #certificates: Reflector<Secret>;
  /** Certificates have been listed once. */
  #listed = false;
  readonly #wanted = new Set<string>();
  /** Of those that are no certificates by type, or are not there. */
  readonly #named: NamedWatches<Secret>;
  /** Came, and has not been told of yet. */
  readonly #news = new Map<string, News>();
  readonly #told = new Set<string>();
  readonly #wake = new Wake();
  /** Not read anew yet since the last claim. */
  readonly #stale = new Set<Reflector<Secret>>();
  #refreshes = 0;
  #full = false;

  constructor(hub: KubeClient, sink: SecretSink, kit: Kit) {
    this.#sink = sink;
    this.#kit = kit;
    this.#named = new NamedWatches<Secret>(
      hub,
      {
        type: resources.secret,
        came: (key, object, seenAt) => this.#came(key, object, seenAt),
        changed: () => this.#wake.notify(),
      },
      kit,
    );
    this.#certificates = reflect<Secret>({
      client: hub,
      type: resources.secret,
      fieldSelector: "type=kubernetes.io/tls",
      kit,
      onChange: ({ key, kind, fromList, seenAt, ...change }) => {
        if (!this.#wanted.has(key)) return;
        const object = kind === "upsert" && "object" in change ? change.object : null;
        this.#came(key, object, fromList ? undefined : seenAt);
        // One of another type may have taken its name.
        if (object === null) this.#watch(key);
        else this.#unwatch(key);
      },
      onListed: () => {
        this.#listed = true;
        for (const key of this.#wanted) this.#look(key);
        this.#wake.notify();
      },
      onState: ({ kind }) => {
        // Whoever may not list all may still be allowed to read some by name.
        if (!this.#listed && kind === "failing") for (const key of this.#wanted) this.#watch(key);
        this.#wake.notify();
      },
    });
  }

  /** @param named `namespace/name` of Secrets that somebody names from now on, or (false) nobody any more */
  name(named: ReadonlyMap<string, boolean>): void {
    for (const [key, wanted] of named) {
      if (wanted === this.#wanted.has(key)) continue;
      if (wanted) {
        this.#wanted.add(key);
        if (this.#listed) this.#look(key);
        else if (this.#certificates.state.kind === "failing") this.#watch(key);
      } else {
        this.#wanted.delete(key);
        this.#unwatch(key);
        this.#told.delete(key);
        this.#came(key, undefined, undefined);
      }
    }
    this.#wake.notify();
  }

  /** Every Secret that is named has been looked at since the last `refresh`. */
  get known(): boolean {
    return [...this.#wanted].every((key) => this.#told.has(key) && this.isFresh(key));
  }

  /** What has been told of a Secret counts: it was read after the last `refresh` was asked for. */
  isFresh(key: string): boolean {
    return !this.#stale.has(this.#named.get(key) ?? this.#certificates);
  }

  /** The hub does not let them be read for now. */
  get failing(): boolean {
    return this.#certificates.state.kind === "failing" || this.#named.failing;
  }

  /**
   * Resolves when every Secret that is named has been looked at, or after `ms`.
   * @param stubborn waits also where it is clear that they cannot be for now
   */
  async looked(ms: number, signal: AbortSignal, stubborn = false): Promise<void> {
    const enough = () => this.known || (this.failing && !stubborn);
    if (enough()) return;
    await this.#wake.within(ms, enough, this.#kit.clock, signal).catch(() => {});
  }

  /** The newest resourceVersion of a certificate that was acted upon; undefined: they cannot be compared. */
  get actedOn(): number | undefined {
    return this.#certificates.actedOn;
  }

  /**
   * Brings all up to what predecessors had acted upon, by new lists where nobody says what that was; what was told before
   * does not count until that is done.
   */
  refresh(acted: ReadonlyMap<string, number> | null, signal: AbortSignal): void {
    const refresh = ++this.#refreshes;
    const anew = (reflector: Reflector<Secret>, read: Promise<void>, ended: () => boolean) => {
      this.#stale.add(reflector);
      read.then(
        () => {
          if (refresh !== this.#refreshes) return;
          this.#stale.delete(reflector);
          this.#wake.notify();
          this.#sink.refreshed();
        },
        (err: unknown) => {
          if (!signal.aborted && !ended()) this.#kit.log.warn({ err }, "listing Secrets anew failed");
        },
      );
    };
    this.#stale.clear();
    anew(
      this.#certificates,
      readAnew(this.#certificates, "Secret", acted, signal),
      () => this.#kit.signal.aborted,
    );
    for (const { reflector, read, ended } of this.#named.relisted(signal)) anew(reflector, read, ended);
  }

  /** Tells of what has come, in bursts: a certificate takes some tenths of a millisecond to read. */
  async run(signal: AbortSignal): Promise<void> {
    const bursts = new Bursts(this.#kit.clock, signal);
    while (!signal.aborted) {
      await this.#wake.until(() => this.#news.size > 0, signal).catch(() => {});
      bursts.begin();
      for (const [key, { object, seenAt }] of this.#news) {
        this.#news.delete(key);
        this.#tell(key, object, seenAt);
        if (bursts.over() && !(await bursts.rest())) return;
      }
      this.#wake.notify();
    }
  }

  get done(): Promise<void> {
    return this.#certificates.done.then(() => this.#named.done);
  }

  #tell(key: string, object: Secret | null | undefined, seenAt: number | undefined): void {
    if (object === undefined) return this.#sink.secret(key, undefined, seenAt);
    const secret = object === null ? null : new ReadSecret(object);
    // Here, where there is time for it; whoever is told asks for it at once.
    if (secret?.hasCertificate === true) void secret.certificate;
    this.#told.add(key);
    this.#sink.secret(key, secret, seenAt);
  }

  #came(key: string, object: Secret | null | undefined, seenAt: number | undefined): void {
    this.#news.set(key, { object, seenAt });
    this.#wake.notify();
  }

  /** Certificates have been listed: it is one of them, or has to be asked for by name. */
  #look(key: string): void {
    const object = this.#certificates.objects.get(key);
    if (object === undefined) return this.#watch(key);
    this.#unwatch(key);
    if (!this.#told.has(key)) this.#came(key, object, undefined);
  }

  #watch(key: string): void {
    if (this.#named.get(key) !== undefined) return;
    if (this.#named.size >= MAX_NAMED) {
      if (!this.#full) {
        this.#full = true;
        this.#kit.log.warn({ secret: key }, "a thousand Secrets are watched by name, more count as missing");
      }
      if (this.#listed) this.#came(key, null, undefined);
      return;
    }
    this.#named.add(key);
  }

  #unwatch(key: string): void {
    const reflector = this.#named.get(key);
    if (reflector === undefined) return;
    this.#stale.delete(reflector);
    this.#named.delete(key);
  }
}
