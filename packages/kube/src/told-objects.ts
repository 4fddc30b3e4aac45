import type { KubeObject } from "./objects.ts";
import type { Change } from "./reflector.ts";
import { objectKey, versionNumber } from "./resources.ts";

/** The objects of one kind as a reflector has told of them, and the newest version among what it has told. */
export class ToldObjects<T extends KubeObject> {
  readonly byKey = new Map<string, T>();
  readonly #to: { onChange(change: Change<T>): void };
  #actedOn = -1;
  #comparable = true;

  constructor(to: { onChange(change: Change<T>): void }) {
    this.#to = to;
  }

  /** -1 before anything was told; undefined: this API's versions are no numbers. */
  get actedOn(): number | undefined {
    return this.#comparable ? this.#actedOn : undefined;
  }

  /** As a number, or -1, and then none of this API's versions compare. */
  number(resourceVersion: string | undefined): number {
    const number = versionNumber(resourceVersion);
    if (!Number.isNaN(number)) return number;
    this.#comparable = false;
    return -1;
  }

  /** An API that was restored from an older copy counts from there. */
  restartedAt(resourceVersion: string): void {
    this.#actedOn = Math.min(this.#actedOn, this.number(resourceVersion));
  }

  /** A list has shown it. */
  listed(key: string, object: T, seenAt: number): void {
    const old = this.byKey.get(key);
    this.byKey.set(key, object);
    this.#act(object.metadata.resourceVersion);
    this.#to.onChange({ kind: "upsert", key, object, old, seenAt, fromList: true });
  }

  /** A whole list lacks it. When it went is not known, only that it was before this version. */
  absent(key: string, old: T, version: string, seenAt: number): void {
    this.byKey.delete(key);
    this.#act(version);
    this.#to.onChange({ kind: "delete", key, old, seenAt, fromList: true });
  }

  /** A watch has told of it. */
  changed(deleted: boolean, object: T, seenAt: number): void {
    this.#act(object.metadata.resourceVersion);
    const key = objectKey(object);
    const old = this.byKey.get(key);
    if (!deleted) {
      this.byKey.set(key, object);
      this.#to.onChange({ kind: "upsert", key, object, old, seenAt, fromList: false });
    } else if (old !== undefined) {
      this.byKey.delete(key);
      this.#to.onChange({ kind: "delete", key, old: object, seenAt, fromList: false });
    }
  }

  #act(resourceVersion: string | undefined): void {
    this.#actedOn = Math.max(this.#actedOn, this.number(resourceVersion));
  }
}
