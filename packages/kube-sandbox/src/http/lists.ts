import { randomUUID } from "node:crypto";
import type { KubeObject } from "../json.ts";
import { badRequest, expired } from "../status.ts";

export interface Page {
  objects: KubeObject[];
  version: number;
  next: string | undefined;
  /** Objects after this page. */
  remaining: number;
}

interface Snapshot {
  objects: KubeObject[];
  version: number;
  usedAt: number;
}

/** Lists that are still being read, and for how long: kube-apiserver's tokens live 5 to 15 minutes. */
const KEPT_LISTS = 64;
const KEPT_FOR_MS = 5 * 60_000;

/** Pages of a list are all of one version: objects are never changed in place, so a snapshot is an array of them. */
export class ListPages {
  readonly #snapshots = new Map<string, Snapshot>();

  first(objects: KubeObject[], version: number, limit: number): Page {
    if (limit <= 0 || objects.length <= limit) return { objects, version, next: undefined, remaining: 0 };
    this.#sweep();
    const id = randomUUID();
    this.#snapshots.set(id, { objects, version, usedAt: Date.now() });
    return this.#page(id, objects, version, 0, limit);
  }

  next(token: string, limit: number): Page {
    const [id, start] = Buffer.from(token, "base64url").toString("utf8").split(":");
    const from = Number(start);
    if (id === undefined || !Number.isInteger(from))
      throw badRequest("continue key is not valid: it was made elsewhere");
    const snapshot = this.#snapshots.get(id);
    if (snapshot === undefined || Date.now() - snapshot.usedAt > KEPT_FOR_MS) {
      throw expired(
        "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.",
      );
    }
    snapshot.usedAt = Date.now();
    return this.#page(id, snapshot.objects, snapshot.version, from, limit);
  }

  /** As a compaction does: whoever is in the middle of a list starts again. */
  expire(): void {
    this.#snapshots.clear();
  }

  #page(id: string, all: KubeObject[], version: number, from: number, limit: number): Page {
    const end = limit <= 0 ? all.length : Math.min(all.length, from + limit);
    const last = end >= all.length;
    if (last) this.#snapshots.delete(id);
    return {
      objects: all.slice(from, end),
      version,
      next: last ? undefined : Buffer.from(`${id}:${end}`).toString("base64url"),
      remaining: all.length - end,
    };
  }

  #sweep(): void {
    const now = Date.now();
    for (const [id, { usedAt }] of this.#snapshots)
      if (now - usedAt > KEPT_FOR_MS) this.#snapshots.delete(id);
    for (const id of this.#snapshots.keys()) {
      if (this.#snapshots.size < KEPT_LISTS) break;
      this.#snapshots.delete(id);
    }
  }
}
