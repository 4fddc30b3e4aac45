import type { HashPart, Mirror } from "@sluice/contracts";
import { filled, type ServiceUrl } from "./access-values.ts";
import type { CompiledPath } from "./compile-ingress.ts";

/** What annotations say of who gets copies of requests. */
export interface MirrorPolicy {
  readonly target?: ServiceUrl & { readonly host: string };
  /** Copies have the body that the request has. */
  readonly body?: boolean;
  /** A name, or the host that was asked for. */
  readonly host?: HashPart;
}

/** The same paths with who gets copies of their requests. */
export function mirrored(
  paths: readonly CompiledPath[],
  policy: MirrorPolicy,
  object: { readonly namespace: string; readonly name: string },
): CompiledPath[] {
  const { target } = policy;
  if (target === undefined) return [...paths];
  return paths.map((path) => {
    const { backend } = path;
    const names = {
      namespace: object.namespace,
      ingress_name: object.name,
      service_name: backend.kind === "service" ? backend.name : "",
    };
    const mirror: Mirror = {
      ...(target.secure ? { secure: true } : {}),
      host: target.host,
      port: target.port,
      target: filled(target.target, names),
      hostHeader: [policy.host ?? { text: target.host.includes(":") ? `[${target.host}]` : target.host }],
      ...(policy.body === false ? { bodiless: true } : {}),
    };
    return { ...path, policy: { ...path.policy, mirror } };
  });
}
