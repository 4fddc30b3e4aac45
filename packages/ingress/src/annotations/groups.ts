// All annotations of ingress-nginx that have a meaning here, by what they say. A group is a file beside this one and an
// entry here; docs/reference/annotations.md is made from it.
import { accessAnnotations } from "./access.ts";
import type { Annotation } from "./annotation.ts";
import { backendAnnotations } from "./backends.ts";
import { balanceAnnotations } from "./balancing.ts";
import { canaryAnnotations } from "./canary.ts";
import { clientAnnotations } from "./client-certificates.ts";
import { headerAnnotations } from "./headers.ts";
import { limitAnnotations } from "./limits.ts";
import { mirrorAnnotations } from "./mirror.ts";
import { routeAnnotations } from "./paths.ts";
import { redirectAnnotations } from "./redirects.ts";
import { settingAnnotations } from "./sizes-and-times.ts";

export interface Group<Said> {
  /** Heading of its part of the reference. */
  readonly title: string;
  /** What holds for all of them, below the heading. */
  readonly about: readonly string[];
  readonly annotations: readonly Annotation<Said>[];
}

function group<Said>(
  title: string,
  about: readonly string[],
  annotations: readonly Annotation<Said>[],
): Group<Said> {
  return { title, about, annotations };
}

export const groups = {
  redirects: group(
    "Redirects",
    [
      "Data of a route: a change of them reloads nothing. The backend of a path that redirects is not asked for.",
    ],
    redirectAnnotations,
  ),
  routes: group(
    "Paths and hosts",
    [
      "Data of a route, too; but the first object that rewrites requests reloads nginx, as a set of sizes and times does.",
    ],
    routeAnnotations,
  ),
  balance: group(
    "Balancing and sessions",
    [
      "Data of a route: a change of them reloads nothing, and one backend may be balanced by one object's rule and by another's.",
      "`cookie` goes before a key, a key before a method.",
    ],
    balanceAnnotations,
  ),
  canary: group(
    "Canary",
    [
      "Data of a route: a change of them reloads nothing. What happens to which request: [canary](canary.md).",
    ],
    canaryAnnotations,
  ),
  headers: group(
    "Headers, errors and logs",
    [
      "Data of a route; but the first object that changes headers of answers reloads nginx, as a set of sizes and times does.",
    ],
    headerAnnotations,
  ),
  mirror: group(
    "Copies of requests",
    [
      "Data of a route; but the first object that has requests copied reloads nginx, as a set of sizes and times does. What",
      "happens to which request: [copies of requests](mirror.md).",
    ],
    mirrorAnnotations,
  ),
  access: group(
    "Who may come in",
    [
      "Data of a route; but the first object that asks who comes reloads nginx, as a set of sizes and times does. Where one of",
      "these is of another shape and protects, the paths of its object answer 503. What happens to whom: [access](access.md).",
    ],
    accessAnnotations,
  ),
  clients: group(
    "Client certificates",
    [
      "Of a host: the oldest object that has auth-tls-secret decides for all paths of its hosts. The first one reloads nginx, as",
      "a set of sizes and times does. Where one of these is of another shape and protects, the paths of its object answer 503.",
      "What happens to whom: [TLS](tls.md#client-certificates).",
    ],
    clientAnnotations,
  ),
  limits: group(
    "Limits",
    [
      "As those who may come in. All paths of an object, on all hosts and in all workers of one proxy, count together. What is",
      "above a limit gets 503.",
    ],
    limitAnnotations,
  ),
  backends: group(
    "Backends",
    [
      "How peers are spoken to: each set of these that is in use gets a location of its own in nginx.conf, and each TLS identity",
      "(names, Secrets, versions, suites) connections of its own, so that no request goes over one that was made for another.",
      "More: [backends](backends.md).",
    ],
    backendAnnotations,
  ),
  settings: group(
    "Sizes and times",
    ["Each set of these that is in use gets a location of its own in nginx.conf: a new set reloads nginx."],
    settingAnnotations,
  ),
} as const;

type SaidBy<G> = G extends Group<infer Said> ? Said : never;

/** What the annotations of one object say, by group. */
export type Policies = { readonly [G in keyof typeof groups]: Partial<SaidBy<(typeof groups)[G]>> };
