// How checks speak to peers by TLS: as nginx does for the routes that lead there.
import { createHash } from "node:crypto";
import {
  type ConnectionOptions,
  checkServerIdentity,
  createSecureContext,
  type PeerCertificate,
  type SecureVersion,
} from "node:tls";
import type { ProfileSettings } from "@sluice/ingress";

/** What is known of the peers of an upstream, and what is shown to them. */
export interface CheckTls {
  /** Another one for each identity; nothing secret. */
  readonly id: string;
  readonly options: ConnectionOptions;
}

/** PEM of who signs peers' certificates, and of what they are shown. */
export interface CheckSecrets {
  authorities(id: string): string | undefined;
  /** undefined: it is not there, or is being opened. */
  client(id: string): { readonly chain: string; readonly key: string } | undefined;
}

/** Handshakes may be some hundreds a second, for a few identities. */
const MOST_KEPT = 200;
const kept = new Map<string, CheckTls>();

export function isTlsCheck({ kind }: { readonly kind: string }): boolean {
  return kind === "https" || kind === "grpcs";
}

/**
 * Of several identities that lead to an upstream one that has peers prove theirs goes first, then that of the profile which
 * comes first by name. Where no route speaks TLS, nothing is shown and nothing has to be proved.
 * @param profiles of the routes in nginx that lead there, by name
 * @returns null: nobody is sent there yet, or something of it is not there
 */
export function checkTls(
  profiles: ReadonlyMap<string, ProfileSettings>,
  secrets: CheckSecrets,
): CheckTls | null {
  if (profiles.size === 0) return null;
  const speaking = [...profiles]
    .filter(([, { protocol }]) => protocol === "https" || protocol === "grpcs")
    .sort(([a, one], [b, other]) => Number(other.tlsVerify) - Number(one.tlsVerify) || (a < b ? -1 : 1));
  const settings = speaking[0]?.[1];
  if (settings === undefined) return known({ verify: false });
  const { tlsName, tlsServerName, tlsVerify, tlsAuthorities, tlsClient, tlsProtocols, tlsCiphers } = settings;
  const authorities = tlsVerify ? secrets.authorities(tlsAuthorities) : undefined;
  if (tlsVerify && authorities === undefined) return null;
  const client = tlsClient === "" ? undefined : secrets.client(tlsClient);
  if (tlsClient !== "" && client === undefined) return null;
  return known({
    verify: tlsVerify,
    name: tlsName,
    servername: tlsServerName ? tlsName : "",
    authorities,
    client,
    versions: tlsProtocols,
    ciphers: tlsCiphers,
  });
}

interface Identity {
  readonly verify: boolean;
  readonly name?: string;
  readonly servername?: string;
  readonly authorities?: string | undefined;
  readonly client?: { readonly chain: string; readonly key: string } | undefined;
  /** As nginx has them: with blanks between. */
  readonly versions?: string;
  readonly ciphers?: string;
}

function known(identity: Identity): CheckTls {
  const id = createHash("sha256").update(JSON.stringify(identity)).digest("hex").slice(0, 32);
  const before = kept.get(id);
  if (before !== undefined) return before;
  const { verify, name = "", servername = "", authorities, client, versions, ciphers } = identity;
  const range = (versions?.split(" ") ?? []).sort();
  const [minVersion, maxVersion] = [range[0], range.at(-1)] as (SecureVersion | undefined)[];
  const made: CheckTls = {
    id,
    options: {
      servername,
      rejectUnauthorized: verify,
      // The peer is called by its address: whom it has to be is what the route says.
      checkServerIdentity: (_, certificate: PeerCertificate) => checkServerIdentity(name, certificate),
      secureContext: createSecureContext({
        ...(authorities === undefined ? {} : { ca: authorities }),
        ...(client === undefined ? {} : { cert: client.chain, key: client.key }),
        ...(minVersion === undefined || maxVersion === undefined ? {} : { minVersion, maxVersion }),
        ...(ciphers === undefined ? {} : { ciphers }),
      }),
    },
  };
  if (kept.size >= MOST_KEPT) kept.clear();
  kept.set(id, made);
  return made;
}
