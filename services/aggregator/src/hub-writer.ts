import type { Bus } from "@sluice/bus";
import { KubeStatusError, topologyTable } from "@sluice/contracts";
import {
  type EndpointSlice,
  type KubeClient,
  type KubeObject,
  type ResourceType,
  recordEvent,
  resources,
  type Service,
  type ServiceImport,
} from "@sluice/kube";
import { Backoff, createGuard, type Kit, NewestByKey, slept } from "@sluice/service-kit";
import type { Aggregation } from "./aggregate.ts";
import { contains, derivedService, importedSlices, isOwnService, SOURCE_CLUSTER } from "./derived-objects.ts";
import { HubObjects } from "./hub-objects.ts";
import { RestingKeys } from "./resting-keys.ts";
import { DERIVED_PREFIX, derivedName } from "./topology.ts";

const FIELD_MANAGER = "sluice-aggregator";
const WRITE_MS = 5000;
const WORKERS = 8;
/** Tries before an import makes room for others; it comes again after RETRY_MS, as does what stands in the way. */
const TRIES = 4;
const RETRY_MS = 5000;
/**
 * Endpoints may change hundreds of times a second; the hub hears of a service that keeps changing at most this often.
 * A write to the hub costs more than the whole way to nginx, and traffic does not need it.
 */
const REST_MS = 1000;
/** How long the first change after a rest is waited with, for what comes with it. */
const GATHER_MS = 100;
/** Answers that say something of the object and nothing of the hub's health. */
const ANSWERS: readonly number[] = [400, 404, 409, 413, 422];
/** Answers that the same object would get again. */
const REFUSALS: readonly number[] = [400, 413, 422];

/**
 * Imports × topology → derived Services and imported EndpointSlices in the hub, and `status.clusters` of the import.
 * It runs beside the hot path: a slow hub delays nothing but this. Level-triggered by import: whatever changed, the
 * whole of that import is compared, and only differences are written. Of several aggregators the one that holds the part
 * `hub` writes; the others keep their caches of the hub warm.
 */
export async function writeHub(bus: Bus, aggregation: Aggregation, hub: KubeClient, kit: Kit): Promise<void> {
  const { index, allowed, knowledge } = aggregation;
  // Namespaces take turns: one whose services change all the time keeps nobody else's from the hub.
  const dirty = new NewestByKey<string, true>({ groupOf: (key) => key.slice(0, key.indexOf("/")) });
  /** Imports that need another look though nothing of theirs changes: a foreign object, a hub that refused. */
  const again = new Set<string>();
  /** Imports of which something was left as it is, because its cluster is not known (yet). */
  const unsure = new Set<string>();
  /** Imports whose endpoints changed since the last look. */
  const moved = new RestingKeys(REST_MS);
  /** Imports that are gone: what they had may have lost our label meanwhile. */
  const gone = new Set<string>();
  const guard = createGuard({
    name: "hub writes",
    timeoutMs: WRITE_MS,
    clock: kit.clock,
    isAnswer: (error) => error instanceof KubeStatusError && ANSWERS.includes(error.status),
  });
  const objects = new HubObjects(hub, kit, (key, change) => {
    if (change === "import gone") gone.add(key);
    else if (objects.imports.objects.has(key)) gone.delete(key);
    dirty.set(key, true);
  });
  const lead = bus.hold(
    topologyTable,
    { scope: "", shard: "hub" },
    {
      warm: (signal) => objects.listed(signal),
      fresh: async (signal) => {
        await aggregation.read(signal);
        // What came while another wrote was not looked at.
        for (const key of objects.keys()) dirty.set(key, true);
      },
    },
  );
  aggregation.onService((namespace, service) => {
    const key = `${namespace}/${service}`;
    // Most exports may be nobody's import.
    if (!objects.imports.objects.has(key) && objects.slicesOf(key).size === 0) return;
    if (moved.size === 0) void gather();
    moved.add(key);
  });
  knowledge.onMore(() => {
    for (const key of unsure) dirty.set(key, true);
    unsure.clear();
  });

  const call = <T>(action: (signal: AbortSignal) => Promise<T>) => guard.run(action, kit.signal);
  const apply = (object: KubeObject, subresource?: "status") =>
    call((signal) =>
      hub.apply(
        object,
        { fieldManager: FIELD_MANAGER, force: true, ...(subresource === undefined ? {} : { subresource }) },
        signal,
      ),
    );
  const remove = (type: ResourceType, { metadata }: KubeObject) => {
    const { namespace, name, uid } = metadata;
    const preconditions = uid === undefined ? {} : { preconditions: { uid } };
    return call((signal) => hub.delete(type, { namespace, name }, preconditions, signal));
  };

  /** What was said last of each import, by uid: an obstacle that stays is one Event. */
  const said = new Map<string, string>();

  async function say(regarding: ServiceImport, reason: string, message: string): Promise<void> {
    const uid = regarding.metadata.uid ?? "";
    const text = `${reason}: ${message}`;
    if (said.get(uid) === text) return;
    const note = { regarding, type: "Warning" as const, reason, message, component: FIELD_MANAGER };
    try {
      await call((signal) => recordEvent(hub, note, signal));
      said.set(uid, text);
    } catch (err) {
      // What is wrong is worth an Event; that the Event could not be written must not stop the rest.
      if (!kit.signal.aborted) kit.log.debug({ err, reason }, "could not write an Event");
    }
  }

  /** @returns the derived Service's name when it is there and ours */
  async function ensureService(key: string, object: ServiceImport): Promise<string | null> {
    const wanted = derivedService(object);
    const { namespace = "", name } = object.metadata;
    if (wanted === null) {
      const message = `${DERIVED_PREFIX}${name} would be longer than a Service's name may be (63 characters); rename the service`;
      await say(object, "NameTooLong", message);
      return null;
    }
    const there = await findService(namespace, wanted.metadata.name);
    if (there !== null && !isOurs(there)) {
      again.add(key);
      const message = `Service ${namespace}/${wanted.metadata.name} was made by somebody else and is left alone; delete or rename it, and this import gets its derived service`;
      await say(object, "DerivedServiceTaken", message);
      return null;
    }
    // clusterIP cannot change: a service that becomes headless, or ceases to be, is another one.
    const headless = wanted.spec?.clusterIP === "None";
    const rebuilt = there !== null && (there.spec?.clusterIP === "None") !== headless;
    if (rebuilt) await remove(resources.service, there);
    if (there === null || rebuilt || !contains(there, wanted)) await apply(wanted);
    return wanted.metadata.name;
  }

  async function findService(namespace: string, name: string): Promise<Service | null> {
    const known = objects.services.objects.get(`${namespace}/${name}`);
    return known ?? (await call((signal) => hub.get(resources.service, { namespace, name }, signal)));
  }

  async function writeImport(key: string): Promise<void> {
    const object = objects.imports.objects.get(key);
    if (object === undefined) return removeAll(key);
    const { namespace = "", name } = object.metadata;
    const indexed = index.get(namespace, name);
    const derived = await ensureService(key, object);
    const wanted = new Map<string, EndpointSlice>();
    if (derived !== null) {
      for (const slice of importedSlices(indexed, derived, allowed))
        wanted.set(`${namespace}/${slice.metadata.name}`, slice);
      said.delete(object.metadata.uid ?? "");
    }
    const there = objects.slicesOf(key);
    for (const [id, slice] of wanted) await writeSlice(key, there.get(id), slice);
    for (const [id, slice] of [...there]) {
      // Not known to be gone: its cluster's watcher has not said so.
      if (!wanted.has(id) && (derived === null || isKnown(key, clusterOf(slice)))) {
        await remove(resources.endpointSlice, slice);
      }
    }
    await writeStatus(key, object);
  }

  async function writeSlice(
    key: string,
    there: EndpointSlice | undefined,
    wanted: EndpointSlice,
  ): Promise<void> {
    if (there !== undefined && (contains(there, wanted) || !isKnown(key, clusterOf(wanted)))) return;
    // addressType cannot change.
    if (there !== undefined && there.addressType !== wanted.addressType) {
      await remove(resources.endpointSlice, there);
    }
    await apply(wanted);
  }

  function isKnown(key: string, cluster: string): boolean {
    if (knowledge.knowsCluster(cluster)) return true;
    unsure.add(key);
    return false;
  }

  async function removeAll(key: string): Promise<void> {
    const at = key.indexOf("/");
    const [namespace, name] = [key.slice(0, at), key.slice(at + 1)];
    for (const [, slice] of [...objects.slicesOf(key)]) await remove(resources.endpointSlice, slice);
    const derived = derivedName(name);
    if (derived === null) return void gone.delete(key);
    const known = objects.services.objects.get(`${namespace}/${derived}`);
    const there = known ?? (gone.has(key) ? await findService(namespace, derived) : null);
    if (there !== null && isOurs(there)) await remove(resources.service, there);
    gone.delete(key);
  }

  async function writeStatus(key: string, object: ServiceImport): Promise<void> {
    const { namespace = "", name } = object.metadata;
    const now = (object.status?.clusters ?? []).map(({ cluster }) => cluster).sort();
    const clusters = new Set<string>();
    if (derivedName(name) !== null) {
      for (const [cluster, copy] of index.get(namespace, name)?.copies ?? []) {
        if (copy.export !== undefined) clusters.add(cluster);
      }
      for (const cluster of now) if (!clusters.has(cluster) && !isKnown(key, cluster)) clusters.add(cluster);
    }
    const wanted = [...clusters].sort();
    if (now.join() === wanted.join()) return;
    const body = {
      apiVersion: object.apiVersion,
      kind: object.kind,
      metadata: { namespace, name },
      status: { clusters: wanted.map((cluster) => ({ cluster })) },
    } as ServiceImport;
    await apply(body, "status");
  }

  /** The hub does not take writes: said once, and once that it does again. */
  let hubFails = false;

  async function work(key: string): Promise<void> {
    const backoff = new Backoff(200, 5000, kit.random.next);
    for (let tries = 0; tries < TRIES && !kit.signal.aborted; tries++) {
      if (!lead.holding) return;
      try {
        await writeImport(key);
        if (hubFails) kit.log.info("the hub takes writes again");
        hubFails = false;
        return;
      } catch (err) {
        if (kit.signal.aborted) return;
        kit.log.debug({ err, import: key }, "could not write an import to the hub");
        if (err instanceof KubeStatusError && REFUSALS.includes(err.status)) {
          const object = objects.imports.objects.get(key);
          if (object !== undefined) await say(object, "RefusedByHub", err.message);
          break;
        }
        if (tries === TRIES - 1 && !hubFails) {
          hubFails = true;
          kit.log.warn({ err, import: key }, "the hub does not take writes, trying on");
        }
        if (!(await slept(kit.clock, backoff.next(), kit.signal))) return;
      }
    }
    again.add(key);
  }

  async function retry(): Promise<void> {
    while (await slept(kit.clock, RETRY_MS, kit.signal)) {
      for (const key of again) dirty.set(key, true);
      again.clear();
    }
  }

  /** For as long as something waits. */
  async function gather(): Promise<void> {
    do {
      if (!(await slept(kit.clock, GATHER_MS, kit.signal))) return;
      for (const key of moved.take(kit.clock.monotonic())) dirty.set(key, true);
    } while (moved.size > 0);
  }

  async function writeWhenRead(): Promise<void> {
    try {
      // Before everything has been read once, what is missing is not known to be gone.
      await Promise.all([aggregation.read(kit.signal), objects.listed(kit.signal)]);
    } catch (error) {
      if (kit.signal.aborted) return;
      throw error;
    }
    await dirty.run(WORKERS, kit.signal, work);
  }

  await Promise.all([writeWhenRead(), retry(), objects.done, lead.done]);
}

function clusterOf({ metadata }: EndpointSlice): string {
  return metadata.labels?.[SOURCE_CLUSTER] ?? "";
}

/** Ours, also when somebody took the label off: our field manager still owns fields of it. */
function isOurs(service: Service): boolean {
  if (isOwnService(service)) return true;
  return service.metadata.managedFields?.some((entry) => entry.manager === FIELD_MANAGER) ?? false;
}
