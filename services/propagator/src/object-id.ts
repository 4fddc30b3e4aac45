import type { KubeObject } from "@sluice/kube";
import { kindId } from "./policy.ts";

/** An object in any cluster, whatever version it is written in: `group/Kind|namespace|name`. */
export type ObjectId = string;

export function idOf(object: KubeObject): ObjectId {
  const { namespace = "", name } = object.metadata;
  return `${kindId(object.apiVersion, object.kind)}|${namespace}|${name}`;
}

export function splitId(id: ObjectId): { kind: string; namespace: string; name: string; key: string } {
  const [kind = "", namespace = "", name = ""] = id.split("|");
  return { kind, namespace, name, key: namespace === "" ? name : `${namespace}/${name}` };
}

/** Namespaces that belong to the hub itself: neither they nor what is in them goes to members. */
export function isReserved(namespace: string): boolean {
  return /^(kube|karmada)-/.test(namespace) || namespace === "sluice-system";
}
