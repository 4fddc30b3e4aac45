import { readFileSync } from "node:fs";
import type { KubeClient, KubeObject } from "@sluice/kube";
import { parse } from "yaml";

/**
 * Asks again every few milliseconds until `look` answers something; its errors count as not yet. It gives up before what
 * services look at anew every thirty seconds: an event that is lost must not pass for one that is late.
 */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | null | undefined | false>,
): Promise<T> {
  const until = performance.now() + 29_000;
  let last: unknown;
  for (;;) {
    try {
      const found = await look();
      if (found !== null && found !== undefined && found !== false) return found;
    } catch (error) {
      last = error;
    }
    if (performance.now() > until) throw new Error(`still waiting for: ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Applies a file of the repository. */
export async function applyFile(client: KubeClient, path: string, signal: AbortSignal): Promise<void> {
  const object = parse(readFileSync(new URL(`../../${path}`, import.meta.url), "utf8")) as KubeObject;
  await client.apply(object, { fieldManager: "test", force: true }, signal);
}

/** A PropagationPolicy, or without a namespace a ClusterPropagationPolicy; `clusterNames` null: no placement. */
export function policy(
  metadata: KubeObject["metadata"],
  spec: object,
  clusterNames: readonly string[] | null,
): KubeObject {
  const placement = clusterNames === null ? {} : { placement: { clusterAffinity: { clusterNames } } };
  return {
    apiVersion: "policy.karmada.io/v1alpha1",
    kind: metadata.namespace === undefined ? "ClusterPropagationPolicy" : "PropagationPolicy",
    metadata,
    spec: { ...spec, ...placement },
  } as KubeObject;
}
