import type { SecretRow, Trace } from "@sluice/contracts";
import type { FleetChanges, FleetModel, ReadSecret } from "@sluice/ingress";
import type { KubeClient } from "@sluice/kube";
import type { FleetPublicKey } from "@sluice/sealing";
import type { Kit } from "@sluice/service-kit";
import type { FleetRows } from "./fleet-rows.ts";
import { SecretRows } from "./secret-rows.ts";
import { SecretSource } from "./secret-source.ts";

/** Routes wait so long for Secrets that they name first, ms. */
const LOOK_MS = 1000;
/** Of what time does to certificates. */
const TIMES_MS = 60_000;
/** A part is not declared whole for want of Secrets for so long, ms: whoever may not read them never will. */
const UNREAD_MS = 30_000;
/** Certificates that a metric has: those that end first. */
const MAX_ENDS = 1000;

export interface HubSecretsPorts {
  readonly fleet: string;
  readonly key: FleetPublicKey;
  readonly model: FleetModel;
  readonly rows: FleetRows;
  /** Something that routes are made of has changed. */
  changed(seenAt: number | undefined): void;
}

/** From Secrets of the hub to rows of the fleet, beside the routes: these never wait for a Secret that cannot be read. */
export class HubSecrets {
  readonly #ports: HubSecretsPorts;
  readonly #kit: Kit;
  readonly #source: SecretSource;
  readonly #rows: SecretRows;
  #timedAt = Number.NEGATIVE_INFINITY;

  constructor(hub: KubeClient, ports: HubSecretsPorts, kit: Kit) {
    this.#ports = ports;
    this.#kit = kit;
    this.#source = new SecretSource(hub, this, kit);
    this.#rows = new SecretRows(ports.fleet, ports.key, ports.rows, kit);
    ports.model.setNow(kit.clock.now());
  }

  /** For the source. */
  secret(key: string, secret: ReadSecret | null | undefined, seenAt: number | undefined): void {
    this.#ports.model.setSecret(key, secret);
    this.#ports.changed(seenAt);
  }

  /** For the source. */
  refreshed(): void {
    this.#ports.rows.sweep();
  }

  /** Whether what is wanted of the row at a key is knowledge. */
  isKnown(key: string): boolean {
    const need = this.#rows.needAt(key);
    return need !== null && this.#source.isFresh(`${need.namespace}/${need.name}`);
  }

  /** Whether the row at a key, of which nothing is wanted, may go. */
  isUnwanted(key: string): boolean {
    return this.#rows.needAt(key) === null || (this.#rows.isGone(key) && this.isKnown(key));
  }

  get actedOn(): number | undefined {
    return this.#source.actedOn;
  }

  /** A row of the table. @param ours this process writes it */
  noted(key: string, row: SecretRow | undefined, ours: boolean): void {
    if (!ours) this.#rows.claimed();
    this.#rows.note(key, row);
  }

  /** For the holder, after each claim. */
  claimed(acted: ReadonlyMap<string, number> | null, signal: AbortSignal): void {
    this.#rows.claimed();
    this.#source.refresh(acted, signal);
  }

  /** What predecessors wrote has been read. */
  current(): void {
    this.#rows.current();
  }

  /** For the holder, before it declares its part whole. */
  async complete(signal: AbortSignal): Promise<void> {
    await this.#source.looked(UNREAD_MS, signal, true);
  }

  /**
   * Has Secrets looked at that are named since, for a while.
   * @returns what has changed by that; null: nothing was to be looked at
   */
  async looked({ named }: FleetChanges, signal: AbortSignal): Promise<FleetChanges | null> {
    this.#source.name(named);
    if (![...named.values()].includes(true)) return null;
    await this.#source.looked(LOOK_MS, signal);
    const more = this.#ports.model.settle();
    this.#source.name(more.named);
    return more;
  }

  /** Resolves when all rows that routes need are sealed and given on. */
  async write(secrets: FleetChanges["secrets"], trace: Trace | undefined): Promise<void> {
    for (const want of secrets.values()) {
      if (want?.need.field !== "--default-ssl-certificate") continue;
      const { namespace, name } = want.need;
      const why = want.kind === "stays" ? want.why : want.kind === "gone" ? "it is missing" : null;
      if (why !== null) this.#kit.log.warn({ secret: `${namespace}/${name}`, why }, "no default certificate");
    }
    await this.#rows.change(secrets, trace);
  }

  /** Routes are written that do without some rows. @param dueAt when these go, monotonic, ms */
  doom(dueAt: number): void {
    this.#rows.doom(dueAt);
  }

  /** What time alone changes. */
  expire(): void {
    this.#rows.expire();
    const { clock } = this.#kit;
    if (clock.monotonic() - this.#timedAt < TIMES_MS) return;
    this.#timedAt = clock.monotonic();
    if (this.#ports.model.setNow(clock.now())) this.#ports.changed(undefined);
    this.#count();
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#source.run(signal);
  }

  get done(): Promise<void> {
    return this.#source.done;
  }

  #count(): void {
    const gauge = this.#kit.metrics.gauge(
      "sluice_certificate_expiry_timestamp_seconds",
      "When a certificate that an object names ends; of the first thousand to end.",
      ["namespace", "secret"],
    );
    gauge.reset();
    const ends = [...this.#ports.model.certificateEnds()].sort(([, a], [, b]) => a - b);
    for (const [key, notAfter] of ends.slice(0, MAX_ENDS)) {
      const [namespace = "", secret = ""] = key.split("/");
      gauge.set({ namespace, secret }, notAfter / 1000);
    }
  }
}
