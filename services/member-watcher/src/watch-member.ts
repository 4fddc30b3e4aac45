import type { Bus, PartHolder } from "@sluice/bus";
import {
  type Condition,
  newTrace,
  plainKeys,
  type SliceValue,
  sliceKeys,
  slicesTable,
  type Trace,
  verdictsTable,
} from "@sluice/contracts";
import {
  type Change,
  type EndpointSlice,
  type KubeClient,
  reflect,
  resources,
  type Service,
  type ServiceExport,
} from "@sluice/kube";
import type { Kit } from "@sluice/service-kit";
import { writeConditions } from "./condition-writer.ts";
import { exportConditions, exportRecord, serviceOfSlice, sliceRecord } from "./exported-service.ts";
import { startHeartbeat } from "./member-heartbeat.ts";

export interface MemberPorts {
  readonly bus: Bus;
  readonly client: KubeClient;
}

/**
 * Watches one member and keeps its part of `slices`, its record in `clusters` and the conditions of its exports.
 * Resolves when the kit's signal has aborted and nothing runs any more. The way of one change, top to bottom:
 * reflector → `onSlice` → holder.set.
 */
export async function watchMember({ bus, client }: MemberPorts, kit: Kit): Promise<void> {
  const cluster = client.name;
  const log = kit.log.child({ cluster });
  const memberKit = { ...kit, log };

  const exports = reflect<ServiceExport>({
    client,
    type: resources.serviceExport,
    kit: memberKit,
    onChange: (change) => onService(change.key, change),
    onState: onReflectorState,
  });
  const services = reflect<Service>({
    client,
    type: resources.service,
    kit: memberKit,
    onChange: (change) => onService(change.key, change),
    onState: onReflectorState,
  });
  /** `namespace/service` → its slices by name: one change costs that service's slices, not the cluster's. */
  const slicesOf = new Map<string, Map<string, EndpointSlice>>();
  const slices = reflect<EndpointSlice>({
    client,
    type: resources.endpointSlice,
    kit: memberKit,
    onChange: onSlice,
    onState: onReflectorState,
  });
  const sources = [exports, services, slices];

  const holder: PartHolder<SliceValue> = bus.hold(
    slicesTable,
    { scope: cluster, shard: "0" },
    {
      fresh: async (signal) => {
        exportsListed = listExports(signal);
        await Promise.all([
          services.relist(signal),
          slices.relist(signal),
          Promise.race([exportsListed.done, exportsNotServed(signal)]),
        ]);
      },
      // A kind that is not served cannot be listed, which is no knowledge of what was there when it was.
      knows: () => exportsListed.listed,
      complete: async () => {
        if (holder.occupied) await exportsListed.done;
      },
    },
  );

  /** The list of exports that belongs to the newest claim. */
  let exportsListed: { listed: boolean; readonly done: Promise<void> } = {
    listed: false,
    done: new Promise(() => {}),
  };
  function listExports(signal: AbortSignal): { listed: boolean; readonly done: Promise<void> } {
    const begun = {
      listed: false,
      done: exports.relist(signal).then(() => {
        begun.listed = true;
        holder.recheck();
      }),
    };
    // Whoever awaits it is told; with the CRD away nobody may.
    begun.done.catch((err: unknown) => log.debug({ err }, "exports were not listed under this claim"));
    return begun;
  }
  let stateChanged = () => {};
  async function exportsNotServed(signal: AbortSignal): Promise<void> {
    while (exports.state.kind !== "waiting-for-resource") {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const abort = () => reject(signal.reason);
      stateChanged = resolve;
      signal.addEventListener("abort", abort, { once: true });
      await promise.finally(() => signal.removeEventListener("abort", abort));
    }
  }

  const conditions = writeConditions(client, memberKit);
  const verdicts = bus.view(verdictsTable, {
    filter: `${plainKeys.cluster(cluster)}.>`,
    onChange: (key, verdict) => {
      if (verdict !== undefined) judge(`${verdict.namespace}/${verdict.service}`);
      else for (const [id, object] of exports.objects) if (verdictKey(object) === key) judge(id);
    },
  });
  const heartbeat = startHeartbeat({ bus, client, waiting, exports: () => exports.objects.size }, memberKit);

  /** Keys of `slices` that a service has now; what falls out is removed. */
  const published = new Map<string, Set<string>>();

  /** A list may tell of what happened long before: only what was watched can be followed. */
  function traceOf(change: Pick<Change<never>, "seenAt" | "fromList">): Trace | undefined {
    return change.fromList ? undefined : newTrace(change.seenAt);
  }

  /** The export, or its Service, changed: everything of that service is compared. */
  function onService(key: string, change: Pick<Change<never>, "seenAt" | "fromList">): void {
    const object = exports.objects.get(key);
    const before = published.get(key);
    if (object === undefined) conditions.forget(key);
    // Most Services are nobody's export.
    if (object === undefined && before === undefined) return;
    const trace = traceOf(change);
    if (trace !== undefined) log.debug({ trace: trace.id, cluster, export: key }, "seen");
    const outcome = object === undefined ? null : exportRecord(cluster, object, services.objects.get(key));
    const now = new Set<string>();
    if (outcome?.exported === true) {
      const { namespace, service } = outcome.record;
      const exportKey = sliceKeys.export(cluster, namespace, service);
      now.add(exportKey);
      holder.set(exportKey, outcome.record, trace);
      for (const slice of slicesOf.get(key)?.values() ?? []) now.add(publish(service, slice, trace));
    }
    for (const old of before ?? []) if (!now.has(old)) holder.remove(old, trace);
    if (now.size > 0) published.set(key, now);
    else published.delete(key);
    judge(key);
  }

  function publish(service: string, slice: EndpointSlice, trace: Trace | undefined): string {
    const { namespace = "", name } = slice.metadata;
    const key = sliceKeys.slice(cluster, namespace, service, name);
    if (trace !== undefined) log.debug({ trace: trace.id, key }, "slices");
    holder.set(key, sliceRecord(cluster, service, slice), trace);
    return key;
  }

  /** The hot path: one slice changed. */
  function onSlice(change: Change<EndpointSlice>): void {
    const before = change.old === undefined ? null : serviceOfSlice(change.old);
    const service = change.kind === "upsert" ? serviceOfSlice(change.object) : null;
    const { namespace = "", name } = (change.kind === "upsert" ? change.object : change.old).metadata;
    if (before !== null && before !== service) {
      const key = `${namespace}/${before}`;
      const group = slicesOf.get(key);
      group?.delete(name);
      if (group?.size === 0) slicesOf.delete(key);
      const slot = sliceKeys.slice(cluster, namespace, before, name);
      if (published.get(key)?.delete(slot) === true) {
        const trace = traceOf(change);
        if (trace !== undefined) log.debug({ trace: trace.id, key: slot }, "slices, removed");
        holder.remove(slot, trace);
      }
    }
    if (service === null || change.kind !== "upsert") return;
    const key = `${namespace}/${service}`;
    let group = slicesOf.get(key);
    if (group === undefined) {
      group = new Map();
      slicesOf.set(key, group);
    }
    group.set(name, change.object);
    const slots = published.get(key);
    if (slots !== undefined) slots.add(publish(service, change.object, traceOf(change)));
  }

  function verdictKey({ metadata: { namespace = "", name } }: ServiceExport): string {
    return plainKeys.verdict(cluster, namespace, name);
  }

  /** Before Services and verdicts have been read once, that one is missing is not known. */
  let mayJudge = false;

  /** Writes what is to be said of an export onto it. */
  function judge(key: string): void {
    const object = exports.objects.get(key);
    if (!mayJudge || object === undefined) return;
    const said: readonly Condition[] = verdicts.get(verdictKey(object))?.conditions ?? [];
    const own = exportRecord(cluster, object, services.objects.get(key));
    conditions.want(object, exportConditions(own, said));
  }

  async function judgeOnceRead(): Promise<void> {
    try {
      await Promise.all([
        exports.listed(kit.signal),
        services.listed(kit.signal),
        verdicts.caughtUp(kit.signal),
      ]);
    } catch (error) {
      if (kit.signal.aborted) return;
      throw error;
    }
    mayJudge = true;
    for (const key of exports.objects.keys()) judge(key);
  }

  function waiting(): string[] {
    const named = { ServiceExport: exports, Service: services, EndpointSlice: slices };
    return Object.entries(named).flatMap(([kind, { state }]) => {
      if (state.kind === "waiting-for-resource") return [`${kind} is not served yet`];
      return state.kind === "failing" ? [`${kind}: ${state.error ?? "cannot be listed"}`] : [];
    });
  }

  function onReflectorState(): void {
    // The first states come while the rest is still being made.
    queueMicrotask(() => {
      stateChanged();
      heartbeat.beat();
    });
  }

  await Promise.all([
    judgeOnceRead(),
    heartbeat.done,
    holder.done,
    conditions.done,
    verdicts.done,
    ...sources.map((source) => source.done),
  ]);
}
