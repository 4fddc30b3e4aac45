import type {
  ConfigMap,
  CustomResourceDefinition,
  Deployment,
  EndpointSlice,
  IngressClass,
  KubeEvent,
  KubeObject,
  MultiClusterIngress,
  Namespace,
  Node,
  Pod,
  PropagationPolicy,
  ReplicaSet,
  Secret,
  Service,
  ServiceExport,
  ServiceImport,
} from "./objects.ts";

/** One kind as an API serves it. `T` is what its objects look like; it exists for the compiler only. */
export interface ResourceType<T extends KubeObject = KubeObject> {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  /** Never there; carries T. */
  readonly object?: T;
}

/** An object within its cluster; `namespace` is absent for cluster-scoped kinds. */
export interface ObjectRef {
  readonly namespace?: string | undefined;
  readonly name: string;
}

function namespaced<T extends KubeObject>(
  group: string,
  version: string,
  kind: string,
  plural: string,
): ResourceType<T> {
  return { group, version, kind, plural, namespaced: true };
}

function clusterScoped<T extends KubeObject>(
  group: string,
  version: string,
  kind: string,
  plural: string,
): ResourceType<T> {
  return { group, version, kind, plural, namespaced: false };
}

const mcs = "multicluster.x-k8s.io";
const karmada = "policy.karmada.io";

export const resources = {
  service: namespaced<Service>("", "v1", "Service", "services"),
  configMap: namespaced<ConfigMap>("", "v1", "ConfigMap", "configmaps"),
  secret: namespaced<Secret>("", "v1", "Secret", "secrets"),
  pod: namespaced<Pod>("", "v1", "Pod", "pods"),
  event: namespaced<KubeEvent>("", "v1", "Event", "events"),
  node: clusterScoped<Node>("", "v1", "Node", "nodes"),
  namespace: clusterScoped<Namespace>("", "v1", "Namespace", "namespaces"),
  deployment: namespaced<Deployment>("apps", "v1", "Deployment", "deployments"),
  replicaSet: namespaced<ReplicaSet>("apps", "v1", "ReplicaSet", "replicasets"),
  endpointSlice: namespaced<EndpointSlice>("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
  /** Members before 1.21. */
  endpointSliceV1beta1: namespaced<EndpointSlice>(
    "discovery.k8s.io",
    "v1beta1",
    "EndpointSlice",
    "endpointslices",
  ),
  ingressClass: clusterScoped<IngressClass>("networking.k8s.io", "v1", "IngressClass", "ingressclasses"),
  serviceExport: namespaced<ServiceExport>(mcs, "v1alpha1", "ServiceExport", "serviceexports"),
  serviceExportV1beta1: namespaced<ServiceExport>(mcs, "v1beta1", "ServiceExport", "serviceexports"),
  serviceImport: namespaced<ServiceImport>(mcs, "v1alpha1", "ServiceImport", "serviceimports"),
  multiClusterIngress: namespaced<MultiClusterIngress>(
    "networking.karmada.io",
    "v1alpha1",
    "MultiClusterIngress",
    "multiclusteringresses",
  ),
  propagationPolicy: namespaced<PropagationPolicy>(
    karmada,
    "v1alpha1",
    "PropagationPolicy",
    "propagationpolicies",
  ),
  clusterPropagationPolicy: clusterScoped<PropagationPolicy>(
    karmada,
    "v1alpha1",
    "ClusterPropagationPolicy",
    "clusterpropagationpolicies",
  ),
  customResourceDefinition: clusterScoped<CustomResourceDefinition>(
    "apiextensions.k8s.io",
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
  ),
} as const;

const byGroupVersionKind = new Map<string, ResourceType>(
  Object.values(resources).map((type) => [`${apiVersionOf(type)}/${type.kind}`, type]),
);

/** The kind when it is one of `resources`; others are found by `KubeClient.discover`. */
export function knownResource(apiVersion: string, kind: string): ResourceType | undefined {
  return byGroupVersionKind.get(`${apiVersion}/${kind}`);
}

export function apiVersionOf(type: ResourceType): string {
  return type.group === "" ? type.version : `${type.group}/${type.version}`;
}

/** `namespace/name`, or `name` for a cluster-scoped object. */
export function objectKey(object: KubeObject): string {
  const { namespace, name } = object.metadata;
  return namespace === undefined || namespace === "" ? name : `${namespace}/${name}`;
}

/**
 * A resourceVersion as a number: those of one kind may be compared as such (KEP-5504). NaN, which is neither more nor
 * less than any, where it is none.
 */
export function versionNumber(resourceVersion: string | undefined): number {
  return resourceVersion !== undefined && /^[0-9]{1,15}$/.test(resourceVersion)
    ? Number(resourceVersion)
    : Number.NaN;
}

/** The URL path of a kind, of its objects in one namespace, or of one object, percent-encoded. */
export function resourcePath(
  type: ResourceType,
  namespace?: string | undefined,
  name?: string,
  subresource?: string,
): string {
  const root = type.group === "" ? `/api/${type.version}` : `/apis/${type.group}/${type.version}`;
  const within =
    type.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : "";
  const object = name === undefined ? "" : `/${encodeURIComponent(name)}`;
  return `${root}${within}/${type.plural}${object}${subresource === undefined ? "" : `/${subresource}`}`;
}
