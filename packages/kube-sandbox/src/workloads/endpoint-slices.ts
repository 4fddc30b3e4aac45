import {
  type EndpointSlice,
  type KubeClient,
  matchesLabels,
  objectKey,
  type Pod,
  Reconciler,
  resources,
  type Service,
} from "@sluice/kube";
import { CONTROLLER, MANAGED_BY, planSlices, SERVICE_NAME } from "./endpoint-plan.ts";
import type { WorkloadsKit } from "./kit.ts";
import type { Mirror } from "./mirror.ts";
import { canonical } from "./names.ts";

/** Services with a selector × Pods → EndpointSlices. Slices of other managers are not touched. */
export async function runEndpointSlices(
  client: KubeClient,
  services: Mirror<Service>,
  pods: Mirror<Pod>,
  slices: Mirror<EndpointSlice>,
  kit: WorkloadsKit,
): Promise<void> {
  const slicesOf = (namespace: string, service: string): EndpointSlice[] =>
    [...slices.in(namespace)].filter(
      ({ metadata }) =>
        metadata.labels?.[SERVICE_NAME] === service && metadata.labels[MANAGED_BY] === CONTROLLER,
    );

  const reconciler = new Reconciler({
    name: "endpoint slices",
    kit,
    workers: 8,
    async reconcile(key, signal) {
      const [namespace = "", name = ""] = key.split("/");
      const service = services.get(namespace, name);
      const existing = slicesOf(namespace, name);
      if (service === undefined || service.metadata.deletionTimestamp !== undefined) {
        await Promise.all(existing.map((slice) => remove(slice, signal)));
        return;
      }
      const selector = service.spec?.selector ?? {};
      // Without a selector its endpoints are somebody else's business.
      if (Object.keys(selector).length === 0 || service.spec?.type === "ExternalName") return;
      const matching = [...pods.in(namespace)].filter((pod) => matchesLabels(selector, pod.metadata.labels));
      const plan = planSlices(service, matching, existing);
      await Promise.all([
        ...plan.create.map((slice) => create(slice, signal)),
        ...plan.update.map((slice) => replace(slice, signal)),
        ...plan.remove.map((slice) => remove(slice, signal)),
      ]);
    },
  });

  async function create(slice: EndpointSlice, signal: AbortSignal): Promise<void> {
    const made = await client.create(resources.endpointSlice, slice, signal);
    const { namespace = "", name, uid } = made.metadata;
    await slices.until(namespace, name, (seen) => seen?.metadata.uid === uid);
  }

  async function replace(slice: EndpointSlice, signal: AbortSignal): Promise<void> {
    const { namespace = "", name, resourceVersion } = slice.metadata;
    await client.replace(resources.endpointSlice, slice, signal);
    await slices.until(namespace, name, (seen) => seen?.metadata.resourceVersion !== resourceVersion);
  }

  async function remove(slice: EndpointSlice, signal: AbortSignal): Promise<void> {
    const { namespace = "", name, uid = "" } = slice.metadata;
    await client.delete(resources.endpointSlice, { namespace, name }, { preconditions: { uid } }, signal);
    await slices.until(namespace, name, (seen) => seen?.metadata.uid !== uid);
  }

  services.onChange((change) => reconciler.add(change.key));
  slices.onChange((change) => {
    const slice = change.kind === "delete" ? change.old : change.object;
    const service = slice.metadata.labels?.[SERVICE_NAME];
    if (service !== undefined) reconciler.add(`${slice.metadata.namespace}/${service}`);
  });
  pods.onChange((change) => {
    const old = change.old;
    const pod = change.kind === "delete" ? undefined : change.object;
    if (old !== undefined && pod !== undefined && canonical(relevant(old)) === canonical(relevant(pod)))
      return;
    const namespace = (pod ?? old)?.metadata.namespace ?? "";
    for (const service of services.in(namespace)) {
      const selector = service.spec?.selector ?? {};
      const touched = [old, pod].some((p) => p !== undefined && matchesLabels(selector, p.metadata.labels));
      if (touched) reconciler.add(objectKey(service));
    }
  });
  for (const service of services.all()) reconciler.add(objectKey(service));
  // Slices whose Service went while nobody looked.
  for (const slice of slices.all()) {
    const service = slice.metadata.labels?.[SERVICE_NAME];
    if (service !== undefined) reconciler.add(`${slice.metadata.namespace}/${service}`);
  }
  await reconciler.run();
}

/** What of a pod a slice depends on. */
function relevant(pod: Pod) {
  return {
    uid: pod.metadata.uid,
    labels: pod.metadata.labels,
    deleted: pod.metadata.deletionTimestamp,
    node: pod.spec?.nodeName,
    ip: pod.status?.podIP,
    phase: pod.status?.phase,
    ready: pod.status?.conditions?.find((c) => c.type === "Ready")?.status,
  };
}
