import type { BackendProtocol } from "./backend-values.ts";
import type { CompiledPath } from "./compile-ingress.ts";
import { quote } from "./objects.ts";
import type { ProfileSettings } from "./profile.ts";
import { readSecretName, type SecretNeed, secretId } from "./secret-need.ts";
import type { Reason } from "./verdict.ts";

/** What annotations say of how the peers of an object are spoken to. */
export interface BackendPolicy {
  readonly protocol?: BackendProtocol;
  /** `name` or `namespace/name` */
  readonly secret?: string;
  readonly verify?: boolean;
  readonly depth?: number;
  readonly name?: string;
  readonly serverName?: boolean;
  readonly protocols?: string;
  readonly ciphers?: string;
  /** Said in vain. */
  readonly serviceUpstream?: boolean;
}

export const tlsDepths = [1, 9] as const;

const FIELD = "metadata.annotations[nginx.ingress.kubernetes.io/";

const SPOKEN: { readonly [P in BackendProtocol]?: ProfileSettings["protocol"] } = {
  HTTP: "http",
  HTTPS: "https",
  GRPC: "grpc",
  GRPCS: "grpcs",
};

/** What a profile has to say of it, or why peers cannot be spoken to so. */
type BackendReading =
  | { readonly settings: Partial<ProfileSettings>; readonly needs: readonly SecretNeed[] }
  | { readonly reason: Reason; readonly problem: string };

function readBackends(policy: BackendPolicy, namespace: string): BackendReading {
  const { protocol: asked = "HTTP", secret, verify = false, name, serverName, protocols, ciphers } = policy;
  const protocol = SPOKEN[asked];
  if (protocol === undefined) {
    const problem = `${FIELD}backend-protocol]: ${asked} is not spoken here; let the backend speak HTTP, HTTPS, GRPC or GRPCS`;
    return { reason: "BackendUnsupported", problem };
  }
  if (protocol === "http" || protocol === "grpc") return { settings: { protocol }, needs: [] };
  const closed = (problem: string): BackendReading => ({ reason: "ProtectionRefused", problem });
  if (verify && name === undefined) {
    return closed(
      `${FIELD}proxy-ssl-verify] needs proxy-ssl-name, the name that a peer's certificate must be for`,
    );
  }
  if (verify && secret === undefined) {
    return closed(
      `${FIELD}proxy-ssl-verify] needs proxy-ssl-secret, in whose ca.crt is who signs peers' certificates`,
    );
  }
  const field = `${FIELD}proxy-ssl-secret]`;
  const named = secret === undefined ? undefined : readSecretName(secret, namespace);
  if (named !== undefined && !named.ok) return closed(`${field}: ${quote(secret)} ${named.why}`);
  const shown: SecretNeed | undefined = named && { kind: "tls", ...named, field, optional: true };
  const trusted: SecretNeed | undefined =
    verify && named ? { kind: "authorities", ...named, field } : undefined;
  return {
    settings: {
      protocol,
      ...(name === undefined ? {} : { tlsName: name, tlsServerName: serverName === true }),
      ...(protocols === undefined ? {} : { tlsProtocols: protocols }),
      ...(ciphers === undefined ? {} : { tlsCiphers: ciphers }),
      ...(shown === undefined ? {} : { tlsClient: secretId(shown) }),
      ...(trusted === undefined
        ? {}
        : { tlsVerify: true, tlsAuthorities: secretId(trusted), tlsDepth: policy.depth ?? 1 }),
    },
    needs: [trusted, shown].filter((need) => need !== undefined),
  };
}

/** The same paths to peers that are spoken to so, and what their profile says of it. */
export function spoken(
  paths: readonly CompiledPath[],
  policy: BackendPolicy,
  namespace: string,
  warn: (reason: Reason, message: string) => void,
): { readonly paths: CompiledPath[]; readonly settings: Partial<ProfileSettings> } {
  const reading = readBackends(policy, namespace);
  if ("problem" in reading) {
    const { reason, problem } = reading;
    warn(reason, `${problem}; all paths answer 503 until then`);
    const closed = paths.map(
      ({ redirect, spare: _, ...path }): CompiledPath => ({
        ...path,
        ...(redirect === undefined ? {} : { redirect }),
        backend: { kind: "none", problem },
      }),
    );
    return { paths: closed, settings: {} };
  }
  const { settings, needs } = reading;
  const grpc = settings.protocol === "grpc" || settings.protocol === "grpcs";
  if (grpc && paths.some((path) => path.policy.rewrite !== undefined)) {
    warn(
      "AnnotationInvalid",
      `${FIELD}rewrite-target]: the path of a gRPC request is its method's name and stays as it is; take one of both away`,
    );
  }
  return {
    settings,
    paths: paths.map((path) => {
      const { rewrite, forwardedPrefix, ...rest } = path.policy;
      return {
        ...path,
        ...(grpc ? { policy: rest } : {}),
        ...(needs.length === 0 ? {} : { needs: [...(path.needs ?? []), ...needs] }),
      };
    }),
  };
}
