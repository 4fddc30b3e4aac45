import { KubeStatusError } from "@sluice/contracts";
import {
  type EndpointSlice,
  type KubeClient,
  type KubeObject,
  type ObjectRef,
  type ResourceType,
  recordEvent,
  reflect,
  resources,
  type Service,
  type ServiceImport,
} from "@sluice/kube";
import { Backoff, createGuard, type Kit, NewestByKey, slept } from "@sluice/service-kit";
import type { Aggregation } from "./aggregate.ts";
import {
  contains,
  derivedService,
  importedSlices,
  isOwnService,
  OWN_SERVICES,
  OWN_SLICES,
} from "./derived-objects.ts";
import { DERIVED_PREFIX, derivedName } from "./topology.ts";

const FIELD_MANAGER = "sluice-aggregator";
const WRITE_MS = 5000;
const WORKERS = 8;
/** How often what could not be written, or stands in the way, is looked at again. */
const RETRY_MS = 5000;

/**
 * Imports × topology → derived Services and imported EndpointSlices in the hub, and `status.clusters` of the import.
 * It runs beside the hot path: a slow hub delays nothing but this. Level-triggered by import: whatever changed, the
 * whole of that import is compared, and only differences are written.
 */
export async function writeHub(aggregation: Aggregation, hub: KubeClient, kit: Kit): Promise<void> {
  const dirty = new NewestByKey<string, true>();
  /** Imports that need another look though nothing of theirs changes: a foreign object, a hub that refused. */
  const again = new Set<string>();
  const guard = createGuard({
    name: "hub writes",
    timeoutMs: WRITE_MS,
    isAnswer: (error) => error instanceof KubeStatusError && [404, 409, 422].includes(error.status),
  });
  const touch = (namespace: string | undefined, service: string | undefined) => {
    if (service !== undefined) dirty.set(`${namespace ?? ""}/${service}`, true);
  };

  const imports = reflect<ServiceImport>({
    client: hub,
    type: resources.serviceImport,
    kit,
    onChange: (change) => dirty.set(change.key, true),
  });
  const services = reflect<Service>({
    client: hub,
    type: resources.service,
    labelSelector: OWN_SERVICES,
    kit,
    onChange: (change) => {
      const { metadata } = change.kind === "upsert" ? change.object : change.old;
      touch(metadata.namespace, metadata.labels?.["multicluster.kubernetes.io/service-name"]);
      // Somebody may have taken our label off: its name still tells whose it is.
      if (metadata.name.startsWith(DERIVED_PREFIX))
        touch(metadata.namespace, metadata.name.slice(DERIVED_PREFIX.length));
    },
  });
  const slices = reflect<EndpointSlice>({
    client: hub,
    type: resources.endpointSlice,
    labelSelector: OWN_SLICES,
    kit,
    onChange: (change) => {
      for (const object of [change.old, change.kind === "upsert" ? change.object : undefined]) {
        const { namespace, labels } = object?.metadata ?? {};
        touch(namespace, labels?.["multicluster.kubernetes.io/service-name"]);
      }
    },
  });
  aggregation.onService(touch);

  const call = <T>(action: (signal: AbortSignal) => Promise<T>) => guard.run(action, kit.signal);
  const apply = (object: KubeObject, subresource?: "status") =>
    call((signal) =>
      hub.apply(
        object,
        { fieldManager: FIELD_MANAGER, force: true, ...(subresource === undefined ? {} : { subresource }) },
        signal,
      ),
    );

  function say(regarding: KubeObject, reason: string, message: string): Promise<void> {
    const note = { regarding, type: "Warning" as const, reason, message, component: FIELD_MANAGER };
    return call((signal) => recordEvent(hub, note, signal));
  }

  /** @returns the derived Service's name when it is there and ours */
  async function ensureService(object: ServiceImport): Promise<string | null> {
    const wanted = derivedService(object);
    const { namespace = "", name } = object.metadata;
    if (wanted === null) {
      await sayOnce(
        object,
        "NameTooLong",
        `${DERIVED_PREFIX}${name} would be longer than a Service's name may be (63 characters); rename the service`,
      );
      return null;
    }
    const ref = { namespace, name: wanted.metadata.name };
    const there =
      services.objects.get(`${namespace}/${ref.name}`) ??
      (await call((s) => hub.get(resources.service, ref, s)));
    if (there !== null && !isOwnService(there) && !(await formerlyOurs(there))) {
      again.add(`${namespace}/${name}`);
      await sayOnce(
        object,
        "DerivedServiceTaken",
        `Service ${namespace}/${ref.name} was made by somebody else and is left alone; delete or rename it, and this import gets its derived service`,
      );
      return null;
    }
    if (there === null || !contains(there, wanted)) await apply(wanted);
    return ref.name;
  }

  /** Ours, but for the label that somebody took off: our field manager still owns fields of its spec. */
  async function formerlyOurs(service: Service): Promise<boolean> {
    return service.metadata.managedFields?.some((entry) => entry.manager === FIELD_MANAGER) ?? false;
  }

  const said = new Map<string, string>();
  async function sayOnce(object: ServiceImport, reason: string, message: string): Promise<void> {
    const key = `${object.metadata.uid ?? ""}/${reason}`;
    if (said.get(key) === message) return;
    await say(object, reason, message);
    if (said.size > 10_000) said.clear();
    said.set(key, message);
  }

  async function remove(
    type: ResourceType<Service> | ResourceType<EndpointSlice>,
    ref: ObjectRef,
  ): Promise<void> {
    await call((signal) => hub.delete(type as ResourceType, ref, {}, signal));
  }

  async function writeImport(key: string): Promise<void> {
    const at = key.indexOf("/");
    const namespace = key.slice(0, at);
    const name = key.slice(at + 1);
    const object = imports.objects.get(key);
    const indexed = aggregation.index.get(namespace, name);
    const derived = object === undefined ? null : await ensureService(object);
    const wanted = new Map<string, EndpointSlice>();
    if (derived !== null) {
      const all = importedSlices(indexed, derived, (cluster) => aggregation.allowed.filter(cluster));
      for (const slice of all) wanted.set(`${namespace}/${slice.metadata.name}`, slice);
    }
    for (const [id, slice] of wanted) {
      const there = slices.objects.get(id);
      if (there === undefined || !contains(there, slice)) await apply(slice);
    }
    for (const [id, there] of slices.objects) {
      const labels = there.metadata.labels ?? {};
      if (there.metadata.namespace !== namespace) continue;
      if (labels["multicluster.kubernetes.io/service-name"] !== name || wanted.has(id)) continue;
      const cluster = labels["multicluster.kubernetes.io/source-cluster"] ?? "";
      // Not known to be gone: the member's watcher has not said so.
      if (object !== undefined && derived !== null && !aggregation.knowsCluster(cluster)) continue;
      await remove(resources.endpointSlice, { namespace, name: there.metadata.name });
    }
    if (object === undefined) return removeDerived(namespace, name);
    await writeStatus(object, indexed === undefined ? [] : exportingClusters(indexed.copies));
  }

  async function removeDerived(namespace: string, name: string): Promise<void> {
    const derived = derivedName(name);
    if (derived === null) return;
    const there = services.objects.get(`${namespace}/${derived}`);
    if (there !== undefined && isOwnService(there))
      await remove(resources.service, { namespace, name: derived });
  }

  async function writeStatus(object: ServiceImport, clusters: readonly string[]): Promise<void> {
    const now = (object.status?.clusters ?? []).map(({ cluster }) => cluster).sort();
    if (now.join() === clusters.join()) return;
    const { namespace = "", name } = object.metadata;
    const body = {
      apiVersion: object.apiVersion,
      kind: object.kind,
      metadata: { namespace, name },
      status: { clusters: clusters.map((cluster) => ({ cluster })) },
    } as ServiceImport;
    await apply(body, "status");
  }

  async function work(key: string): Promise<void> {
    const backoff = new Backoff(200, 5000);
    for (let tries = 0; tries < 4 && !kit.signal.aborted; tries++) {
      try {
        await writeImport(key);
        return;
      } catch (err) {
        if (kit.signal.aborted) return;
        kit.log.debug({ err, import: key }, "could not write an import to the hub");
        if (!(await slept(kit.clock, backoff.next(), kit.signal))) return;
      }
    }
    kit.log.warn({ import: key }, "the hub refused an import's objects, trying again later");
    again.add(key);
  }

  async function retry(): Promise<void> {
    while (await slept(kit.clock, RETRY_MS, kit.signal)) {
      for (const key of again) dirty.set(key, true);
      again.clear();
    }
  }

  async function writeWhenRead(): Promise<void> {
    try {
      // Before everything has been read once, what is missing is not known to be gone.
      await Promise.all([
        aggregation.read(kit.signal),
        imports.listed(kit.signal),
        services.listed(kit.signal),
        slices.listed(kit.signal),
      ]);
    } catch (error) {
      if (kit.signal.aborted) return;
      throw error;
    }
    await dirty.run(WORKERS, kit.signal, work);
  }

  await Promise.all([writeWhenRead(), retry(), imports.done, services.done, slices.done]);
}

function exportingClusters(copies: ReadonlyMap<string, { readonly export: unknown }>): string[] {
  return [...copies].flatMap(([cluster, copy]) => (copy.export === undefined ? [] : [cluster])).sort();
}
