import { KubeStatusError } from "@sluice/contracts";
import {
  type KubeClient,
  type KubeObject,
  Reconciler,
  type Reflector,
  type ResourceType,
  reflect,
} from "@sluice/kube";
import { Backoff, createGuard, type Guard, type Kit, slept } from "@sluice/service-kit";
import type { Hub, Wanted } from "./hub.ts";
import { findLeftovers } from "./leftovers.ts";
import { idOf, type ObjectId, splitId } from "./object-id.ts";
import { kindId } from "./policy.ts";
import type { ProblemReporter } from "./problem-reporter.ts";
import {
  FIELD_MANAGER,
  isManaged,
  keepReplicas,
  MANAGED_LABEL,
  ownedFields,
  PRESERVE_ANNOTATION,
  templateHash,
} from "./template.ts";

/** Milliseconds one write to a member may take. */
const CALL_MS = 10_000;
/** A failure that mends itself within so long is nobody's business: a namespace or a CRD that is just on its way. */
const REPORT_AFTER_MS = 3000;
/** An object of somebody else's that is in the way is looked at again. */
const LOOK_AGAIN_MS = 30_000;
/** Two controllers that both insist on a field must not write at the API's speed. */
const RESTORE_EVERY_MS = 2000;

interface Mirror {
  readonly type: ResourceType;
  readonly reflector: Reflector<KubeObject>;
}

/** One member: what we made there, and a queue of its own, so that a member that hangs delays no other. */
export class Member {
  readonly name: string;
  readonly #client: KubeClient;
  readonly #hub: Hub;
  readonly #kit: Kit;
  /** As it was given: a reflector names the cluster in its log lines itself. */
  readonly #plainKit: Kit;
  readonly #reporter: ProblemReporter;
  readonly #guard: Guard;
  readonly #queue: Reconciler;
  readonly #mirrors = new Map<string, Mirror>();
  /** What we own of each object since our last write of it. */
  readonly #applied = new Map<ObjectId, { readonly fields: string; readonly at: number }>();
  readonly #failingSince = new Map<ObjectId, number>();

  constructor(client: KubeClient, hub: Hub, kit: Kit, reporter: ProblemReporter) {
    this.name = client.name;
    this.#client = client;
    this.#hub = hub;
    this.#plainKit = kit;
    this.#kit = { ...kit, log: kit.log.child({ cluster: client.name }) };
    this.#reporter = reporter;
    this.#guard = createGuard({
      name: `${client.name} writes`,
      timeoutMs: CALL_MS,
      isAnswer: (error) => error instanceof KubeStatusError && error.status < 500,
    });
    this.#queue = new Reconciler({
      name: "object",
      kit: this.#kit,
      workers: 8,
      backoff: [50, 5000],
      reconcile: async (id, signal) => {
        await this.#reconcile(id, signal);
        this.#failingSince.delete(id);
      },
      onFailure: (id, error) => this.#onFailure(id, error),
    });
  }

  /** Until kit.signal aborts. */
  async run(): Promise<void> {
    await Promise.all([this.#queue.run(), this.#sweep()]);
    await Promise.all([...this.#mirrors.values()].map(({ reflector }) => reflector.done));
  }

  check(id: ObjectId): void {
    this.#queue.add(id);
  }

  /** All of a kind that the hub has or that we made here; `*`: all that we made here. */
  checkKind(kind: string): void {
    for (const id of this.#hub.ids(kind)) this.#queue.add(id);
    for (const [mirrored, { reflector }] of this.#mirrors) {
      if (kind !== "*" && kind !== mirrored) continue;
      for (const object of reflector.objects.values()) this.#queue.add(idOf(object));
    }
  }

  /** Follows what we made of this kind. */
  follow(type: ResourceType): void {
    const kind = kindId(type.group === "" ? type.version : `${type.group}/${type.version}`, type.kind);
    if (this.#mirrors.has(kind)) return;
    const reflector = reflect<KubeObject>({
      client: this.#client,
      type,
      labelSelector: `${MANAGED_LABEL}=true`,
      kit: this.#plainKit,
      onChange: (change) => this.check(idOf(change.kind === "delete" ? change.old : change.object)),
      // Served from now on, perhaps for the first time: what failed for want of the kind is due.
      onListed: () => this.checkKind(kind),
    });
    this.#mirrors.set(kind, { type, reflector });
  }

  async #reconcile(id: ObjectId, signal: AbortSignal): Promise<void> {
    const wanted = this.#hub.wanted(id, this.name);
    const { kind, key } = splitId(id);
    const mirror = this.#mirrors.get(kind);
    const labelled = mirror?.reflector.objects.get(key);
    const live = labelled !== undefined && isManaged(labelled) ? labelled : null;
    switch (wanted.kind) {
      case "unknown":
        return;
      case "absent":
        if (live !== null && mirror !== undefined) await this.#withdraw(id, mirror.type, live, signal);
        return;
      case "present":
        if (mirror === undefined) return;
        await this.#provide(id, mirror.type, wanted, live, signal);
    }
  }

  async #provide(
    id: ObjectId,
    type: ResourceType,
    wanted: Extract<Wanted, { kind: "present" }>,
    live: KubeObject | null,
    signal: AbortSignal,
  ): Promise<void> {
    const { body, template, taken } = wanted;
    const applied = this.#applied.get(id);
    if (live !== null && applied !== undefined && templateHash(live) === templateHash(body)) {
      if (applied.fields === ownedFields(live)) return;
      const leftMs = applied.at + RESTORE_EVERY_MS - this.#kit.clock.monotonic();
      if (leftMs > 0) return this.#queue.addAfter(id, leftMs);
      this.#kit.log.info({ id }, "restoring what was changed in the member");
    }
    const { namespace, name } = body.metadata;
    const present =
      live ?? (await this.#guard.run((bound) => this.#client.get(type, { namespace, name }, bound), signal));
    if (present !== null && !isManaged(present) && taken !== "overwrite") {
      if (taken === "report") {
        const what = `${this.name}: ${body.kind} ${name} is there already and was not made by Sluice, so it is left alone`;
        const remedy = "delete it there, or set conflictResolution: Overwrite in the policy";
        this.#reporter.report(template, "AlreadyInMember", `${what}; ${remedy}`);
      }
      return this.#queue.addAfter(id, LOOK_AGAIN_MS);
    }
    const answer = await this.#apply(type, keepReplicas(body, present), present, signal);
    this.#applied.set(id, { fields: ownedFields(answer), at: this.#kit.clock.monotonic() });
    this.#kit.log.debug({ id }, "applied");
  }

  async #apply(
    type: ResourceType,
    body: KubeObject,
    present: KubeObject | null,
    signal: AbortSignal,
  ): Promise<KubeObject> {
    // Force: what is restored is owned by whoever changed it. Only fields of the template are in the body.
    const options = { fieldManager: FIELD_MANAGER, force: true };
    const apply = () => this.#guard.run((bound) => this.#client.apply(body, options, bound), signal);
    try {
      return await apply();
    } catch (error) {
      const mixed = error instanceof KubeStatusError && error.status === 422 && present !== null;
      if (!mixed) throw error;
      // An item that somebody put in place of ours (another port, say) is theirs: apply keeps it beside ours, and the
      // two together may be invalid. A merge patch sets our lists whole.
      const { apiVersion: _v, kind: _k, metadata, ...content } = body as KubeObject & Record<string, unknown>;
      const { namespace, name } = metadata;
      const manager = { fieldManager: FIELD_MANAGER };
      await this.#guard.run(
        (bound) => this.#client.mergePatch(type, { namespace, name }, content, manager, bound),
        signal,
      );
      return await apply();
    }
  }

  async #withdraw(id: ObjectId, type: ResourceType, live: KubeObject, signal: AbortSignal): Promise<void> {
    this.#applied.delete(id);
    const { namespace, name, uid, deletionTimestamp, annotations } = live.metadata;
    if (deletionTimestamp !== undefined) return;
    const ref = { namespace, name };
    if (annotations?.[PRESERVE_ANNOTATION] === "true") {
      const patch = { metadata: { uid, labels: { [MANAGED_LABEL]: null } } };
      await this.#guard.run((bound) => this.#client.mergePatch(type, ref, patch, {}, bound), signal);
      this.#kit.log.info({ id }, "left in the member, as its policy asked");
      return;
    }
    const options = { preconditions: { uid: uid ?? "" }, propagationPolicy: "Background" } as const;
    await this.#guard.run((bound) => this.#client.delete(type, ref, options, bound), signal);
    this.#kit.log.info({ id }, "withdrawn");
  }

  #onFailure(id: ObjectId, error: unknown): void {
    const now = this.#kit.clock.monotonic();
    const since = this.#failingSince.get(id) ?? now;
    this.#failingSince.set(id, since);
    if (now - since < REPORT_AFTER_MS) return;
    const wanted = this.#hub.wanted(id, this.name);
    // An API that is away is the cluster's problem, shown with the cluster, not each object's.
    if (wanted.kind !== "present" || !(error instanceof KubeStatusError)) return;
    const remedies: Readonly<Record<number, string>> = {
      403: "grant the kind there, as deploy/rbac/member/propagator.yaml has others",
      404: "create the namespace or the CRD there, or propagate it by a policy",
    };
    const remedy = remedies[error.status] ?? "correct the template";
    this.#reporter.report(wanted.template, "NotPropagated", `${error.message}; ${remedy}`);
  }

  /** Once: what we made in an earlier life of kinds that no policy names any more. */
  async #sweep(): Promise<void> {
    const { signal, clock, log } = this.#kit;
    const backoff = new Backoff(500, 30_000);
    while (!signal.aborted) {
      try {
        for (const type of await findLeftovers(this.#client, `${MANAGED_LABEL}=true`, signal))
          this.follow(type);
        return;
      } catch (err) {
        if (signal.aborted) return;
        const retryInMs = backoff.next();
        log.debug({ err, retryInMs }, "kinds of the member not known yet");
        await slept(clock, retryInMs, signal);
      }
    }
  }
}
