import {
  forwardedPrefix,
  hostNames,
  hostTemplate,
  rewriteTarget,
  serviceName,
  trueFalse,
} from "../annotation-values.ts";
import type { RoutePolicy } from "../route-policy.ts";
import { type Annotation, saying } from "./annotation.ts";

const route = saying<RoutePolicy>();

/** What paths of an object do beside leading to its backend: data of a route. */
export const routeAnnotations: readonly Annotation<RoutePolicy>[] = [
  route(
    "use-regex",
    "useRegex",
    trueFalse,
    "false",
    "paths are regular expressions (docs/reference/routing.md): all paths of the hosts of this object, those of other objects too",
  ),
  route(
    "rewrite-target",
    "rewrite",
    rewriteTarget,
    "",
    "what peers are asked for instead; implies use-regex unless it says the path itself. With an absolute URL: a 302",
  ),
  route(
    "x-forwarded-prefix",
    "forwardedPrefix",
    forwardedPrefix,
    "",
    "header X-Forwarded-Prefix for peers; only together with rewrite-target. What a client sends under that name is taken away",
  ),
  route(
    "upstream-vhost",
    "vhost",
    hostTemplate,
    "",
    "the Host that peers see; X-Forwarded-Host stays what was asked for. ingress-nginx: may hold any nginx variable",
  ),
  route(
    "default-backend",
    "spare",
    serviceName,
    "",
    "a ServiceImport of the same namespace, whose first TCP port is asked while the backend of a path has no peers",
  ),
  route(
    "server-alias",
    "aliases",
    hostNames,
    "",
    "more names of the object's host (of several: the first by name), with all paths that any object has there. " +
      "A name that a rule has is that rule's; of two objects the older one wins. ingress-nginx: may be regular expressions",
  ),
];
