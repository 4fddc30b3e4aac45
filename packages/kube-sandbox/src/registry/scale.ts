import { copyJson, isObject, type Json, type JsonObject, type KubeObject, objectAt } from "../json.ts";
import type { ServedType } from "../kinds/catalog.ts";
import { readPath } from "../kinds/json-path.ts";
import { invalid, invalidValue, pathNotFound } from "../status.ts";

/** The autoscaling/v1 Scale of an object. */
export function readScale(object: KubeObject, { version }: ServedType): KubeObject {
  const paths = version.scale;
  if (paths === undefined) throw pathNotFound();
  const number = (path: string): number => {
    const value = readPath(object, `.${path}`)[0];
    return typeof value === "number" ? value : 0;
  };
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  const selector = paths.selector === undefined ? undefined : readPath(object, `.${paths.selector}`)[0];
  const scale: JsonObject = {
    apiVersion: "autoscaling/v1",
    kind: "Scale",
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: { replicas: number(paths.specReplicas) },
    status: {
      replicas: number(paths.statusReplicas),
      ...(selector === undefined ? {} : { selector: selectorText(selector) }),
    },
  };
  return scale as unknown as KubeObject;
}

/** `object` with the replicas that a Scale asks for. */
export function writeScale(object: KubeObject, scale: JsonObject, { version }: ServedType): KubeObject {
  const paths = version.scale;
  if (paths === undefined) throw pathNotFound();
  const replicas = objectAt(scale, "spec").replicas ?? 0;
  const name = object.metadata.name ?? "";
  if (typeof replicas !== "number" || !Number.isInteger(replicas) || replicas < 0) {
    const error = invalidValue("spec.replicas", replicas, "must be greater than or equal to 0");
    throw invalid({ group: "autoscaling", name: "Scale" }, name, [error]);
  }
  const next = copyJson(object) as unknown as JsonObject;
  let parent: JsonObject = next;
  const steps = paths.specReplicas.split(".");
  for (const step of steps.slice(0, -1)) {
    const below: JsonObject = isObject(parent[step]) ? parent[step] : {};
    parent[step] = below;
    parent = below;
  }
  parent[steps.at(-1) ?? "replicas"] = replicas;
  const wanted = objectAt(scale, "metadata").resourceVersion;
  const metadata = objectAt(next, "metadata");
  delete metadata.resourceVersion;
  if (typeof wanted === "string" && wanted !== "") metadata.resourceVersion = wanted;
  return next as unknown as KubeObject;
}

function selectorText(selector: Json): string {
  if (typeof selector === "string") return selector;
  const labels = Object.entries(objectAt(selector, "matchLabels"));
  return labels.map(([key, value]) => `${key}=${String(value)}`).join(",");
}
