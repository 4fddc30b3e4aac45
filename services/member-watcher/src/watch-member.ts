import type { Bus, PartHolder } from "@sluice/bus";
import {
  type ClusterRecord,
  type Condition,
  clustersTable,
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
  type Node,
  reflect,
  resources,
  type Service,
  type ServiceExport,
} from "@sluice/kube";
import { type Kit, slept } from "@sluice/service-kit";
import { writeConditions } from "./condition-writer.ts";
import {
  exportConditions,
  exportRecord,
  nodeCidrs,
  serviceOfSlice,
  sliceRecord,
} from "./exported-service.ts";

/** How often a member says that it lives, and how often its API is asked whether it answers. */
const HEARTBEAT_MS = 5000;
const PROBE_MS = 2000;

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
  const nodes = reflect<Node>({
    client,
    type: resources.node,
    kit: memberKit,
    onChange: () => beat(),
  });
  const sources = [exports, services, slices];

  const holder: PartHolder<SliceValue> = bus.hold(
    slicesTable,
    { scope: cluster, shard: "0" },
    {
      fresh: async (signal) => {
        await Promise.all(sources.map((source) => source.relist(signal)));
      },
    },
  );
  const conditions = writeConditions(client, memberKit);
  const clusters = bus.writer(clustersTable);
  const verdicts = bus.view(verdictsTable, {
    filter: `${plainKeys.cluster(cluster)}.>`,
    onChange: (_key, verdict) => {
      if (verdict !== undefined) judge(`${verdict.namespace}/${verdict.service}`);
    },
  });

  /** Keys of `slices` that a service has now; what falls out is removed. */
  const published = new Map<string, Set<string>>();

  function traceOf(change: Pick<Change<never>, "seenAt" | "fromList"> | null): Trace | undefined {
    return change === null || change.fromList ? undefined : newTrace(change.seenAt);
  }

  /** The export, or its Service, changed: everything of that service is compared. */
  function onService(key: string, change: Pick<Change<never>, "seenAt" | "fromList">): void {
    const trace = traceOf(change);
    const object = exports.objects.get(key);
    const outcome = object === undefined ? null : exportRecord(cluster, object, services.objects.get(key));
    const now = new Set<string>();
    if (outcome?.exported === true) {
      const { namespace, service } = outcome.record;
      const exportKey = sliceKeys.export(cluster, namespace, service);
      now.add(exportKey);
      holder.set(exportKey, outcome.record, trace);
      for (const slice of slicesOf.get(key)?.values() ?? []) now.add(publish(service, slice, trace));
    }
    for (const old of published.get(key) ?? []) if (!now.has(old)) holder.remove(old, trace);
    if (now.size > 0) published.set(key, now);
    else published.delete(key);
    judge(key);
  }

  function publish(service: string, slice: EndpointSlice, trace: Trace | undefined): string {
    const { namespace = "", name } = slice.metadata;
    const key = sliceKeys.slice(cluster, namespace, service, name);
    holder.set(key, sliceRecord(cluster, service, slice), trace);
    return key;
  }

  /** The hot path: one slice changed. */
  function onSlice(change: Change<EndpointSlice>): void {
    const before = change.old === undefined ? null : serviceOfSlice(change.old);
    const service = change.kind === "upsert" ? serviceOfSlice(change.object) : null;
    const { namespace = "", name } = (change.kind === "upsert" ? change.object : change.old).metadata;
    const trace = traceOf(change);
    if (before !== null && before !== service) {
      const key = `${namespace}/${before}`;
      const group = slicesOf.get(key);
      group?.delete(name);
      if (group?.size === 0) slicesOf.delete(key);
      const slot = sliceKeys.slice(cluster, namespace, before, name);
      if (published.get(key)?.delete(slot) === true) holder.remove(slot, trace);
    }
    if (service === null || change.kind !== "upsert") return;
    const key = `${namespace}/${service}`;
    const group = slicesOf.get(key) ?? new Map<string, EndpointSlice>();
    group.set(name, change.object);
    slicesOf.set(key, group);
    published.get(key)?.add(publish(service, change.object, trace));
  }

  /** Writes what is to be said of an export onto it. */
  function judge(key: string): void {
    const object = exports.objects.get(key);
    if (object === undefined) return;
    const { namespace = "", name } = object.metadata;
    const said: readonly Condition[] =
      verdicts.get(plainKeys.verdict(cluster, namespace, name))?.conditions ?? [];
    const own = exportRecord(cluster, object, services.objects.get(key));
    conditions.want(object, exportConditions(own, said));
  }

  let api: ClusterRecord["api"] = { reachable: false, since: kit.clock.now(), error: "not asked yet" };
  let version: string | undefined;

  function waiting(): string[] {
    const named = { ServiceExport: exports, Service: services, EndpointSlice: slices };
    return Object.entries(named).flatMap(([kind, { state }]) => {
      if (state.kind === "waiting-for-resource") return [`${kind} is not served yet`];
      return state.kind === "failing" ? [`${kind}: ${state.error ?? "cannot be listed"}`] : [];
    });
  }

  function beat(): void {
    const cidrs = new Set([...nodes.objects.values()].flatMap(nodeCidrs));
    clusters.set(plainKeys.cluster(cluster), {
      cluster,
      heartbeatAt: kit.clock.now(),
      api,
      ...(version === undefined ? {} : { kubernetesVersion: version }),
      labels: {},
      nodeCidrs: [...cidrs].sort(),
      waiting: waiting(),
      exports: exports.objects.size,
      watcher: bus.self,
    });
  }

  function onReflectorState(): void {
    // The first states come while the reflectors are still being made.
    queueMicrotask(beat);
  }

  async function probe(): Promise<void> {
    let error: string | undefined;
    try {
      version = await client.version(AbortSignal.any([kit.signal, AbortSignal.timeout(PROBE_MS)]));
    } catch (cause) {
      error = cause instanceof Error ? cause.message : String(cause);
    }
    const reachable = error === undefined;
    if (reachable === api.reachable) return;
    if (reachable) log.info("the API answers");
    else log.warn({ error }, "the API does not answer");
    api = { reachable, since: kit.clock.now(), ...(error === undefined ? {} : { error }) };
  }

  async function heartbeat(): Promise<void> {
    do {
      await probe();
      if (kit.signal.aborted) return;
      beat();
    } while (await slept(kit.clock, HEARTBEAT_MS, kit.signal));
  }

  void holder.done.then(() => log.debug("its part is let go"));
  await Promise.all([
    heartbeat(),
    holder.done,
    conditions.done,
    clusters.done,
    verdicts.done,
    nodes.done,
    ...sources.map((source) => source.done),
  ]);
}
