import { isIP } from "node:net";
import { KubeStatusError, type ObjectFindings } from "@sluice/contracts";
import type { Reason, Verdict } from "@sluice/ingress";
import { type KubeClient, type KubeObject, type MultiClusterIngress, recordEvent } from "@sluice/kube";
import { Backoff, createGuard, type Guard, type Kit, NewestByKey, slept } from "@sluice/service-kit";

const MANAGER = "sluice-config-renderer";
/** A verdict must stand so long before it is told, ms: objects that are applied together come one by one. */
const SETTLE_MS = 1000;
const CALL_MS = 5000;
const WORKERS = 4;
/**
 * Reasons that heartbeats leave out: routes that answer 503 are rows of the fleet, which say why; and an annotation, or
 * a key of the ConfigMap, that means nothing here changes nothing.
 */
const shownElsewhere: ReadonlySet<Reason> = new Set([
  "AnnotationsIgnored",
  "BackendInvalid",
  "BackendUnsupported",
  "ConfigMapIgnored",
  "ImportMissing",
  "PortMissing",
  "ProtectionRefused",
]);
/** A heartbeat a second carries them. */
const MAX_FINDINGS = 20;
const MAX_MESSAGE = 200;
/** Answers of the API that say nothing of its health, and that the same write would get again. */
const ANSWERS = new Set([400, 403, 404, 409, 422]);

type Address = { readonly ip: string } | { readonly hostname: string };

/** Writes back to the hub, beside the hot path: addresses into the status of MCIs, verdicts as Events. */
export class HubReporter {
  readonly #hub: KubeClient;
  readonly #kit: Kit;
  readonly #addresses: readonly Address[];
  readonly #speaks: () => boolean;
  readonly #guard: Guard;
  readonly #queue = new NewestByKey<string, (signal: AbortSignal) => Promise<void>>();
  /** Objects whose verdicts changed, by verdict key; told once they have stood for a while. */
  readonly #standing = new Map<string, readonly Verdict[]>();
  readonly #changedAt = new Map<string, number>();
  readonly #told = new Map<string, ReadonlySet<string>>();

  /** @param speaks whether this process is the one that writes for its fleet; others keep quiet */
  constructor(hub: KubeClient, addresses: readonly string[], speaks: () => boolean, kit: Kit) {
    this.#hub = hub;
    this.#speaks = speaks;
    this.#kit = kit;
    this.#addresses = addresses.map((text) => (isIP(text) === 0 ? { hostname: text } : { ip: text }));
    this.#guard = createGuard({
      name: "hub writes",
      timeoutMs: CALL_MS,
      clock: kit.clock,
      isAnswer: (error) => error instanceof KubeStatusError && ANSWERS.has(error.status),
    });
  }

  /** An MCI came, changed or went (null); `served`: by this fleet. */
  ingress(key: string, object: MultiClusterIngress | null, served: boolean): void {
    if (object === null || this.#addresses.length === 0 || !this.#speaks()) return;
    const wanted = served ? this.#addresses : [];
    const there = object.status?.loadBalancer?.ingress ?? [];
    if (sameAddresses(there, wanted)) return;
    // Somebody else's address on an object that is not ours is theirs.
    if (!served && !wroteStatus(object)) return;
    const { name, namespace = "" } = object.metadata;
    this.#queue.set(`status ${key}`, async (signal) => {
      await this.#hub.apply(
        {
          apiVersion: object.apiVersion,
          kind: object.kind,
          metadata: { name, namespace },
          ...(served ? { status: { loadBalancer: { ingress: wanted } } } : {}),
        } as KubeObject,
        { fieldManager: MANAGER, force: true, subresource: "status" },
        signal,
      );
    });
  }

  /** All that is to be said of each object now; empty: nothing any more. */
  verdicts(changed: ReadonlyMap<string, readonly Verdict[]>): void {
    const now = this.#kit.clock.monotonic();
    for (const [object, verdicts] of changed) {
      if (verdicts.length === 0) this.#standing.delete(object);
      else this.#standing.set(object, verdicts);
      this.#changedAt.set(object, now);
    }
    this.#count();
  }

  /** What stands and is wrong, bounded, for heartbeats; undefined: nothing, or another process speaks. */
  findings(): ObjectFindings | undefined {
    if (!this.#speaks()) return undefined;
    const findings: ObjectFindings["findings"] = [];
    let more = 0;
    for (const object of [...this.#standing.keys()].sort()) {
      for (const { type, reason, message } of this.#standing.get(object) ?? []) {
        if (type !== "Warning" || shownElsewhere.has(reason)) continue;
        if (findings.length === MAX_FINDINGS) more++;
        else findings.push({ object, reason, message: shortened(message) });
      }
    }
    return findings.length === 0 ? undefined : { findings, more };
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([
      this.#queue.run(WORKERS, signal, (what, write) => this.#write(what, write, signal)),
      this.#tell(signal),
    ]);
  }

  async #tell(signal: AbortSignal): Promise<void> {
    const { clock } = this.#kit;
    while (await slept(clock, SETTLE_MS / 4, signal)) {
      if (!this.#speaks()) continue;
      for (const [object, at] of this.#changedAt) {
        if (clock.monotonic() - at < SETTLE_MS) continue;
        this.#changedAt.delete(object);
        this.#tellObject(object, this.#standing.get(object) ?? []);
      }
    }
  }

  /** What has been said of this object already, and still stands, is not said again. */
  #tellObject(object: string, verdicts: readonly Verdict[]): void {
    const idOf = (v: Verdict) => JSON.stringify([v.object.uid, v.reason, v.message]);
    const before = this.#told.get(object);
    for (const verdict of verdicts) {
      if (before?.has(idOf(verdict))) continue;
      const { apiVersion, kind, name, namespace, uid } = verdict.object;
      const regarding = {
        apiVersion,
        kind,
        metadata: { name, namespace, ...(uid === undefined ? {} : { uid }) },
      };
      this.#queue.set(`event ${idOf(verdict)} ${object}`, (signal) =>
        recordEvent(
          this.#hub,
          {
            regarding,
            type: verdict.type,
            reason: verdict.reason,
            message: verdict.message,
            component: MANAGER,
          },
          signal,
        ),
      );
    }
    if (verdicts.length === 0) this.#told.delete(object);
    else this.#told.set(object, new Set(verdicts.map(idOf)));
  }

  #count(): void {
    const gauge = this.#kit.metrics.gauge("sluice_verdicts", "Problems of hub objects that stand now.", [
      "kind",
      "reason",
    ]);
    gauge.reset();
    for (const verdicts of this.#standing.values()) {
      for (const verdict of verdicts) gauge.inc({ kind: verdict.object.kind, reason: verdict.reason });
    }
  }

  /** Until it is written, or the API has said that it will not be. */
  async #write(
    what: string,
    write: (signal: AbortSignal) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const { log, clock, metrics, random } = this.#kit;
    const backoff = new Backoff(500, 15_000, random.next);
    for (let told = false; ; told = true) {
      try {
        await this.#guard.run(write, signal);
        return;
      } catch (err) {
        if (signal.aborted) return;
        if (err instanceof KubeStatusError && ANSWERS.has(err.status)) {
          metrics.errors.inc({ error_type: err.code });
          log.info({ err, what }, "the hub refused a write");
          return;
        }
        if (told) log.debug({ err, what }, "the hub did not take a write, trying again");
        else log.warn({ err, what }, "the hub did not take a write, trying again");
        if (!(await slept(clock, backoff.next() + 100, signal))) return;
      }
    }
  }
}

function shortened(message: string): string {
  return message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE - 1)}…` : message;
}

function sameAddresses(there: readonly object[], wanted: readonly Address[]): boolean {
  const text = (list: readonly object[]) =>
    JSON.stringify(
      list.map((a) => [(a as { ip?: string }).ip ?? "", (a as { hostname?: string }).hostname ?? ""]),
    );
  return text(there) === text(wanted);
}

function wroteStatus(object: KubeObject): boolean {
  return (object.metadata.managedFields ?? []).some(
    (f) => f.manager === MANAGER && f.subresource === "status",
  );
}
