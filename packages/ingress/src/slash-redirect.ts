import type { RoutePath } from "@sluice/contracts";
import type { Claim } from "./host-routes.ts";
import { encodedPath } from "./path.ts";
import { defaultProfile } from "./profile.ts";

/** As long as a Redirect's target may be. */
const MAX_TARGET = 2048;

/**
 * As in ingress-nginx, where nginx itself does it: a path that was given with a closing slash has the one without sent
 * there, unless somebody has that one. @param claims by type and path @param most paths of a host
 */
export function slashRedirects(claims: ReadonlyMap<string, Claim>, most: number): RoutePath[] {
  const found = new Map<string, RoutePath>();
  for (const { path, written } of claims.values()) {
    if (written === "/" || !written.endsWith("/") || path.redirect !== undefined) continue;
    const without = written.slice(0, -1);
    const prefix = claims.get(`Prefix ${without}`);
    if (claims.has(`Exact ${without}`) || (prefix !== undefined && prefix.written === without)) continue;
    const to = encodedPath(written);
    if (to.length > MAX_TARGET || claims.size + found.size >= most) continue;
    found.set(without, {
      type: "Exact",
      path: without,
      upstream: null,
      profile: defaultProfile.hash,
      redirect: { code: 301, to, keeps: ["query"] },
      source: path.source,
    });
  }
  return [...found.values()];
}
