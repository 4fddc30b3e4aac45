import type { Bus, HoldRequest, PartHolder } from "@sluice/bus";
import {
  type Condition,
  type Intents,
  newTrace,
  plainKeys,
  type SliceValue,
  sliceKeys,
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
import { Bursts, type Kit } from "@sluice/service-kit";
import { writeConditions } from "./condition-writer.ts";
import { exportConditions, exportRecord, serviceOfSlice, sliceRecord } from "./exported-service.ts";
import { ExportsKnown } from "./exports-known.ts";
import { ListGuard } from "./list-guard.ts";
import { startHeartbeat } from "./member-heartbeat.ts";
import type { MemberLayout } from "./member-layout.ts";
import { type PeerProbe, tcpProbe } from "./peer-probe.ts";
import { Shards } from "./shards.ts";

export interface MemberPorts {
  readonly bus: Bus;
  readonly client: KubeClient;
  readonly layout: MemberLayout;
  /** Orders about it, read up to now. */
  readonly intents: Intents;
  /** Whether a peer still answers; default: by a TCP connection. */
  readonly answers?: PeerProbe | undefined;
}

export interface MemberWatch {
  /** This process holds a shard of the member. */
  readonly holding: boolean;
  /** An order about the member came, or was taken back. */
  ordered(): void;
  /** Resolves when the kit's signal has aborted and nothing runs any more. */
  readonly done: Promise<void>;
}

/** Slices of one export that are told as part of its change; more of them are a backlog. */
const FOLLOWED_SLICES = 16;

/**
 * Watches one member and keeps its part of `slices`, its record in `clusters` and the conditions of its exports: of the
 * shards that are this process's. For the others its caches stay warm. The way of one change, top to bottom:
 * reflector → `onSlice` → guard.set → shards.set.
 */
export function watchMember({ bus, client, layout, intents, answers }: MemberPorts, kit: Kit): MemberWatch {
  const cluster = client.name;
  const log = kit.log.child({ cluster });
  const memberKit = { ...kit, log };

  const exports = reflect<ServiceExport>({
    client,
    type: resources.serviceExport,
    kit: memberKit,
    onChange: (change) => onService(change.key, change),
    onListed,
    onState: onReflectorState,
  });
  const services = reflect<Service>({
    client,
    type: resources.service,
    kit: memberKit,
    onChange: (change) => onService(change.key, change),
    onListed,
    onState: onReflectorState,
  });
  /** `namespace/service` → its slices by name: one change costs that service's slices, not the cluster's. */
  const slicesOf = new Map<string, Map<string, EndpointSlice>>();
  const slices = reflect<EndpointSlice>({
    client,
    type: resources.endpointSlice,
    kit: memberKit,
    onChange: onSlice,
    onListed,
    onState: onReflectorState,
  });
  const sources = [exports, services, slices];

  const exportsKnown = new ExportsKnown(exports, memberKit);
  const shards = new Shards({ bus, cluster, layout, request: holdShard, onCut: publishAll }, memberKit);

  const guard = new ListGuard(
    {
      cluster,
      holds: (key) => shards.holdsKey(key),
      keys: () => shards.keys(),
      partial: () => sources.some(({ partial }) => partial),
      set: (key, value, trace) => shards.set(key, value, trace),
      remove: (key, trace) => shards.remove(key, trace),
      intents,
      answers: answers ?? tcpProbe(kit.clock),
      onChange: () => heartbeat.beat(),
    },
    memberKit,
  );

  function onListed(): void {
    guard.listed();
  }

  function holdShard(
    _shard: string,
    holder: () => PartHolder<SliceValue> | undefined,
  ): Omit<HoldRequest, "signal"> {
    let known = exportsKnown.begin(() => {});
    return {
      warm: async (signal) => {
        await Promise.all([services.listed(signal), slices.listed(signal), exportsKnown.listed(signal)]);
        await publishing;
      },
      fresh: async (signal, { sources: acted }) => {
        // A cache that has seen all that the predecessors had acted upon knows no less than they did.
        const read = (reflector: (typeof sources)[number], kind: string) => {
          if (acted === null) return reflector.relist(signal);
          const version = acted.get(kind);
          return version === undefined ? reflector.listed(signal) : reflector.reach(version, signal);
        };
        known = exportsKnown.begin(() => holder()?.recheck());
        const others = Promise.all([read(services, "Service"), read(slices, "EndpointSlice")]);
        const whole = Promise.all([read(exports, "ServiceExport"), others]).then(async () => {
          await publishing;
          await guard.claimed(holder()?.unwritten() ?? []);
        });
        known.read(whole);
        await Promise.all([others, exportsKnown.read(known, signal)]);
        await publishing;
        heartbeat.beat();
        for (const key of exports.objects.keys()) judge(key);
      },
      // A kind that is not served cannot be listed, which is no knowledge of what was there when it was.
      knows: () => known.whole,
      complete: async (signal) => {
        if (holder()?.occupied === true) await known.done;
        // Whoever knows all of a member's slices knows that there is such a member.
        await heartbeat.told(signal);
      },
      source: () =>
        actedOn({ ServiceExport: exports.actedOn, Service: services.actedOn, EndpointSlice: slices.actedOn }),
    };
  }

  const conditions = writeConditions(client, memberKit);
  const verdicts = bus.view(verdictsTable, {
    filter: `${plainKeys.cluster(cluster)}.>`,
    signal: kit.signal,
    onChange: (key, verdict) => {
      if (verdict !== undefined) judge(`${verdict.namespace}/${verdict.service}`);
      else for (const [id, object] of exports.objects) if (verdictKey(object) === key) judge(id);
    },
  });
  const heartbeat = startHeartbeat(
    {
      bus,
      client,
      waiting,
      exports: () => exports.objects.size,
      speaks: () => shards.speaks,
      held: () => guard.held,
    },
    memberKit,
  );

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
      guard.set(exportKey, outcome.record, trace);
      const group = slicesOf.get(key);
      // A change that can be followed goes before a backlog. Thousands of slices that an export brings are one.
      const followed = (group?.size ?? 0) > FOLLOWED_SLICES ? undefined : trace;
      for (const slice of group?.values() ?? []) now.add(publish(service, slice, followed));
    }
    for (const old of before ?? []) if (!now.has(old)) guard.remove(old, trace);
    if (now.size > 0) published.set(key, now);
    else published.delete(key);
    judge(key);
  }

  function publish(service: string, slice: EndpointSlice, trace: Trace | undefined): string {
    const { namespace = "", name } = slice.metadata;
    const key = sliceKeys.slice(cluster, namespace, service, name);
    if (trace !== undefined) log.debug({ trace: trace.id, key }, "slices");
    guard.set(key, sliceRecord(cluster, service, slice), trace);
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
        guard.remove(slot, trace);
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

  /** Into other shards: each holder is to know all that is wanted of its own before it writes. */
  let publishing: Promise<void> = Promise.resolve();
  let cuts = 0;
  function publishAll(): void {
    cuts += 1;
    publishing = publishInBursts(cuts);
  }
  async function publishInBursts(cut: number): Promise<void> {
    const bursts = new Bursts(kit.clock, kit.signal);
    for (const key of exports.objects.keys()) {
      if (cut !== cuts) return;
      onService(key, { seenAt: kit.clock.now(), fromList: true });
      if (bursts.over() && !(await bursts.rest())) return;
    }
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
    const { name, namespace = "" } = object.metadata;
    if (!shards.holds(namespace, name)) return conditions.forget(key);
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
      exportsKnown.stateChanged();
      heartbeat.beat();
    });
  }

  /** Who speaks for the member, and who stands by, goes by rank. */
  async function followRanks(): Promise<void> {
    while (!kit.signal.aborted) {
      heartbeat.beat();
      await bus.ranksChanged(kit.signal).catch((error: unknown) => {
        if (!kit.signal.aborted) throw error;
      });
    }
  }

  const done = Promise.all([
    judgeOnceRead(),
    followRanks(),
    heartbeat.done,
    shards.run(),
    guard.done,
    conditions.done,
    verdicts.done,
    ...sources.map((source) => source.done),
  ]).then(() => {});
  return {
    get holding() {
      return shards.holding;
    },
    ordered: () => guard.ordered(),
    done,
  };
}

/** What is told of every record; undefined when an API's versions cannot be compared. */
function actedOn(
  versions: Readonly<Record<string, number | undefined>>,
): Readonly<Record<string, number>> | undefined {
  const acted: Record<string, number> = {};
  for (const [kind, version] of Object.entries(versions)) {
    if (version === undefined) return undefined;
    if (version >= 0) acted[kind] = version;
  }
  return acted;
}
