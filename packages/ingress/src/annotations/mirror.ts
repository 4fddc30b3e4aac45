import { mirrorHost, mirrorUrl, templateVariables } from "../access-values.ts";
import { onOff } from "../annotation-values.ts";
import type { MirrorPolicy } from "../mirror.ts";
import { type Annotation, saying } from "./annotation.ts";

const mirror = saying<MirrorPolicy>();

/** Who gets copies of requests: data of a route. */
export const mirrorAnnotations: readonly Annotation<MirrorPolicy>[] = [
  mirror(
    "mirror-target",
    "target",
    mirrorUrl,
    "",
    "gets a copy of each request that reaches a peer. Without a path: path and query as they came, which ingress-nginx " +
      `wants written as $request_uri. Behind the host may stand ${templateVariables}`,
  ),
  mirror(
    "mirror-request-body",
    "body",
    onOff,
    "on",
    "on: a request with a body of more than 1 MiB, or one that does not say how long it is, is not copied",
  ),
  mirror(
    "mirror-host",
    "host",
    mirrorHost,
    "the host of mirror-target, without its port",
    "the Host that copies say. ingress-nginx: may hold any nginx variable",
  ),
];
