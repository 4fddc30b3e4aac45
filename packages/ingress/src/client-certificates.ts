import type { ClientCertificate, HostClients, ProfileRow, RoutePath, RouteRow } from "@sluice/contracts";
import { pathsAt } from "./by-host.ts";
import { byAge, type CompiledIngress } from "./compile-ingress.ts";
import type { HostRoutes } from "./host-routes.ts";
import type { SecretLookup } from "./host-tls.ts";
import { quote } from "./objects.ts";
import { defaultProfile, type ProfileSettings, phasesFor, profileOf } from "./profile.ts";
import { readSecretName, type SecretNeed, secretId } from "./secret-need.ts";
import { unmetNeed } from "./unmet-need.ts";
import type { Verdict } from "./verdict.ts";

/** What annotations say of clients' certificates. */
export interface ClientPolicy {
  /** `name` or `namespace/name`. */
  readonly secret?: string;
  readonly verify?: "on" | "off" | "optional" | "optional_no_ca";
  readonly depth?: number;
  readonly pass?: boolean;
  readonly errorPage?: string;
}

/** What an object asks of the clients of its hosts. */
export interface ClientDemand {
  readonly certificate: ClientCertificate;
  readonly host: HostClients;
  /** What peers are told. */
  readonly facts: "names" | "whole";
  readonly need: SecretNeed;
}

const PREFIX = "metadata.annotations[nginx.ingress.kubernetes.io/";
/** As in ingress-nginx. */
const DEPTH = 1;

/** @returns what is asked (null: nothing), or why it cannot be given */
export function clientDemand(
  policy: ClientPolicy,
  namespace: string,
): { readonly demand: ClientDemand | null; readonly problem: string | null } {
  const { secret, verify = "on", depth = DEPTH, pass = false, errorPage } = policy;
  if (verify === "off") return { demand: null, problem: null };
  if (secret === undefined) {
    const asked = policy.verify !== undefined;
    const problem = `${PREFIX}auth-tls-verify-client] stands there without auth-tls-secret; write the name of the Secret with ca.crt`;
    return { demand: null, problem: asked ? problem : null };
  }
  const field = `${PREFIX}auth-tls-secret]`;
  const reading = readSecretName(secret, namespace);
  if (!reading.ok) return { demand: null, problem: `${field}: ${quote(secret)} ${reading.why}` };
  const need: SecretNeed = {
    kind: "authorities",
    namespace: reading.namespace,
    name: reading.name,
    field,
  };
  return {
    problem: null,
    demand: {
      certificate: { verify, ...(errorPage === undefined ? {} : { errorPage }) },
      host: { authorities: secretId(need), depth },
      facts: pass ? "whole" : "names",
      need,
    },
  };
}

/**
 * The same host with what is asked of its clients: as in ingress-nginx the oldest object that asks for certificates
 * decides for all paths of the host, whosever they are. What another object asks for besides cannot be given.
 * @param at MCIs with paths of that host
 */
export function withClients<Host extends HostRoutes>(
  routes: Host,
  host: string,
  at: readonly CompiledIngress[],
  secrets: SecretLookup | null,
): Host {
  const { row } = routes;
  const asking = at
    .filter(({ clients, paths }) => clients !== null && pathsAt(paths, host).length > 0)
    .toSorted(byAge);
  const [owner] = asking;
  const demand = owner?.clients ?? null;
  if (owner === undefined || demand === null || row === null) return routes;
  const verdicts = new Map(routes.verdicts);
  const refuse = ({ key, ref }: CompiledIngress, problem: string) => {
    const message = `${problem}. Its paths on host ${quote(host)} answer 503 until then`;
    const said: Verdict = { object: ref, type: "Warning", reason: "ProtectionRefused", message };
    verdicts.set(key, [...(verdicts.get(key) ?? []), said]);
  };
  const missing = unmetNeed([demand.need], secrets);
  if (missing !== null) refuse(owner, missing);
  const others = asking.filter(({ clients }) => clients !== null && !sameDemand(clients, demand));
  for (const each of others) {
    refuse(
      each,
      `${PREFIX}auth-tls-secret]: MultiClusterIngress ${owner.key} decides which certificates clients of host ` +
        `${quote(host)} need; ask for the same, or use another host`,
    );
  }
  const closed = new Set(others.map(({ ref }) => `${ref.kind} ${ref.namespace}/${ref.name}`));
  const problemOf = ({ source }: RoutePath) =>
    missing ??
    (closed.has(`${source.kind} ${source.namespace}/${source.name}`)
      ? `MultiClusterIngress ${owner.key} decides which certificates are needed`
      : null);
  const profiles = new Profiles(routes.profiles, demand.facts);
  const paths = row.paths.map((path) => guarded(path, demand.certificate, profiles, problemOf(path)));
  const guardedRow: RouteRow = { ...row, paths, clients: demand.host };
  return {
    ...routes,
    row: guardedRow,
    profiles: profiles.used(paths),
    needs: [...routes.needs, demand.need],
    verdicts,
  };
}

function sameDemand(a: ClientDemand, b: ClientDemand): boolean {
  return (
    JSON.stringify([a.certificate, a.host, a.facts]) === JSON.stringify([b.certificate, b.host, b.facts])
  );
}

function guarded(
  path: RoutePath,
  clientCertificate: ClientCertificate,
  profiles: Profiles,
  problem: string | null,
): RoutePath {
  if (path.redirect !== undefined) return path;
  const { spare: _, ...rest } = path;
  return {
    ...(problem === null ? path : { ...rest, upstream: null, problem }),
    profile: profiles.guarding(path.profile),
    clientCertificate,
  };
}

/** Profiles of a host's paths, and what becomes of each where clients are asked for certificates. */
class Profiles {
  readonly #rows: Map<string, ProfileRow>;
  readonly #facts: ProfileSettings["clientFacts"];

  constructor(rows: readonly ProfileRow[], facts: ProfileSettings["clientFacts"]) {
    this.#rows = new Map([defaultProfile, ...rows].map((row) => [row.hash, row]));
    this.#facts = facts;
  }

  guarding(hash: string): string {
    const own = this.#rows.get(hash)?.settings ?? {};
    const phases = phasesFor([{ clientCertificate: { verify: "on" } }]);
    const row = profileOf({ ...own, ...phases, clientFacts: this.#facts });
    this.#rows.set(row.hash, row);
    return row.hash;
  }

  used(paths: readonly RoutePath[]): ProfileRow[] {
    const names = new Set(paths.map(({ profile }) => profile));
    return [...names].flatMap((name) => this.#rows.get(name) ?? []);
  }
}
