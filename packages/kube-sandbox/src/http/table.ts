import { asJson, type JsonObject, type KubeObject } from "../json.ts";
import type { ServedType } from "../kinds/catalog.ts";
import { ageColumn, nameColumn } from "../kinds/columns.ts";
import type { Column } from "../kinds/resource-type.ts";

/** Which form of Table the Accept header prefers; undefined when it wants the objects themselves. */
export function wantsTable(accept: string | undefined): "v1" | "v1beta1" | undefined {
  for (const clause of (accept ?? "").split(",")) {
    const parameters = clause.split(";").map((part) => part.trim());
    if (parameters[0] === "application/json" || parameters[0] === "*/*") {
      if (!parameters.includes("as=Table")) return undefined;
      if (parameters.includes("g=meta.k8s.io") && parameters.includes("v=v1")) return "v1";
      if (parameters.includes("g=meta.k8s.io") && parameters.includes("v=v1beta1")) return "v1beta1";
    }
  }
  return undefined;
}

export interface TableOptions {
  version: "v1" | "v1beta1";
  include: string;
  now: Date;
  /** Watches send the columns with the first event only. */
  headers: boolean;
}

/** What `kubectl get` prints: one row per object. */
export function tableOf(
  objects: KubeObject[],
  served: ServedType,
  list: JsonObject,
  options: TableOptions,
): JsonObject {
  const columns = columnsOf(served);
  return {
    kind: "Table",
    apiVersion: `meta.k8s.io/${options.version}`,
    metadata: list,
    columnDefinitions: options.headers
      ? columns.map(({ name, type, format = "", description, priority }) => ({
          name,
          type,
          format,
          description,
          priority,
        }))
      : null,
    rows: objects.map((object) => ({
      cells: columns.map((column) => column.cell(object, options.now)),
      object: rowObject(object, options),
    })),
  };
}

function columnsOf({ version }: ServedType): Column[] {
  return version.columns.length > 0 ? version.columns : [nameColumn, ageColumn];
}

function rowObject(object: KubeObject, { include, version }: TableOptions) {
  if (include === "None") return null;
  if (include === "Object") return asJson(object);
  const { metadata } = asJson(object);
  return { kind: "PartialObjectMetadata", apiVersion: `meta.k8s.io/${version}`, metadata };
}
