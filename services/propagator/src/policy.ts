import {
  type KubeObject,
  matchesSelector,
  type PropagationPolicy,
  type ResourceSelector,
} from "@sluice/kube";

/** A field of a policy that is not done as it says; `remedy` tells what to write instead. */
export interface PolicyProblem {
  readonly field: string;
  readonly remedy: string;
}

/** What a PropagationPolicy or ClusterPropagationPolicy asks for, as far as it is supported. */
export interface Policy {
  readonly object: PropagationPolicy;
  /** Null: a ClusterPropagationPolicy, which selects in every namespace and cluster-scoped objects too. */
  readonly namespace: string | null;
  readonly name: string;
  readonly priority: number;
  readonly selectors: readonly ResourceSelector[];
  readonly clusters: ReadonlySet<string>;
  /** Take over objects of this name that somebody else made in a member. */
  readonly overwrite: boolean;
  /** Leave the members' objects when the policy or the template goes. */
  readonly preserve: boolean;
}

type Fields = Readonly<Record<string, unknown>>;

const use = "remove it: name the clusters in placement.clusterAffinity.clusterNames instead";
/** Fields that we do not do, and what stands in for each. Whether they are set is looked up by their path. */
const unsupported: Readonly<Record<string, string>> = {
  "spec.placement.clusterAffinities": use,
  "spec.placement.clusterAffinity.labelSelector": use,
  "spec.placement.clusterAffinity.fieldSelector": use,
  "spec.placement.spreadConstraints": use,
  "spec.placement.clusterTolerations": "remove it: clusters carry no taints here",
  "spec.placement.replicaScheduling":
    "remove it: every cluster runs the template's replicas; scale a member's copy with kubectl scale",
  "spec.propagateDeps": "remove it, and select the dependencies by resourceSelectors",
  "spec.association": "remove it, and select the dependencies by resourceSelectors",
  "spec.dependentOverrides": "remove it: overrides are not applied, every cluster gets the template as it is",
  "spec.overrideRules": "remove it: overrides are not applied, every cluster gets the template as it is",
  "spec.suspension":
    "remove it, and delete the policy with preserveResourcesOnDeletion: true to stop instead",
  "spec.failover": "remove it: traffic leaves a dead cluster by itself, objects stay",
  "spec.schedulePriority": "remove it: there is no scheduler here",
};
/** Of these, being left out would spread objects further than was asked for. */
const narrowing = [
  "spec.placement.clusterAffinities",
  "spec.placement.clusterAffinity.labelSelector",
  "spec.placement.clusterAffinity.fieldSelector",
];

/** Reads a policy. What it cannot do is left out and told; a narrowing that cannot be done selects no cluster. */
export function readPolicy(
  object: PropagationPolicy,
  members: readonly string[],
): { policy: Policy; problems: PolicyProblem[] } {
  const problems: PolicyProblem[] = [];
  for (const [field, remedy] of Object.entries(unsupported)) {
    if (isSet(valueAt(object, field))) problems.push({ field, remedy: `is not supported; ${remedy}` });
  }
  const namespaced = object.kind === "PropagationPolicy";
  const namespace = namespaced ? (object.metadata.namespace ?? "") : null;
  const spec = (object.spec ?? {}) as PropagationPolicy["spec"] & Fields;
  const selectors: ResourceSelector[] = [];
  for (const [i, selector] of asList(spec.resourceSelectors).entries()) {
    const field = `spec.resourceSelectors[${i}]`;
    const { apiVersion, kind, namespace: elsewhere } = selector as ResourceSelector;
    if (typeof apiVersion !== "string" || typeof kind !== "string" || apiVersion === "" || kind === "") {
      problems.push({ field, remedy: "is incomplete; write apiVersion and kind" });
    } else if (namespace !== null && isSet(elsewhere) && elsewhere !== namespace) {
      problems.push({
        field: `${field}.namespace`,
        remedy: `is another namespace than the policy's; write ${namespace}, or make a ClusterPropagationPolicy`,
      });
    } else selectors.push(selector as ResourceSelector);
  }
  const affinity = spec.placement?.clusterAffinity as
    | { clusterNames?: readonly string[]; exclude?: readonly string[] }
    | undefined;
  const named = affinity?.clusterNames ?? [];
  for (const [i, cluster] of named.entries()) {
    if (members.includes(cluster)) continue;
    const remedy = `there is no member ${cluster}; write one of ${members.join(", ") || "(no members)"}`;
    problems.push({ field: `spec.placement.clusterAffinity.clusterNames[${i}]`, remedy });
  }
  const undone = narrowing.some((field) => isSet(valueAt(object, field)));
  const chosen = named.length > 0 ? members.filter((m) => named.includes(m)) : undone ? [] : members;
  return {
    policy: {
      object,
      namespace,
      name: object.metadata.name,
      priority: typeof spec["priority"] === "number" ? spec["priority"] : 0,
      selectors,
      clusters: new Set(chosen.filter((m) => !(affinity?.exclude ?? []).includes(m))),
      overwrite: spec["conflictResolution"] === "Overwrite",
      preserve: spec["preserveResourcesOnDeletion"] === true,
    },
    problems,
  };
}

/** `group/Kind`: what an object is, whatever version it is written in. */
export function kindId(apiVersion: string, kind: string): string {
  const slash = apiVersion.indexOf("/");
  return `${slash === -1 ? "" : apiVersion.slice(0, slash)}/${kind}`;
}

/** How closely a policy names an object: 3 by name, 2 by labels, 1 by kind; 0: not at all. */
function closeness(policy: Policy, object: KubeObject): number {
  const { namespace = "", name, labels } = object.metadata;
  if (policy.namespace !== null && policy.namespace !== namespace) return 0;
  let closest = 0;
  for (const selector of policy.selectors) {
    if (kindId(selector.apiVersion, selector.kind) !== kindId(object.apiVersion, object.kind)) continue;
    if (isSet(selector.namespace) && selector.namespace !== namespace) continue;
    if (isSet(selector.name)) {
      if (selector.name === name) closest = 3;
    } else if (selector.labelSelector !== undefined) {
      if (matchesSelector(selector.labelSelector, labels)) closest = Math.max(closest, 2);
    } else closest = Math.max(closest, 1);
  }
  return closest;
}

/**
 * The one policy that an object follows, by Karmada's rules: a PropagationPolicy before any ClusterPropagationPolicy,
 * the higher spec.priority, the closer selector, then the alphabet.
 */
export function policyFor(object: KubeObject, policies: Iterable<Policy>): Policy | null {
  let best: Policy | null = null;
  for (const policy of policies) {
    if (closeness(policy, object) === 0) continue;
    if (best === null || goesBefore(policy, best, object)) best = policy;
  }
  return best;
}

function goesBefore(a: Policy, b: Policy, object: KubeObject): boolean {
  if ((a.namespace === null) !== (b.namespace === null)) return a.namespace !== null;
  if (a.priority !== b.priority) return a.priority > b.priority;
  const closer = closeness(a, object) - closeness(b, object);
  return closer !== 0 ? closer > 0 : a.name < b.name;
}

function valueAt(object: object, path: string): unknown {
  return path
    .split(".")
    .reduce<unknown>(
      (value, key) => (typeof value === "object" && value !== null ? (value as Fields)[key] : undefined),
      object,
    );
}

/** False also for what says nothing: null, false, empty texts, lists and mappings. */
function isSet(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === "") return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value)
    ? value.filter((item: unknown) => typeof item === "object" && item !== null)
    : [];
}
