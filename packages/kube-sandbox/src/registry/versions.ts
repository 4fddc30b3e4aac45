import type { KubeObject } from "../json.ts";
import type { ServedType } from "../kinds/catalog.ts";
import { apiVersionOf } from "../kinds/resource-type.ts";

const converted = new WeakMap<KubeObject, Map<string, KubeObject>>();

/** The object as a version serves it. Conversion is None: only apiVersion differs, except for views. */
export function toServed(object: KubeObject, { type, version }: ServedType): KubeObject {
  const apiVersion = apiVersionOf(type.group, version.name);
  if (object.apiVersion === apiVersion) return object;
  let versions = converted.get(object);
  if (versions === undefined) {
    versions = new Map();
    converted.set(object, versions);
  }
  let served = versions.get(apiVersion);
  if (served === undefined) {
    served = type.view === undefined ? { ...object, apiVersion } : type.view.toView(object);
    versions.set(apiVersion, served);
  }
  return served;
}

export function toStored(object: KubeObject, { type }: ServedType): KubeObject {
  if (type.view !== undefined) return type.view.fromView(object);
  const apiVersion = apiVersionOf(type.group, type.storageVersion);
  return object.apiVersion === apiVersion ? object : { ...object, apiVersion };
}
