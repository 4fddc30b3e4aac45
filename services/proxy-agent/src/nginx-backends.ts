// How nginx speaks to peers that do not speak plain HTTP/1: TLS to them, HTTP/2 for gRPC.
import { createHash } from "node:crypto";
import type { ProfileSettings } from "@sluice/ingress";
import {
  type Directive,
  directive as d,
  luaSet,
  number,
  onOff,
  passTo,
  quoted,
  tlsVersions,
  upstreamName,
  word as w,
} from "./nginx-text.ts";

/** What nobody's certificate is signed by: its key was never kept. In the place of authorities that are not there (yet). */
const NOBODY = `-----BEGIN CERTIFICATE-----
MIIBhjCCAS2gAwIBAgIUf98rpgBbVc5tajLCs3dO70eA79kwCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwObm9ib2R5LmludmFsaWQwHhcNMjYxMTIzMTgzODE1WhcNMjYx
MTI0MTgzODE1WjAZMRcwFQYDVQQDDA5ub2JvZHkuaW52YWxpZDBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABFMJno9NeQk2K2Wz5i2fttwSj3v8Fhsvf5kRe3w6MCDG
7GDCxc4ETetlAeuw2m3DVOa7XEnkXRMMs5hUb9rsBvGjUzBRMB0GA1UdDgQWBBR3
I0H7bgLWpDkXi/3Xlf1gpyjZzDAfBgNVHSMEGDAWgBR3I0H7bgLWpDkXi/3Xlf1g
pyjZzDAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIARnITJFrrVC
+TydHabjSkVt67SM7EfpKRd5Wtu9u3eCAiBGmsYQR7I5JxsELJ6+0sWQ3KED9IRM
DpT95Q2BlNPDVA==
-----END CERTIFICATE-----
`;

function speaksTls({ protocol }: ProfileSettings): boolean {
  return protocol === "https" || protocol === "grpcs";
}

export function speaksGrpc({ protocol }: ProfileSettings): boolean {
  return protocol === "grpc" || protocol === "grpcs";
}

/** @param settings with authorities as PEM, see `withAuthorities` */
function authoritiesOf({ tlsAuthorities }: ProfileSettings): string {
  return tlsAuthorities.startsWith("-----BEGIN CERTIFICATE-----") ? tlsAuthorities : NOBODY;
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

function authoritiesPath(settings: ProfileSettings, dir: string): string {
  return `${dir}/authorities-${digest(authoritiesOf(settings))}.pem`;
}

/** Files that nginx.conf names, by path. Nothing in them is secret. */
export function authorityFiles(profiles: Iterable<ProfileSettings>, dir: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const settings of profiles) {
    if (speaksTls(settings) && settings.tlsVerify) {
      files.set(authoritiesPath(settings, dir), authoritiesOf(settings));
    }
  }
  return files;
}

/** The same with who signs peers' certificates, in the place of the SecretRow's id. @param of PEM by id */
export function withAuthorities(
  settings: ProfileSettings,
  of: (id: string) => string | undefined,
): ProfileSettings {
  if (settings.tlsAuthorities === "") return settings;
  return { ...settings, tlsAuthorities: of(settings.tlsAuthorities) ?? "" };
}

/**
 * Which connections may carry which requests: nginx keeps connections by address alone, so whatever was agreed on or proved
 * when one was made must be the same for all that share an upstream block.
 */
function identityOf(settings: ProfileSettings): string {
  const { protocol, tlsName, tlsServerName, tlsVerify, tlsDepth, tlsClient, tlsProtocols, tlsCiphers } =
    settings;
  if (!speaksTls(settings)) return protocol;
  const proof = tlsVerify ? [authoritiesOf(settings), tlsDepth] : [];
  const shown = [tlsName, tlsServerName, tlsClient, tlsProtocols, tlsCiphers];
  return `${protocol}_${digest(JSON.stringify([shown, proof]))}`;
}

/** An upstream block for each identity but the one that all share who say nothing. */
export function backendUpstreams(
  profiles: Iterable<ProfileSettings>,
  inside: () => readonly Directive[],
): Directive[] {
  const identities = new Set<string>();
  for (const settings of profiles) if (settings.protocol !== "http") identities.add(identityOf(settings));
  return [...identities].sort().map((identity) => d("upstream", [upstreamName(identity)], inside()));
}

function tls(settings: ProfileSettings, dir: string): Directive[] {
  const prefix = speaksGrpc(settings) ? "grpc_ssl" : "proxy_ssl";
  const { tlsName, tlsServerName, tlsVerify, tlsDepth, tlsClient, tlsProtocols, tlsCiphers } = settings;
  return [
    d(`${prefix}_protocols`, tlsVersions(tlsProtocols)),
    d(`${prefix}_ciphers`, [quoted(tlsCiphers)]),
    // A session would bring what another connection has proved.
    d(`${prefix}_session_reuse`, [w`off`]),
    d(`${prefix}_server_name`, [onOff(tlsServerName && tlsName !== "")]),
    ...(tlsName === "" ? [] : [d(`${prefix}_name`, [quoted(tlsName)])]),
    ...(tlsVerify
      ? [
          d(`${prefix}_verify`, [w`on`]),
          d(`${prefix}_verify_depth`, [number(tlsDepth)]),
          d(`${prefix}_trusted_certificate`, [quoted(authoritiesPath(settings, dir))]),
        ]
      : []),
    ...(tlsClient === ""
      ? []
      : [
          d("set", [w`$sluice_client`, quoted(tlsClient)]),
          luaSet(w`$sluice_client_chain`)`return sluice.client_chain()`,
          luaSet(w`$sluice_client_key`)`return sluice.client_key()`,
          d(`${prefix}_certificate`, [w`$sluice_client_chain`]),
          d(`${prefix}_certificate_key`, [w`$sluice_client_key`]),
        ]),
  ];
}

/** What gRPC calls otherwise. */
const GRPC_NAMES: Readonly<Record<string, string>> = {
  proxy_connect_timeout: "grpc_connect_timeout",
  proxy_read_timeout: "grpc_read_timeout",
  proxy_send_timeout: "grpc_send_timeout",
  proxy_buffer_size: "grpc_buffer_size",
  proxy_next_upstream: "grpc_next_upstream",
  proxy_next_upstream_timeout: "grpc_next_upstream_timeout",
  proxy_set_header: "grpc_set_header",
};
/** HTTP/2 has none of these. */
const OF_HTTP_1: ReadonlySet<string> = new Set(["Upgrade", "Connection"]);

/** The same for gRPC; what has no meaning there is left out. */
export function asGrpc(directives: readonly Directive[]): Directive[] {
  return directives.flatMap((each): Directive[] => {
    if (!("args" in each)) return [each];
    const name = each.name.startsWith("proxy_") ? GRPC_NAMES[each.name] : each.name;
    const [first] = each.args;
    if (name === undefined || (name === "grpc_set_header" && OF_HTTP_1.has(first?.text ?? ""))) return [];
    return [{ ...each, name }];
  });
}

/** Where requests go, and how. @param rewritten they become others on the way */
export function backendPass(settings: ProfileSettings, dir: string, rewritten: boolean): Directive[] {
  const { protocol } = settings;
  if (protocol === "http") {
    return [d("proxy_pass", [rewritten ? w`http://sluice_peers$sluice_uri` : w`http://sluice_peers`])];
  }
  const name = upstreamName(identityOf(settings));
  const secure = speaksTls(settings) ? tls(settings, dir) : [];
  if (protocol === "grpc") return [...secure, d("grpc_pass", [passTo("grpc://", name)])];
  if (protocol === "grpcs") return [...secure, d("grpc_pass", [passTo("grpcs://", name)])];
  return [
    ...secure,
    d("proxy_pass", [rewritten ? passTo("https://", name, "$sluice_uri") : passTo("https://", name)]),
  ];
}
