export type ObjectNameReading =
  | { readonly ok: true; readonly namespace: string; readonly name: string }
  | { readonly ok: false; readonly why: string };

const NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

/**
 * `name`, or `namespace/name` as ingress-nginx's annotations write it. An object of another namespace is refused: whoever
 * may write in one namespace must not show, or be let in by, what lies in another.
 */
export function readObjectName(
  kind: "Secret" | "ConfigMap",
  text: string,
  namespace: string,
): ObjectNameReading {
  const [first = "", second, ...rest] = text.trim().split("/");
  const [given, name] = second === undefined ? [namespace, first] : [first, second];
  if (rest.length > 0 || !NAME.test(name)) return { ok: false, why: `is no name of a ${kind}` };
  if (given !== namespace) {
    return {
      ok: false,
      why: `names a ${kind} of another namespace, which is not allowed; copy it to namespace ${namespace}`,
    };
  }
  return { ok: true, namespace, name };
}
