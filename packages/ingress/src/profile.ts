import { createHash } from "node:crypto";
import type { PathPolicy, ProfileRow } from "@sluice/contracts";

/** What a profile can say; a location of its own in nginx.conf says it. */
export interface ProfileSettings {
  /** Milliseconds until a connection to a peer must stand; then the next peer is tried. */
  readonly connectTimeoutMs: number;
  /** Milliseconds between two reads from a peer. */
  readonly readTimeoutMs: number;
  readonly sendTimeoutMs: number;
  /** 0: any size. */
  readonly maxBodyBytes: number;
  /** A larger body goes to a file before it is sent on. */
  readonly bodyBufferBytes: number;
  readonly requestBuffering: boolean;
  readonly responseBuffering: boolean;
  /** Size of one buffer for a response; a response's header must fit into one. */
  readonly bufferBytes: number;
  /** Buffers for one response. */
  readonly buffers: number;
  /** To the peer. */
  readonly httpVersion: "1.0" | "1.1";
  /** Words of nginx's proxy_next_upstream, sorted, with a blank between. */
  readonly nextUpstream: string;
  /** Peers that one request tries at most; 0: as many as there are, up to 32. */
  readonly nextTries: number;
  /** Milliseconds that all tries together may take to get to a first byte; 0: no limit. */
  readonly nextTimeoutMs: number;
  /** Requests change on their way to a peer, as their path says. */
  readonly rewrites: boolean;
  /** Requests are judged before a peer is asked, as their path says. */
  readonly guards: boolean;
  /** The header of answers changes, as their path says. */
  readonly filters: boolean;
  /** What peers are told of a client's certificate: nothing, who it is and who says so, or all of it. */
  readonly clientFacts: "none" | "names" | "whole";
  /** How peers are spoken to. What begins with tls holds for https and grpcs. */
  readonly protocol: "http" | "https" | "grpc" | "grpcs";
  /** The name that a peer's certificate must be for; empty: any. */
  readonly tlsName: string;
  /** `tlsName` is sent as SNI. */
  readonly tlsServerName: boolean;
  readonly tlsVerify: boolean;
  /** Certificates between a peer's and that of an authority. */
  readonly tlsDepth: number;
  /** Id of the SecretRow that says who signs peers' certificates; empty: nobody is asked to. */
  readonly tlsAuthorities: string;
  /** Id of the SecretRow whose certificate is shown to peers that ask for one; empty: none is. */
  readonly tlsClient: string;
  /** Words of nginx's proxy_ssl_protocols, sorted, with a blank between. */
  readonly tlsProtocols: string;
  /** As OpenSSL writes lists of cipher suites. */
  readonly tlsCiphers: string;
  /** Statuses that somebody else answers, in order with a blank between. */
  readonly errorCodes: string;
}

/** 60 s and 1 MiB are what ingress-nginx had; 250 ms is ours, because another peer is usually there. */
export const defaultSettings: ProfileSettings = {
  connectTimeoutMs: 250,
  readTimeoutMs: 60_000,
  sendTimeoutMs: 60_000,
  maxBodyBytes: 1024 * 1024,
  bodyBufferBytes: 16 * 1024,
  requestBuffering: true,
  responseBuffering: true,
  bufferBytes: 4096,
  buffers: 8,
  httpVersion: "1.1",
  nextUpstream: "error timeout",
  nextTries: 3,
  nextTimeoutMs: 5000,
  rewrites: false,
  guards: false,
  filters: false,
  clientFacts: "none",
  protocol: "http",
  tlsName: "",
  tlsServerName: false,
  tlsVerify: false,
  tlsDepth: 1,
  tlsAuthorities: "",
  tlsClient: "",
  tlsProtocols: "TLSv1.2 TLSv1.3",
  tlsCiphers: "DEFAULT",
  errorCodes: "",
};

/** Least and most of each number, so that no object can make nginx refuse its configuration, or take its memory. */
export const settingBounds = {
  connectTimeoutMs: [1, 86_400_000],
  readTimeoutMs: [1, 86_400_000],
  sendTimeoutMs: [1, 86_400_000],
  maxBodyBytes: [0, 2 ** 40],
  bodyBufferBytes: [1024, 2 ** 24],
  bufferBytes: [1024, 2 ** 20],
  // With one buffer nginx has none left to send from while it fills the other.
  buffers: [2, 64],
  nextTries: [0, 32],
  nextTimeoutMs: [0, 86_400_000],
  tlsDepth: [1, 9],
} as const satisfies Readonly<Record<string, readonly [min: number, max: number]>>;

/** What nginx's proxy_next_upstream takes. */
export const nextUpstreamWords: readonly string[] = [
  "error",
  "http_403",
  "http_404",
  "http_429",
  "http_500",
  "http_502",
  "http_503",
  "http_504",
  "invalid_header",
  "non_idempotent",
  "off",
  "timeout",
];

/** Phases of nginx that a path's policy needs a location for; what is not named needs none. */
const phasesOf: { readonly [K in keyof PathPolicy]?: Partial<ProfileSettings> } = {
  rewrite: { rewrites: true },
  access: { guards: true },
  auth: { guards: true, filters: true },
  limits: { guards: true },
  clientCertificate: { guards: true },
  vhost: { rewrites: true },
  cors: { guards: true, filters: true },
  cookies: { filters: true },
  answerHeaders: { filters: true },
  mirror: { guards: true },
};

/** Phases that some of these policies need. */
export function phasesFor(policies: Iterable<PathPolicy>): Partial<ProfileSettings> {
  const phases: Partial<ProfileSettings> = {};
  for (const policy of policies) {
    for (const key of Object.keys(policy)) Object.assign(phases, phasesOf[key as keyof PathPolicy]);
  }
  return phases;
}

/** Sizes and times: without them a request is served all the same, and by the same rules. Of anything else that is not sure. */
const tuning: ReadonlySet<string> = new Set<keyof ProfileSettings>([
  ...(Object.keys(settingBounds) as (keyof typeof settingBounds)[]).filter((key) => key !== "tlsDepth"),
  "requestBuffering",
  "responseBuffering",
  "httpVersion",
  "nextUpstream",
]);

/** Of these settings those that a path cannot do without. */
export function needed(settings: ProfileRow["settings"]): Partial<ProfileSettings> {
  return Object.fromEntries(Object.entries(settings).filter(([key]) => !tuning.has(key)));
}

/** A policy profile: everything that needs a location of its own in nginx.conf. Equal settings have one hash. */
export function profileOf(settings: Partial<ProfileSettings>): ProfileRow {
  const own = Object.entries(settings)
    .filter(([key, value]) => value !== defaultSettings[key as keyof ProfileSettings])
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const sorted = Object.fromEntries(own);
  const hash = createHash("sha256").update(JSON.stringify(sorted)).digest("hex").slice(0, 16);
  return { hash, settings: sorted };
}

/** No setting at all: nginx.conf's own. Always in the fleet, so that the first route needs no reload. */
export const defaultProfile: ProfileRow = profileOf({});
