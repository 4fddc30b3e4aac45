import type { Json, KubeObject } from "../json.ts";
import type { Schema } from "../schema/schema.ts";
import type { ErrorSubject, FieldError } from "../status.ts";

/** One column of `kubectl get`. Columns with a priority above 0 are shown by `-o wide` only. */
export interface Column {
  name: string;
  type: string;
  format?: string;
  description: string;
  priority: number;
  cell(object: KubeObject, now: Date): Json;
}

export interface ServedVersion {
  name: string;
  schema: Schema;
  columns: Column[];
  status: boolean;
  scale: ScalePaths | undefined;
  selectableFields: string[];
}

/** Where a kind keeps what the scale subresource shows; JSON paths without the leading dot. */
export interface ScalePaths {
  specReplicas: string;
  statusReplicas: string;
  /** undefined when the kind has no selector to show. */
  selector: string | undefined;
}

/** What a kind does beyond what its schema says. All of it works on copies; `previous` is undefined on create. */
export interface Strategy {
  prepare?(object: KubeObject, previous: KubeObject | undefined): void;
  validate?(object: KubeObject, previous: KubeObject | undefined): FieldError[];
}

export interface ResourceType {
  group: string;
  plural: string;
  singular: string;
  kind: string;
  listKind: string;
  shortNames: string[];
  categories: string[];
  namespaced: boolean;
  /** Made by a CustomResourceDefinition: structural schema rules, no strategic merge, no unconditional update. */
  custom: boolean;
  /** In order of preference. */
  versions: ServedVersion[];
  storageVersion: string;
  /** Which changes count in metadata.generation; "all" means everything but metadata and status. */
  generation: "none" | "spec" | "all";
  names: "subdomain" | "label" | "label-1035";
  createOnUpdate: boolean;
  /** DELETE answers with the object rather than a Status. */
  returnsDeleted: boolean;
  strategy: Strategy;
  /** Another resource whose objects this one shows in its own words, as events.k8s.io does with core events. */
  view?: ResourceView;
}

export interface ResourceView {
  storage: string;
  toView(object: KubeObject): KubeObject;
  fromView(object: KubeObject): KubeObject;
}

/** `services`, `deployments.apps`: the name of a resource's collection in the store. */
export function resourceKey(type: { group: string; plural: string }): string {
  return type.group === "" ? type.plural : `${type.plural}.${type.group}`;
}

/** The collection that holds the type's objects. */
export function storageKey(type: ResourceType): string {
  return type.view?.storage ?? resourceKey(type);
}

export function apiVersionOf(group: string, version: string): string {
  return group === "" ? version : `${group}/${version}`;
}

export function resourceSubject(type: ResourceType): ErrorSubject {
  return { group: type.group, name: type.plural };
}

export function kindSubject(type: ResourceType): ErrorSubject {
  return { group: type.group, name: type.kind };
}

/** A built-in kind: one version, everything not given has Kubernetes' usual value. */
export function builtIn(
  given: Pick<ResourceType, "group" | "plural" | "kind"> & { version: string; schema: Schema } & Partial<
      Omit<ResourceType, "versions" | "storageVersion" | "custom">
    > & { columns?: Column[]; status?: boolean; scale?: ScalePaths },
): ResourceType {
  const { version, schema, columns, status, scale, ...rest } = given;
  return {
    singular: given.kind.toLowerCase(),
    listKind: `${given.kind}List`,
    shortNames: [],
    categories: [],
    namespaced: true,
    custom: false,
    generation: "none",
    names: "subdomain",
    createOnUpdate: false,
    returnsDeleted: false,
    strategy: {},
    storageVersion: version,
    ...rest,
    versions: [
      {
        name: version,
        schema,
        columns: columns ?? [],
        status: status ?? false,
        scale,
        selectableFields: [],
      },
    ],
  };
}
