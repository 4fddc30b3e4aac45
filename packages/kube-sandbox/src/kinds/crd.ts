import { arrayAt, isObject, type JsonObject, type KubeObject, objectAt, textAt } from "../json.ts";
import { bool, described, list, listMap, obj, opaque, type Schema, str, time } from "../schema/schema.ts";
import { type FieldError, invalidValue, requiredValue } from "../status.ts";
import { ageColumn, column, nameColumn, pathColumn } from "./columns.ts";
import { builtIn, type Column, type ResourceType, type ServedVersion } from "./resource-type.ts";

const names = obj(
  {
    plural: str,
    singular: str,
    shortNames: list(str),
    kind: str,
    listKind: str,
    categories: list(str),
  },
  ["plural", "kind"],
);

const version = obj(
  {
    name: str,
    served: bool,
    storage: bool,
    deprecated: bool,
    deprecationWarning: str,
    schema: obj({ openAPIV3Schema: opaque }),
    subresources: obj({
      status: opaque,
      scale: obj({ specReplicasPath: str, statusReplicasPath: str, labelSelectorPath: str }),
    }),
    additionalPrinterColumns: list(
      obj({
        name: str,
        type: str,
        format: str,
        description: str,
        priority: { type: "integer" },
        jsonPath: str,
      }),
    ),
    selectableFields: list(obj({ jsonPath: str })),
  },
  ["name", "served", "storage"],
);

export const crdKind: ResourceType = builtIn({
  group: "apiextensions.k8s.io",
  version: "v1",
  plural: "customresourcedefinitions",
  kind: "CustomResourceDefinition",
  shortNames: ["crd", "crds"],
  categories: ["api-extensions"],
  namespaced: false,
  status: true,
  generation: "spec",
  schema: described(
    obj(
      {
        spec: obj(
          {
            group: str,
            names,
            scope: described(str, "Namespaced or Cluster."),
            versions: list(version),
            conversion: obj({ strategy: str, webhook: opaque }),
            preserveUnknownFields: bool,
          },
          ["group", "names", "scope", "versions"],
        ),
        status: obj({
          conditions: listMap(
            obj({ type: str, status: str, lastTransitionTime: time, reason: str, message: str }, [
              "type",
              "status",
            ]),
            ["type"],
          ),
          acceptedNames: names,
          storedVersions: list(str),
          observedGeneration: { type: "integer", format: "int64" },
        }),
      },
      ["spec"],
    ),
    "CustomResourceDefinition makes a resource that the server then serves.",
  ),
  columns: [
    nameColumn,
    column("Created At", ({ metadata }) => metadata.creationTimestamp ?? "", { type: "date" }),
  ],
  strategy: { prepare, validate },
});

function prepare(object: KubeObject): void {
  const spec: JsonObject = { ...objectAt(object, "spec") };
  const given = objectAt(spec, "names");
  const kind = textAt(given, "kind");
  spec.names = {
    ...given,
    singular: textAt(given, "singular") || kind.toLowerCase(),
    listKind: textAt(given, "listKind") || `${kind}List`,
  };
  spec.conversion ??= { strategy: "None" };
  object.spec = spec;
}

function validate(object: KubeObject): FieldError[] {
  const spec = objectAt(object, "spec");
  const errors: FieldError[] = [];
  const wanted = `${textAt(objectAt(spec, "names"), "plural")}.${textAt(spec, "group")}`;
  if (object.metadata.name !== wanted) {
    errors.push(
      invalidValue("metadata.name", object.metadata.name, `must be spec.names.plural+"."+spec.group`),
    );
  }
  const scope = textAt(spec, "scope");
  if (scope === "") errors.push(requiredValue("spec.scope"));
  const versions = arrayAt(spec, "versions").filter(isObject);
  if (versions.filter((v) => v.storage === true).length !== 1) {
    errors.push(
      invalidValue("spec.versions", spec.versions, "must have exactly one version marked as storage version"),
    );
  }
  for (const [i, v] of versions.entries()) {
    const root = objectAt(objectAt(v, "schema"), "openAPIV3Schema");
    const at = `spec.versions[${i}].schema.openAPIV3Schema`;
    if (Object.keys(root).length === 0) errors.push(requiredValue(at, "schemas are required"));
    else if (root.type !== "object")
      errors.push(invalidValue(`${at}.type`, root.type ?? "", "must be object at the root"));
  }
  if (textAt(objectAt(spec, "conversion"), "strategy") !== "None") {
    errors.push(
      invalidValue(
        "spec.conversion.strategy",
        objectAt(spec, "conversion").strategy,
        "only None is served here",
      ),
    );
  }
  return errors;
}

/** The resource that a CustomResourceDefinition makes; undefined when it serves no version. */
export function customType(crd: KubeObject): ResourceType | undefined {
  const spec = objectAt(crd, "spec");
  const own = objectAt(spec, "names");
  const versions = arrayAt(spec, "versions").filter(isObject);
  const served = versions.filter((v) => v.served === true).map(servedVersion);
  const storage = versions.find((v) => v.storage === true);
  if (served.length === 0 || storage === undefined) return undefined;
  return {
    group: textAt(spec, "group"),
    plural: textAt(own, "plural"),
    singular: textAt(own, "singular"),
    kind: textAt(own, "kind"),
    listKind: textAt(own, "listKind"),
    shortNames: arrayAt(own, "shortNames").map(String),
    categories: arrayAt(own, "categories").map(String),
    namespaced: spec.scope === "Namespaced",
    custom: true,
    versions: served.sort((a, b) => compareVersions(a.name, b.name)),
    storageVersion: textAt(storage, "name"),
    generation: isObject(objectAt(storage, "subresources").status) ? "all" : "none",
    names: "subdomain",
    createOnUpdate: false,
    returnsDeleted: false,
    strategy: {},
  };
}

function servedVersion(v: JsonObject): ServedVersion {
  const subresources = objectAt(v, "subresources");
  const scale = objectAt(subresources, "scale");
  const trimmed = (field: string) => textAt(scale, field).replace(/^\./, "");
  const columns: Column[] = arrayAt(v, "additionalPrinterColumns")
    .filter(isObject)
    .map((c) =>
      pathColumn({
        name: textAt(c, "name"),
        type: textAt(c, "type"),
        jsonPath: textAt(c, "jsonPath"),
        ...(typeof c.format === "string" ? { format: c.format } : {}),
        description: textAt(c, "description"),
        priority: typeof c.priority === "number" ? c.priority : 0,
      }),
    );
  return {
    name: textAt(v, "name"),
    schema: objectAt(objectAt(v, "schema"), "openAPIV3Schema") as Schema,
    columns: [nameColumn, ...(columns.length > 0 ? columns : [ageColumn])],
    status: isObject(subresources.status),
    scale: isObject(subresources.scale)
      ? {
          specReplicas: trimmed("specReplicasPath"),
          statusReplicas: trimmed("statusReplicasPath"),
          selector: trimmed("labelSelectorPath") || undefined,
        }
      : undefined,
    selectableFields: arrayAt(v, "selectableFields").map((f) => textAt(f, "jsonPath").replace(/^\./, "")),
  };
}

/** Kubernetes' order of preference: v2 before v1, GA before beta before alpha, anything else last by name. */
export function compareVersions(a: string, b: string): number {
  const [x, y] = [rank(a), rank(b)];
  for (let i = 0; i < 3; i++) {
    const difference = (y[i] ?? 0) - (x[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a < b ? -1 : a > b ? 1 : 0;
}

function rank(text: string): number[] {
  const match = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(text);
  if (match === null) return [0, 0, 0];
  const stage = match[2] === "alpha" ? 1 : match[2] === "beta" ? 2 : 3;
  return [stage, Number(match[1]), Number(match[3] ?? 0)];
}
