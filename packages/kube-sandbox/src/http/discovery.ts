import type { JsonObject } from "../json.ts";
import type { Catalog, ServedType } from "../kinds/catalog.ts";
import { apiVersionOf } from "../kinds/resource-type.ts";

/** The Kubernetes release whose behaviour is followed. */
const RELEASE = { major: "1", minor: "33", gitVersion: "v1.33.0+sluice-sandbox" };

const VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const PART_VERBS = ["get", "patch", "update"];

export function versionInfo(): JsonObject {
  return {
    ...RELEASE,
    gitCommit: "0000000000000000000000000000000000000000",
    gitTreeState: "clean",
    buildDate: "1970-01-01T00:00:00Z",
    goVersion: "none",
    compiler: "none",
    platform: `${process.platform}/${process.arch}`,
  };
}

export function apiVersions(address: string): JsonObject {
  return {
    kind: "APIVersions",
    versions: ["v1"],
    serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress: address }],
  };
}

function apiGroup(name: string, versions: string[]): JsonObject {
  const entries = versions.map((version) => ({ groupVersion: apiVersionOf(name, version), version }));
  return { name, versions: entries, preferredVersion: entries[0] ?? null };
}

export function apiGroupList(catalog: Catalog): JsonObject {
  const groups = [...catalog.groups()].filter(([name]) => name !== "");
  return {
    kind: "APIGroupList",
    apiVersion: "v1",
    groups: groups.map(([name, versions]) => apiGroup(name, versions)),
  };
}

/** undefined when no resource of that group is served. */
export function oneGroup(catalog: Catalog, name: string): JsonObject | undefined {
  const versions = catalog.groups().get(name);
  if (versions === undefined) return undefined;
  return { kind: "APIGroup", apiVersion: "v1", ...apiGroup(name, versions) };
}

export function resourceList(catalog: Catalog, group: string, version: string): JsonObject | undefined {
  const served = catalog.served(group, version);
  if (served.length === 0) return undefined;
  const resources = served.flatMap((entry) => [resource(entry), ...subresources(entry)]);
  return { kind: "APIResourceList", apiVersion: "v1", groupVersion: apiVersionOf(group, version), resources };
}

function resource({ type }: ServedType): JsonObject {
  return {
    name: type.plural,
    singularName: type.singular,
    namespaced: type.namespaced,
    kind: type.kind,
    verbs: VERBS,
    ...(type.shortNames.length > 0 ? { shortNames: type.shortNames } : {}),
    ...(type.categories.length > 0 ? { categories: type.categories } : {}),
  };
}

function subresources({ type, version }: ServedType): JsonObject[] {
  const common = { singularName: "", namespaced: type.namespaced, verbs: PART_VERBS };
  return [
    ...(version.status ? [{ name: `${type.plural}/status`, ...common, kind: type.kind }] : []),
    ...(version.scale === undefined
      ? []
      : [{ name: `${type.plural}/scale`, ...common, group: "autoscaling", version: "v1", kind: "Scale" }]),
  ];
}

const AGGREGATED = /as=APIGroupDiscoveryList/;

/** Which aggregated discovery the client can read, if any. */
export function aggregatedVersion(accept: string | undefined): "v2" | "v2beta1" | undefined {
  for (const clause of (accept ?? "").split(",")) {
    if (!AGGREGATED.test(clause)) continue;
    if (clause.includes("v=v2beta1")) return "v2beta1";
    if (clause.includes("v=v2")) return "v2";
  }
  return undefined;
}

/** All of /api ("core") or /apis ("groups") in one document. */
export function aggregated(catalog: Catalog, part: "core" | "groups", version: string): JsonObject {
  const groups = [...catalog.groups()].filter(([name]) => (name === "") === (part === "core"));
  return {
    kind: "APIGroupDiscoveryList",
    apiVersion: `apidiscovery.k8s.io/${version}`,
    metadata: {},
    items: groups.map(([name, versions]) => ({
      metadata: name === "" ? { creationTimestamp: null } : { name, creationTimestamp: null },
      versions: versions.map((v) => ({
        version: v,
        freshness: "Current",
        resources: catalog.served(name, v).map(aggregatedResource),
      })),
    })),
  };
}

function aggregatedResource(entry: ServedType): JsonObject {
  const { type, version } = entry;
  const responseKind = { group: type.group, version: version.name, kind: type.kind };
  return {
    resource: type.plural,
    responseKind,
    scope: type.namespaced ? "Namespaced" : "Cluster",
    singularResource: type.singular,
    verbs: VERBS,
    ...(type.shortNames.length > 0 ? { shortNames: type.shortNames } : {}),
    ...(type.categories.length > 0 ? { categories: type.categories } : {}),
    subresources: [
      ...(version.status ? [{ subresource: "status", responseKind, verbs: PART_VERBS }] : []),
      ...(version.scale === undefined
        ? []
        : [
            {
              subresource: "scale",
              responseKind: { group: "autoscaling", version: "v1", kind: "Scale" },
              verbs: PART_VERBS,
            },
          ]),
    ],
  };
}
