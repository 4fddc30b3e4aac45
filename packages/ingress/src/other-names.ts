import type { RouteRow } from "@sluice/contracts";
import { namesOf, wishesFor } from "./by-host.ts";
import { byAge, type CompiledIngress } from "./compile-ingress.ts";
import { assembleHost, type HostRoutes, type ImportLookup, type LastBackend } from "./host-routes.ts";
import type { SecretLookup } from "./host-tls.ts";
import { quote } from "./objects.ts";
import { defaultProfile } from "./profile.ts";
import type { OtherName } from "./route-policy.ts";
import { copiesOf } from "./route-room.ts";
import type { Reason, Verdict } from "./verdict.ts";

interface Wish extends OtherName {
  readonly ingress: CompiledIngress;
}

export interface NameRoutes extends HostRoutes {
  /** Of which host it is another name; absent: of none. */
  readonly otherNameOf?: string;
}

/**
 * What is served under a host: its own paths; where it has none, what another host serves of which it is an alias; else a
 * redirect to the host of which it is the name with or without `www.`. @param at MCIs with that host, or with that name
 */
export function assembleName(
  host: string,
  at: (host: string) => readonly CompiledIngress[],
  imports: ImportLookup,
  last: LastBackend | null,
  secrets: SecretLookup | null,
): NameRoutes {
  const here = at(host);
  const own = assembleHost(host, here, imports, last, secrets);
  const wishes = here
    .toSorted(byAge)
    .flatMap((ingress) => wishesFor(ingress.otherNames, host).map((wish): Wish => ({ ...wish, ingress })))
    .sort((a, b) => Number(a.redirects) - Number(b.redirects));
  const [first] = wishes;
  if (first === undefined) return own;
  const verdicts = new Map(own.verdicts);
  const refuse = ({ ingress, of, redirects }: Wish, by: string, reason: Reason = "HostTaken") => {
    const name = redirects ? "from-to-www-redirect" : "server-alias";
    const what = redirects ? `a redirect from ${host} to ${of}` : `${host} as another name of ${quote(of)}`;
    const message =
      `metadata.annotations[nginx.ingress.kubernetes.io/${name}]: ${what} is left out, because ${by}` +
      (reason === "HostTaken" ? "; remove one of the two" : "");
    const verdict: Verdict = { object: ingress.ref, type: "Warning", reason, message };
    verdicts.set(ingress.key, [...(verdicts.get(ingress.key) ?? []), verdict]);
  };
  if (own.row !== null) {
    for (const wish of wishes) refuse(wish, "a rule has that host");
    return { ...own, verdicts };
  }
  for (const wish of wishes) {
    if (wish.of === first.of && wish.redirects === first.redirects) continue;
    refuse(wish, `MultiClusterIngress ${first.ingress.key} has it`);
  }
  const otherNameOf = first.of;
  if (first.redirects) {
    return { ...own, row: wwwRow(host, first), profiles: [defaultProfile], verdicts, otherNameOf };
  }
  const { row, ...routes } = assembleHost(first.of, at(first.of), imports, last, secrets);
  if (row === null) return { ...routes, row, verdicts, otherNameOf };
  const names = namesOf(first.ingress.otherNames, first.of).filter(({ redirects }) => !redirects);
  const copies = copiesOf(row.paths);
  if (names.findIndex(({ name }) => name === host) >= copies) {
    refuse(first, `so many paths are served under ${copies} more names at most`, "NoRoom");
    return { ...own, verdicts };
  }
  return { ...routes, row: { ...row, host }, verdicts, otherNameOf };
}

function wwwRow(host: string, { of, ingress: { ref } }: Wish): RouteRow {
  return {
    host,
    paths: [
      {
        type: "Prefix",
        path: "/",
        upstream: null,
        profile: defaultProfile.hash,
        redirect: { code: 308, to: `http://${of}`, keeps: ["scheme", "uri"] },
        source: { kind: ref.kind, namespace: ref.namespace, name: ref.name },
      },
    ],
  };
}
