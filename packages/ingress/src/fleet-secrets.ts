import { type CertificateState, certificateState, timeVerdicts } from "./certificate-times.ts";
import type { CompiledIngress } from "./compile-ingress.ts";
import type { SecretLookup } from "./host-tls.ts";
import type { ReadSecret } from "./secret.ts";
import { type SecretNeed, secretId, secretKey } from "./secret-need.ts";
import { type SecretWant, wantOf } from "./secret-want.ts";
import { SetIndex } from "./set-index.ts";
import { SharedRows } from "./shared-rows.ts";
import type { Verdict } from "./verdict.ts";

export interface SecretOptions {
  /** What is secret can be sealed for the fleet's proxies: it serves certificates. Absent: it does not. */
  readonly servesTls?: boolean;
  /** A Secret whose certificate is shown where no other is to be; null: the proxies' own. */
  readonly defaultCertificate?: { readonly namespace: string; readonly name: string } | null;
}

export interface SecretChanges {
  /** By id: what is to be of the rows of Secrets that came into use, or changed; null: no route needs it any more. */
  readonly secrets: ReadonlyMap<string, SecretWant | null>;
  /** `namespace/name` of Secrets that somebody names since the last `settle`, or (false) names no more. */
  readonly named: ReadonlyMap<string, boolean>;
}

/** Names the default certificate in place of an MCI. */
const NOBODY = "";

/** The Secrets that objects name, as far as they are known, and the rows that routes need of them. */
export class FleetSecrets {
  readonly #servesTls: boolean;
  readonly defaultCertificate: SecretNeed | null;
  /** null: the hub has none of that name. What is missing here nobody has looked at. */
  readonly #known = new Map<string, ReadSecret | null>();
  /** MCIs by the Secrets that they name. */
  readonly #namers = new SetIndex();
  readonly #needs = new SharedRows<SecretNeed>(secretId);
  readonly #idsOf = new SetIndex();
  /** As of `#now`. */
  readonly #states = new Map<string, CertificateState>();
  /** Milliseconds since 1970. */
  #now = 0;
  readonly #dirty = new Set<string>();
  /** Of which it may have changed whether anybody names them. */
  readonly #renamed = new Set<string>();

  constructor({ servesTls = false, defaultCertificate = null }: SecretOptions) {
    this.#servesTls = servesTls;
    this.defaultCertificate =
      servesTls && defaultCertificate !== null
        ? { kind: "tls", ...defaultCertificate, field: "--default-ssl-certificate" }
        : null;
    if (this.defaultCertificate !== null) this.#name(secretKey(this.defaultCertificate), NOBODY);
  }

  /** null: this fleet has no key for what is secret. */
  get lookup(): SecretLookup | null {
    return this.#servesTls ? (key) => this.#known.get(key) : null;
  }

  /**
   * @param secret null: the hub has none of that name; undefined: nobody can tell any more
   * @returns keys of the MCIs that this concerns
   */
  set(key: string, secret: ReadSecret | null | undefined): ReadonlySet<string> {
    if (secret === undefined) this.#known.delete(key);
    else this.#known.set(key, secret);
    this.#dirty.add(key);
    this.#judge(key);
    return this.#namers.get(key);
  }

  /** An MCI came. */
  link(compiled: CompiledIngress): void {
    for (const key of secretsOf(compiled)) this.#name(key, compiled.key);
  }

  unlink(compiled: CompiledIngress): void {
    for (const key of secretsOf(compiled)) {
      this.#namers.delete(key, compiled.key);
      this.#renamed.add(key);
    }
  }

  /** A host's routes need these from now on. */
  use(host: string, before: readonly SecretNeed[] | undefined, after: readonly SecretNeed[]): void {
    this.#needs.use(host, before, after);
  }

  /** @param now milliseconds since 1970. @returns keys of the MCIs of which time has made something else to say */
  setNow(now: number): ReadonlySet<string> {
    this.#now = now;
    const concerned = new Set<string>();
    for (const key of this.#namers.keys()) {
      if (this.#judge(key)) for (const ingress of this.#namers.get(key)) concerned.add(ingress);
    }
    return concerned;
  }

  verdicts(compiled: CompiledIngress): Verdict[] {
    return timeVerdicts(compiled, (key) => this.#known.get(key), this.#now);
  }

  /** Certificates that somebody names: `namespace/name` of their Secret, and when they end, milliseconds since 1970. */
  *ends(): IterableIterator<[key: string, notAfter: number]> {
    for (const key of this.#states.keys()) {
      const certificate = this.#known.get(key)?.certificate;
      if (certificate?.ok && this.#namers.get(key).size > 0) yield [key, certificate.value.notAfter];
    }
  }

  settle(): SecretChanges {
    const secrets = new Map<string, SecretWant | null>();
    for (const [id, need, used] of this.#needs.settle()) {
      const key = secretKey(need);
      if (used) {
        this.#idsOf.add(key, id);
        this.#dirty.add(key);
      } else {
        this.#idsOf.delete(key, id);
        secrets.set(id, null);
      }
    }
    for (const key of this.#dirty) {
      for (const id of this.#idsOf.get(key)) {
        secrets.set(id, wantOf(this.#needs.get(id) as SecretNeed, this.#known.get(key)));
      }
    }
    this.#dirty.clear();
    const named = new Map([...this.#renamed].map((key) => [key, this.#namers.get(key).size > 0]));
    this.#renamed.clear();
    return { secrets, named };
  }

  #name(key: string, who: string): void {
    this.#namers.add(key, who);
    this.#renamed.add(key);
  }

  /** @returns whether there is something else to say of a certificate than before */
  #judge(key: string): boolean {
    const certificate = this.#known.get(key)?.certificate;
    const state = certificate?.ok ? certificateState(certificate.value, this.#now) : undefined;
    if (state === this.#states.get(key)) return false;
    if (state === undefined) this.#states.delete(key);
    else this.#states.set(key, state);
    return true;
  }
}

/** Every Secret that a change of would change this MCI's rows, or what is said of it. */
function secretsOf({ ref, tls, paths }: CompiledIngress): Set<string> {
  const certificates = tls.flatMap(({ secret }) => (secret === null ? [] : [`${ref.namespace}/${secret}`]));
  return new Set([...certificates, ...paths.flatMap(({ needs = [] }) => needs.map(secretKey))]);
}
