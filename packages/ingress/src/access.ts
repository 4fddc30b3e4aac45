import type { Access, AuthRequest } from "@sluice/contracts";
import {
  filled,
  type OfObject,
  type ServiceUrl,
  signinTemplate,
  type TextTemplate,
} from "./access-values.ts";
import type { CompiledPath } from "./compile-ingress.ts";
import { readSecretName, type SecretNeed, secretId } from "./secret-need.ts";

/** What annotations say of who may come in. */
export interface AccessPolicy {
  readonly whitelist?: readonly string[];
  readonly allowlist?: readonly string[];
  readonly denylist?: readonly string[];
  readonly satisfy?: "all" | "any";
  readonly authType?: "basic";
  /** `name` or `namespace/name`. */
  readonly authSecret?: string;
  readonly authSecretType?: "auth-file" | "auth-map";
  readonly authRealm?: string;
  readonly authUrl?: ServiceUrl;
  readonly authMethod?: string;
  readonly signin?: string;
  readonly signinParam?: string;
  readonly authHeaders?: readonly string[];
  readonly alwaysSetCookie?: boolean;
  readonly requestRedirect?: TextTemplate;
  /** Read where what the ConfigMap says of all is added. */
  readonly globalAuth?: boolean;
}

/** As in ingress-nginx. */
const REALM = "Authentication Required";
/** Ranges of one object times its paths: each path of a row carries its own. */
const MOST_RANGES = 20_000;

const PREFIX = "metadata.annotations[nginx.ingress.kubernetes.io/";

export interface Admitted {
  readonly paths: CompiledPath[];
  /** Why the protection that was asked for cannot be given; null: it can. */
  readonly problem: string | null;
}

/** The same paths with who may come in. */
export function admitted(
  paths: readonly CompiledPath[],
  policy: AccessPolicy,
  object: { readonly namespace: string; readonly name: string },
): Admitted {
  const problem = problemOf(paths, policy, object.namespace);
  if (problem !== null) return { paths: [...paths], problem };
  const needs = needsOf(policy, object.namespace);
  const access = accessOf(policy, needs);
  return {
    problem: null,
    paths: paths.map((path) => {
      const auth = authOf(policy, path, object);
      if (access === null && auth === null) return path;
      return {
        ...path,
        ...(needs.length === 0 ? {} : { needs: [...(path.needs ?? []), ...needs] }),
        policy: {
          ...path.policy,
          ...(access === null ? {} : { access }),
          ...(auth === null ? {} : { auth }),
        },
      };
    }),
  };
}

function problemOf(paths: readonly CompiledPath[], policy: AccessPolicy, namespace: string): string | null {
  const { authType, authSecret, authUrl } = policy;
  if (authType === undefined && authSecret !== undefined) {
    return `${PREFIX}auth-secret] stands there without auth-type; write auth-type: basic, or remove it`;
  }
  if (authType !== undefined && authSecret === undefined) {
    return `${PREFIX}auth-type] stands there without auth-secret; write the name of the Secret with the users`;
  }
  const secret = authSecret === undefined ? null : readSecretName(authSecret, namespace);
  if (secret?.ok === false) return `${PREFIX}auth-secret]: ${JSON.stringify(authSecret)} ${secret.why}`;
  const open = paths.find(({ host }) => host === "" || host.startsWith("*."));
  if (authUrl?.host === null && open !== undefined) {
    const whose = open.host === "" ? "a rule without host" : open.host;
    return (
      `${PREFIX}auth-url] asks $host, which for ${whose} is for each request to say; ` +
      "write the name of the service that is asked"
    );
  }
  const count = (allowed(policy)?.length ?? 0) + (policy.denylist?.length ?? 0);
  if (count * paths.length > MOST_RANGES && paths.length > 1) {
    return `${PREFIX}*-source-range] name ${count} ranges for ${paths.length} paths: at most ${MOST_RANGES} for all paths together; write fewer`;
  }
  return null;
}

/** Its newer name goes before its older one, as in ingress-nginx. */
function allowed({ allowlist, whitelist }: AccessPolicy): readonly string[] | undefined {
  return allowlist ?? whitelist;
}

function needsOf({ authSecret, authSecretType }: AccessPolicy, namespace: string): SecretNeed[] {
  const secret = authSecret === undefined ? null : readSecretName(authSecret, namespace);
  if (secret?.ok !== true) return [];
  const kind = authSecretType === "auth-map" ? "user-map" : "users";
  return [{ kind, namespace: secret.namespace, name: secret.name, field: `${PREFIX}auth-secret]` }];
}

function accessOf(policy: AccessPolicy, [users]: readonly SecretNeed[]): Access | null {
  const { denylist: deny, satisfy } = policy;
  const allow = allowed(policy);
  if (allow === undefined && deny === undefined && users === undefined) return null;
  return {
    ...(allow === undefined ? {} : { allow: [...allow] }),
    ...(deny === undefined ? {} : { deny: [...deny] }),
    ...(users === undefined ? {} : { users: { secret: secretId(users), realm: policy.authRealm ?? REALM } }),
    ...(satisfy === "any" ? { any: true } : {}),
  };
}

function authOf(
  policy: AccessPolicy,
  { host, backend }: CompiledPath,
  { namespace, name }: { readonly namespace: string; readonly name: string },
): AuthRequest | null {
  const { authUrl: url, signin, authHeaders: headers, requestRedirect: redirect } = policy;
  if (url === undefined) return null;
  const names: OfObject = {
    namespace,
    ingress_name: name,
    service_name: backend.kind === "service" ? backend.name : "",
  };
  return {
    ...(url.secure ? { secure: true } : {}),
    host: url.host ?? host,
    port: url.port,
    method: policy.authMethod ?? "GET",
    target: filled(url.target, names),
    ...(signin === undefined
      ? {}
      : { signin: filled(signinTemplate(signin, policy.signinParam ?? "rd"), names) }),
    ...(redirect === undefined ? {} : { redirect: filled(redirect, names) }),
    ...(headers === undefined ? {} : { headers: [...headers] }),
    ...(policy.alwaysSetCookie === true ? { alwaysSetCookie: true } : {}),
  };
}
