import { appsKinds } from "./apps.ts";
import { coreKinds } from "./core.ts";
import { compareVersions, crdKind } from "./crd.ts";
import { networkKinds } from "./networking.ts";
import { type ResourceType, resourceKey, type ServedVersion } from "./resource-type.ts";
import { type AddressRange, serviceKind } from "./service.ts";

export interface ServedType {
  type: ResourceType;
  version: ServedVersion;
}

/** Every resource that a cluster serves now: the built-in ones, and those of its CustomResourceDefinitions. */
export class Catalog {
  readonly #types = new Map<string, ResourceType>();
  /** Counts the changes, so that discovery and OpenAPI documents know when they are stale. */
  revision = 0;

  constructor(addresses: AddressRange) {
    for (const type of [...coreKinds, serviceKind(addresses), ...appsKinds, ...networkKinds, crdKind])
      this.add(type);
  }

  add(type: ResourceType): void {
    this.#types.set(resourceKey(type), type);
    this.revision++;
  }

  remove(key: string): void {
    if (this.#types.delete(key)) this.revision++;
  }

  get(key: string): ResourceType | undefined {
    return this.#types.get(key);
  }

  all(): ResourceType[] {
    return [...this.#types.values()];
  }

  find(group: string, version: string, plural: string): ServedType | undefined {
    const type = this.#types.get(resourceKey({ group, plural }));
    const served = type?.versions.find(({ name }) => name === version);
    return type === undefined || served === undefined ? undefined : { type, version: served };
  }

  findKind(group: string, kind: string): ResourceType | undefined {
    return this.all().find((type) => type.group === group && type.kind === kind);
  }

  /** Groups with their versions, both in order of preference; the core group is "". */
  groups(): Map<string, string[]> {
    const groups = new Map<string, string[]>();
    for (const type of this.#types.values()) {
      const versions = groups.get(type.group) ?? [];
      for (const { name } of type.versions) if (!versions.includes(name)) versions.push(name);
      groups.set(type.group, versions.sort(compareVersions));
    }
    return groups;
  }

  served(group: string, version: string): ServedType[] {
    const found: ServedType[] = [];
    for (const type of this.#types.values()) {
      const served = type.group === group ? type.versions.find(({ name }) => name === version) : undefined;
      if (served !== undefined) found.push({ type, version: served });
    }
    return found;
  }
}
