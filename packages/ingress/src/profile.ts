import { createHash } from "node:crypto";
import type { ProfileRow } from "@sluice/contracts";

/** A policy profile: everything that needs a location of its own in nginx.conf. Equal settings have one hash. */
function profileOf(settings: ProfileRow["settings"]): ProfileRow {
  const sorted = Object.fromEntries(Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1)));
  const hash = createHash("sha256").update(JSON.stringify(sorted)).digest("hex").slice(0, 16);
  return { hash, settings: sorted };
}

/** No setting at all: nginx.conf's own. Always in the fleet, so that the first route needs no reload. */
export const defaultProfile: ProfileRow = profileOf({});
