// Objects of the hub as far as they are read here. What users write is `unknown` until a reader below has looked at
// it: a CRD's schema may be older or laxer than ours, and one odd field must not cost more than itself.

export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  /** RFC 3339; the oldest object wins a conflict. */
  readonly creationTimestamp?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObjectMeta;
  readonly spec?: unknown;
}

/** networking.karmada.io/v1alpha1; `spec` is that of an Ingress v1. */
export type MultiClusterIngress = KubeObject;
/** multicluster.x-k8s.io/v1alpha1 */
export type ServiceImport = KubeObject;
/** networking.k8s.io/v1 */
export type IngressClass = KubeObject;

/** What an Event is written on. */
export interface ObjectRef {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string;
}

/** `namespace/name` */
export function keyOf(object: KubeObject): string {
  return `${object.metadata.namespace ?? ""}/${object.metadata.name}`;
}

export function refOf(object: KubeObject, apiVersion: string, kind: string): ObjectRef {
  const { namespace, name, uid } = object.metadata;
  return { apiVersion, kind, namespace: namespace ?? "", name, ...(uid === undefined ? {} : { uid }) };
}

/** Milliseconds since 1970; an object whose age is unknown counts as the youngest. */
export function createdAt(object: KubeObject): number {
  const written: unknown = object.metadata.creationTimestamp;
  const at = typeof written === "string" ? Date.parse(written) : Number.NaN;
  return Number.isNaN(at) ? Number.POSITIVE_INFINITY : at;
}

export type Fields = Readonly<Record<string, unknown>>;

/** @returns null when the value is no object */
export function fieldsOf(value: unknown): Fields | null {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : null;
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** Annotations that hold text; an API server lets no other through. */
export function annotationsOf(object: KubeObject): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const [key, value] of Object.entries(fieldsOf(object.metadata.annotations) ?? {})) {
    if (typeof value === "string") found.set(key, value);
  }
  return found;
}

/** A user's text in a message of ours: bounded, quotes and control characters escaped. */
export function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…"` : text;
}
