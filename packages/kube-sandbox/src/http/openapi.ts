import { createHash } from "node:crypto";
import type { Json, JsonObject } from "../json.ts";
import type { Catalog, ServedType } from "../kinds/catalog.ts";
import { apiVersionOf } from "../kinds/resource-type.ts";
import { objectMeta } from "../schema/object-meta.ts";
import { described, obj, type Schema, str } from "../schema/schema.ts";

const META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const QUERY = ["dryRun", "fieldManager", "fieldValidation", "force", "pretty"];

interface Documents {
  revision: number;
  byGroupVersion: Map<string, JsonObject>;
  index: JsonObject | undefined;
  swagger: JsonObject | undefined;
}

const cached = new WeakMap<Catalog, Documents>();

/** Documents are made when somebody asks, and again after a CustomResourceDefinition came or went. */
function documentsOf(catalog: Catalog): Documents {
  let documents = cached.get(catalog);
  if (documents === undefined || documents.revision !== catalog.revision) {
    documents = {
      revision: catalog.revision,
      byGroupVersion: new Map(),
      index: undefined,
      swagger: undefined,
    };
    cached.set(catalog, documents);
  }
  return documents;
}

function rootPath(group: string, version: string): string {
  return group === "" ? `api/${version}` : `apis/${group}/${version}`;
}

/** /openapi/v3: where each group version's document is; its hash lets clients keep what they have. */
export function groupVersionIndex(catalog: Catalog): JsonObject {
  const documents = documentsOf(catalog);
  if (documents.index !== undefined) return documents.index;
  const paths: JsonObject = {};
  for (const [group, versions] of catalog.groups()) {
    for (const version of versions) {
      const path = rootPath(group, version);
      const text = JSON.stringify(groupVersionDocument(catalog, group, version));
      const hash = createHash("sha256").update(text).digest("hex").toUpperCase();
      paths[path] = { serverRelativeURL: `/openapi/v3/${path}?hash=${hash}` };
    }
  }
  documents.index = { paths };
  return documents.index;
}

export function groupVersionDocument(
  catalog: Catalog,
  group: string,
  version: string,
): JsonObject | undefined {
  const { byGroupVersion } = documentsOf(catalog);
  const path = rootPath(group, version);
  let document = byGroupVersion.get(path);
  if (document !== undefined) return document;
  const served = catalog.served(group, version);
  if (served.length === 0) return undefined;
  const schemas: JsonObject = { [META]: openApiSchema(objectMeta, 3) };
  for (const entry of served) schemas[schemaName(entry)] = kindSchema(entry, 3);
  document = {
    openapi: "3.0.0",
    info: { title: "Kubernetes", version: "unversioned" },
    paths: Object.assign({}, ...served.map((entry) => pathItems(entry, 3))),
    components: { schemas },
  };
  byGroupVersion.set(path, document);
  return document;
}

export function swaggerDocument(catalog: Catalog): JsonObject {
  const documents = documentsOf(catalog);
  if (documents.swagger !== undefined) return documents.swagger;
  const definitions: JsonObject = { [META]: openApiSchema(objectMeta, 2) };
  const paths: JsonObject = {};
  for (const [group, versions] of catalog.groups()) {
    for (const version of versions) {
      for (const entry of catalog.served(group, version)) {
        definitions[schemaName(entry)] = kindSchema(entry, 2);
        Object.assign(paths, pathItems(entry, 2));
      }
    }
  }
  documents.swagger = {
    swagger: "2.0",
    info: { title: "Kubernetes", version: "unversioned" },
    paths,
    definitions,
  };
  return documents.swagger;
}

function schemaName({ type, version }: ServedType): string {
  if (type.custom) return `${type.group.split(".").reverse().join(".")}.${version.name}.${type.kind}`;
  const group = type.group === "" ? "core" : (type.group.split(".")[0] ?? "");
  return `io.k8s.api.${group}.${version.name}.${type.kind}`;
}

function groupVersionKind({ type, version }: ServedType): JsonObject {
  return { group: type.group, version: version.name, kind: type.kind };
}

const typeMeta: { [field: string]: Schema } = {
  apiVersion: described(str, "Group and version of this representation."),
  kind: described(str, "Kind of this object."),
};

function kindSchema(entry: ServedType, openapi: 2 | 3): JsonObject {
  const { properties, ...root } = entry.version.schema;
  const schema = openApiSchema({ ...obj({ ...properties, ...typeMeta }), ...root, type: "object" }, openapi);
  const reference: JsonObject =
    openapi === 3
      ? {
          allOf: [{ $ref: `#/components/schemas/${META}` }],
          default: {},
          description: objectMeta.description ?? "",
        }
      : { $ref: `#/definitions/${META}` };
  const shown = openApiSchema({ type: "object", properties: { ...typeMeta, ...properties } }, openapi);
  return {
    ...schema,
    properties: { ...(shown.properties as JsonObject), metadata: reference },
    "x-kubernetes-group-version-kind": [groupVersionKind(entry)],
  };
}

/** Keywords that OpenAPI 2 does not have. */
const SINCE_3 = new Set(["nullable", "oneOf", "anyOf", "not"]);

function openApiSchema(schema: Schema, openapi: 2 | 3): JsonObject {
  const result: JsonObject = {};
  for (const [keyword, value] of Object.entries(schema)) {
    if (openapi === 2 && SINCE_3.has(keyword)) continue;
    if (keyword === "properties") {
      const entries = Object.entries(schema.properties ?? {});
      result.properties = Object.fromEntries(
        entries.map(([name, member]) => [name, openApiSchema(member, openapi)]),
      );
    } else if (keyword === "items" && schema.items !== undefined) {
      result.items = openApiSchema(schema.items, openapi);
    } else if (keyword === "additionalProperties" && typeof value === "object") {
      result.additionalProperties = openApiSchema(value as Schema, openapi);
    } else {
      result[keyword] = value as Json;
    }
  }
  // What kube-apiserver says of IntOrString and quantities in built-in kinds.
  if (schema["x-kubernetes-int-or-string"] && schema.type === undefined) {
    if (openapi === 2) Object.assign(result, { type: "string", format: "int-or-string" });
    else result.oneOf = [{ type: "integer" }, { type: "string" }];
  }
  return result;
}

function pathItems(entry: ServedType, openapi: 2 | 3): JsonObject {
  const { type, version } = entry;
  const home = `/${rootPath(type.group, version.name)}/${type.namespaced ? "namespaces/{namespace}/" : ""}${type.plural}`;
  const operation = (action: string, id: string): JsonObject => ({
    operationId: `${id}${apiVersionOf(type.group, version.name).replaceAll(/[^A-Za-z0-9]/g, "")}${type.kind}`,
    parameters: QUERY.map((name) => ({
      name,
      in: "query",
      ...(openapi === 3
        ? { schema: { type: "string", uniqueItems: true } }
        : { type: "string", uniqueItems: true }),
    })),
    responses: { "200": { description: "OK" } },
    "x-kubernetes-action": action,
    "x-kubernetes-group-version-kind": groupVersionKind(entry),
  });
  return {
    [home]: { get: operation("list", "list"), post: operation("post", "create") },
    [`${home}/{name}`]: {
      get: operation("get", "read"),
      put: operation("put", "replace"),
      patch: operation("patch", "patch"),
      delete: operation("delete", "delete"),
    },
  };
}
