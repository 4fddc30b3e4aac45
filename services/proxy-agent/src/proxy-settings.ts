// What one proxy runs with: what its own flags say goes before what the fleet says for all of them.
import type { ListenerSettings } from "@sluice/ingress";
import type { AccessLog } from "./access-log.ts";
import type { ClientTrust, RequestIds } from "./client-facts.ts";

/** Of a proxy's own, by flags; what is absent is as the fleet has it. */
export interface ProxyFlags {
  readonly accessLog?: AccessLog | "off";
  /** What holds where neither a flag nor the fleet says whether requests are logged. Default: they are not. */
  readonly unsaidAccessLog?: AccessLog;
  /** Whom to believe about clients. */
  readonly clients?: Partial<ClientTrust>;
  readonly requestIds?: RequestIds;
  /** Milliseconds that streams may outlive a reload. */
  readonly shutdownTimeoutMs?: number;
}

type Fleet = Partial<ListenerSettings>;

/** As ingress-nginx has it where proxy-real-ip-cidr is not said. */
const EVERYBODY: readonly string[] = ["0.0.0.0/0"];
/** Streams that outlive a reload, as ingress-nginx has it. */
const SHUTDOWN_MS = 240_000;

function trustedBy(flags: Partial<ClientTrust>, fleet: Fleet): readonly string[] {
  if (flags.from !== undefined) return flags.from;
  if (fleet.trusted !== undefined) return fleet.trusted.split(" ").filter((range) => range !== "");
  return fleet.forwardedHeaders || fleet.realIp || fleet.proxyProtocol ? EVERYBODY : [];
}

/** undefined: nobody is believed about a client. */
export function clientTrustOf({ clients = {} }: ProxyFlags, fleet: Fleet): ClientTrust | undefined {
  const { proxyProtocol, forwardedHeaders, realIp, forwardedForHeader, fullForwardedFor } = fleet;
  const said = {
    ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
    ...(forwardedHeaders === undefined ? {} : { forwardedHeaders }),
    ...(realIp === undefined ? {} : { realIp }),
    ...(forwardedForHeader === undefined ? {} : { forwardedForHeader }),
    ...(fullForwardedFor === undefined ? {} : { fullForwardedFor }),
    // As the fleet's words mean it; a proxy's own flags name proxies in front of which some speak it.
    ...(proxyProtocol === true && clients.proxyProtocol === undefined ? { proxyProtocolFirst: true } : {}),
    ...clients,
  };
  if (Object.keys(said).length === 0) return undefined;
  return { ...said, from: trustedBy(clients, fleet) };
}

export function requestIdsOf({ requestIds = {} }: ProxyFlags, fleet: Fleet): RequestIds {
  const { requestIds: generate } = fleet;
  return { ...(generate === undefined ? {} : { generate }), ...requestIds };
}

/** undefined: requests are not logged. */
export function accessLogOf({ accessLog, unsaidAccessLog }: ProxyFlags, fleet: Fleet): AccessLog | undefined {
  if (accessLog !== undefined) return accessLog === "off" ? undefined : accessLog;
  if (fleet.accessLog === undefined) return unsaidAccessLog;
  return fleet.accessLog ? (unsaidAccessLog ?? "file") : undefined;
}

export function shutdownOf({ shutdownTimeoutMs }: ProxyFlags, fleet: Fleet): number {
  return shutdownTimeoutMs ?? fleet.shutdownMs ?? SHUTDOWN_MS;
}

/** Strict-Transport-Security of hosts with a certificate of their own; undefined: none. */
export function hstsOf(fleet: Fleet): string | undefined {
  const { hsts = true, hstsMaxAgeSeconds = 31_536_000, hstsSubdomains = true, hstsPreload = false } = fleet;
  if (!hsts) return undefined;
  const more = [...(hstsSubdomains ? ["includeSubDomains"] : []), ...(hstsPreload ? ["preload"] : [])];
  return [`max-age=${hstsMaxAgeSeconds}`, ...more].join("; ");
}
