import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { KubeStatusError } from "@sluice/contracts";
import type { KubeClient, KubeObject } from "@sluice/kube";
import { parseAllDocuments } from "yaml";

const FIELD_MANAGER = "sluice-start";

/** Every object of a folder's YAML files, in the order of their names. */
export function readManifests(folder: string): KubeObject[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".yaml"))
    .sort()
    .flatMap((name) => parseAllDocuments(readFileSync(join(folder, name), "utf8")))
    .map((document) => document.toJS() as KubeObject | null)
    .filter((object) => object !== null);
}

/** Applies objects in order; a kind whose CRD was made a moment ago is waited for until the signal aborts. */
export async function applyAll(
  client: KubeClient,
  objects: readonly KubeObject[],
  signal: AbortSignal,
): Promise<void> {
  for (const object of objects) {
    for (;;) {
      try {
        await client.apply(object, { fieldManager: FIELD_MANAGER, force: true }, signal);
        break;
      } catch (error) {
        if (!(error instanceof KubeStatusError) || error.status !== 404) throw error;
        await delay(20, undefined, { signal });
      }
    }
  }
}
