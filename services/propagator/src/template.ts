import { createHash } from "node:crypto";
import type { KubeObject } from "@sluice/kube";

export const FIELD_MANAGER = "sluice-propagator";
/** On every object that the propagator made in a member; without it, it touches nothing. */
export const MANAGED_LABEL = "propagator.sluice.dev/managed";
/**
 * `Kind/name` of the object itself. Controllers copy labels and annotations on to what they derive from an object (a
 * Service's labels to its EndpointSlices, a Deployment's annotations to its ReplicaSets): those are not ours.
 */
const MADE_ANNOTATION = "propagator.sluice.dev/made";
/** The policy that an object follows: `namespace/name`, or `name` of a ClusterPropagationPolicy. */
const POLICY_ANNOTATION = "propagator.sluice.dev/policy";
/** Which state of the template was applied last: until it changes, a member's own replicas are kept. */
const HASH_ANNOTATION = "propagator.sluice.dev/template-hash";
export const PRESERVE_ANNOTATION = "propagator.sluice.dev/preserve-on-withdrawal";
/** Karmada's: the members' own replica counts are kept for good. */
const RETAIN_REPLICAS_LABEL = "resourcetemplate.karmada.io/retain-replicas";

type Fields = Record<string, unknown>;

/** Set by controllers of the hub or by kubectl, of no meaning in a member. */
const hubAnnotations = new Set([
  "kubectl.kubernetes.io/last-applied-configuration",
  "deployment.kubernetes.io/revision",
]);

/** A template as members get it: without what the hub's API server or its controllers added to it. */
export function memberObject(
  template: KubeObject,
  policy: { readonly key: string; readonly preserve: boolean },
): KubeObject {
  const { status: _status, ...rest } = structuredClone(template) as KubeObject & Fields;
  const { name, namespace, labels, annotations } = template.metadata;
  const kept = Object.entries(annotations ?? {}).filter(
    ([key]) => !hubAnnotations.has(key) && !key.startsWith("propagator.sluice.dev/"),
  );
  const body: KubeObject & Fields = {
    ...rest,
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      labels: { ...labels, [MANAGED_LABEL]: "true" },
      annotations: {
        ...Object.fromEntries(kept),
        [MADE_ANNOTATION]: `${template.kind}/${name}`,
        [POLICY_ANNOTATION]: policy.key,
        ...(policy.preserve ? { [PRESERVE_ANNOTATION]: "true" } : {}),
      },
    },
  };
  dropAssigned(body);
  const annotated = body.metadata.annotations ?? {};
  return {
    ...body,
    metadata: { ...body.metadata, annotations: { ...annotated, [HASH_ANNOTATION]: hashOf(body) } },
  };
}

/** What an API server assigns at creation, and another one must assign anew. */
function dropAssigned(body: KubeObject & Fields): void {
  const spec = body["spec"] as Fields | undefined;
  switch (`${body.apiVersion} ${body.kind}`) {
    case "v1 Service":
      // "None" is a wish, any other address an assignment.
      if (spec !== undefined && spec["clusterIP"] !== "None") {
        delete spec["clusterIP"];
        delete spec["clusterIPs"];
      }
      if (spec !== undefined) {
        delete spec["healthCheckNodePort"];
        delete spec["ipFamilies"];
        delete spec["ipFamilyPolicy"];
      }
      break;
    case "v1 ServiceAccount":
      delete body["secrets"];
      break;
    case "v1 PersistentVolumeClaim":
      if (spec !== undefined) delete spec["volumeName"];
      break;
    default:
  }
}

/**
 * `body` with the member's replica count instead of the hub's, where that is to be kept: for good with Karmada's
 * label, else until the template changes. See docs/decisions/0004-propagation-and-drift.md.
 */
export function keepReplicas(body: KubeObject, live: KubeObject | null): KubeObject {
  const wanted = (body as KubeObject & Fields)["spec"] as Fields | undefined;
  const actual = ((live ?? {}) as Fields)["spec"] as Fields | undefined;
  if (typeof wanted?.["replicas"] !== "number" || typeof actual?.["replicas"] !== "number") return body;
  const retained = body.metadata.labels?.[RETAIN_REPLICAS_LABEL] === "true";
  const unchanged = templateHash(live) === templateHash(body);
  if (!retained && !unchanged) return body;
  return { ...body, spec: { ...wanted, replicas: actual["replicas"] } } as KubeObject;
}

export function templateHash(object: KubeObject | null): string | undefined {
  return object?.metadata.annotations?.[HASH_ANNOTATION];
}

export function isManaged({ kind, metadata }: KubeObject): boolean {
  return (
    metadata.labels?.[MANAGED_LABEL] === "true" &&
    metadata.annotations?.[MADE_ANNOTATION] === `${kind}/${metadata.name}`
  );
}

/**
 * The fields that the API server counts as ours, as one text, but for the replica count. It changes when somebody
 * writes another value into one of them, and is the API's own judgement: a value that the API normalises is no change.
 */
export function ownedFields(object: KubeObject): string {
  const entry = object.metadata.managedFields?.find(
    (fields) => fields.manager === FIELD_MANAGER && fields.operation === "Apply",
  );
  const fields = structuredClone((entry?.fieldsV1 ?? {}) as Record<string, Fields | undefined>);
  if (fields["f:spec"] !== undefined) delete fields["f:spec"]["f:replicas"];
  return sorted(fields);
}

function hashOf(value: unknown): string {
  return createHash("sha256").update(sorted(value)).digest("hex").slice(0, 16);
}

/** JSON with sorted keys. */
function sorted(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
