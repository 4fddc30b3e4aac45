import { annotationsOf, fieldsOf, type IngressClass, type MultiClusterIngress } from "./objects.ts";

const LEGACY = "kubernetes.io/ingress.class";
const DEFAULT_MARK = "ingressclass.kubernetes.io/is-default-class";

export interface ClassRules {
  /** Classes that this fleet serves, with or without an IngressClass object of that name. */
  readonly ours: ReadonlySet<string>;
  /** Whether an MCI that names none is served: asked for by flag, or one of ours is the hub's default class. */
  readonly withoutClass: boolean;
  /** IngressClass objects of the hub. */
  readonly known: ReadonlySet<string>;
}

export function classRules(
  options: { readonly ingressClasses: readonly string[]; readonly watchWithoutClass: boolean },
  classes: Iterable<IngressClass>,
): ClassRules {
  const ours = new Set(options.ingressClasses);
  const known = new Set<string>();
  let withoutClass = options.watchWithoutClass;
  for (const object of classes) {
    known.add(object.metadata.name);
    if (annotationsOf(object).get(DEFAULT_MARK) === "true" && ours.has(object.metadata.name))
      withoutClass = true;
  }
  return { ours, withoutClass, known };
}

export type Belonging =
  | { readonly kind: "ours" }
  | { readonly kind: "foreign" }
  /** Nobody knows that class: a slip, and worth one Event. */
  | { readonly kind: "unknown"; readonly name: string; readonly field: string };

/** The annotation goes before the field: Ingress v1 asks controllers to honour it where it is still written. */
export function belongs(ingress: MultiClusterIngress, rules: ClassRules): Belonging {
  const legacy = annotationsOf(ingress).get(LEGACY);
  const named = fieldsOf(ingress.spec)?.["ingressClassName"];
  const name = legacy ?? named;
  if (name === undefined || name === null || name === "") {
    return rules.withoutClass ? { kind: "ours" } : { kind: "foreign" };
  }
  if (typeof name === "string" && rules.ours.has(name)) return { kind: "ours" };
  if (typeof name === "string" && rules.known.has(name)) return { kind: "foreign" };
  const field = legacy === undefined ? "spec.ingressClassName" : `metadata.annotations["${LEGACY}"]`;
  return { kind: "unknown", name: typeof name === "string" ? name : JSON.stringify(name), field };
}
