import { KubeStatusError } from "@sluice/contracts";
import {
  apiVersionOf,
  type KubeObject,
  matchesLabels,
  type ObjectRef,
  objectKey,
  type ResourceType,
  type WatchEvent,
} from "@sluice/kube";
import type { EventTrace } from "./event-trace.ts";
import { BEGAN_AT } from "./virtual-globals.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface Logged {
  readonly version: number;
  readonly plural: string;
  readonly event: Exclude<WatchEvent<KubeObject>, { type: "BOOKMARK" }>;
  /** What the object was before, for watches by label. */
  readonly old: KubeObject | undefined;
}

/** One write of Sluice's into an API, as an audit log has it. */
export interface AuditLine {
  readonly cluster: string;
  readonly verb: "apply" | "create" | "delete" | "patch" | "replace";
  readonly plural: string;
  readonly key: string;
  readonly manager: string;
  readonly subresource: string;
  readonly force: boolean;
  /** Field manager of whoever made the object; empty: it was not there. */
  readonly maker: string;
}

export interface WatchSession {
  readonly plural: string;
  push(logged: Logged): void;
  bookmark(version: number): void;
  end(error: Error | null): void;
}

/** What is wrong with one API, for everybody; counts of faults that hold now. */
export interface ApiFaults {
  down: number;
  unauthorized: number;
  slowList: number;
  stuckList: number;
}

const NOBODY = "";
/** Field manager of the people and controllers of a cluster: everybody who is not Sluice. */
const OTHERS = "kubectl";

/** An API server with its etcd: objects, one resourceVersion for all, and a history of events that can be compacted. */
export class SimCluster {
  readonly name: string;
  readonly faults: ApiFaults = { down: 0, unauthorized: 0, slowList: 0, stuckList: 0 };
  readonly audit: AuditLine[] = [];
  readonly #time: VirtualTime;
  readonly #trace: EventTrace;
  readonly #objects = new Map<string, Map<string, KubeObject>>();
  readonly #log: Logged[] = [];
  readonly #sessions = new Set<WatchSession>();
  #version = 1;
  #compacted = 0;
  #made = 0;

  constructor(name: string, time: VirtualTime, trace: EventTrace) {
    this.name = name;
    this.#time = time;
    this.#trace = trace;
  }

  /** To be called when a list is answered. */
  /** A page of a list is on its way for so long, ms of virtual time. */
  onListed: ((type: ResourceType, forMs: number) => void) | null = null;

  get version(): number {
    return this.#version;
  }

  /** Up to this version the history is forgotten. */
  get compacted(): number {
    return this.#compacted;
  }

  #kind(plural: string): Map<string, KubeObject> {
    let objects = this.#objects.get(plural);
    if (objects === undefined) {
      objects = new Map();
      this.#objects.set(plural, objects);
    }
    return objects;
  }

  get<T extends KubeObject>(type: ResourceType<T>, { namespace, name }: ObjectRef): T | null {
    const key = namespace === undefined ? name : `${namespace}/${name}`;
    return (this.#kind(type.plural).get(key) as T | undefined) ?? null;
  }

  list(type: ResourceType, labels: Readonly<Record<string, string>> | null): KubeObject[] {
    const all = [...this.#kind(type.plural).values()];
    return labels === null ? all : all.filter((each) => matchesLabels(labels, each.metadata.labels));
  }

  /** Makes or changes an object, as somebody of the cluster does. */
  put<T extends KubeObject>(type: ResourceType<T>, object: Omit<T, "apiVersion" | "kind">): T {
    return this.write(type, object as unknown as KubeObject, OTHERS) as T;
  }

  write(type: ResourceType, object: KubeObject, manager: string, subresource = ""): KubeObject {
    const objects = this.#kind(type.plural);
    const key = objectKey(object);
    const old = objects.get(key);
    const entry = { manager, operation: "Apply", ...(subresource === "" ? {} : { subresource }) };
    const managers = old?.metadata.managedFields ?? [];
    const known = managers.some((m) => m.manager === manager && (m.subresource ?? "") === subresource);
    const metadata = {
      uid: `${this.name}-${++this.#made}`,
      creationTimestamp: new Date(BEGAN_AT + Math.floor(this.#time.now / 1000) * 1000).toISOString(),
      ...old?.metadata,
      ...object.metadata,
      managedFields: known ? managers : [...managers, entry],
      resourceVersion: String(++this.#version),
    };
    const whole = { ...object, apiVersion: apiVersionOf(type), kind: type.kind, metadata };
    objects.set(key, whole);
    this.#record(type.plural, { type: old === undefined ? "ADDED" : "MODIFIED", object: whole }, old);
    return whole;
  }

  /** @returns false when there was nothing */
  remove(type: ResourceType, { namespace, name }: ObjectRef): boolean {
    const objects = this.#kind(type.plural);
    const key = namespace === undefined ? name : `${namespace}/${name}`;
    const old = objects.get(key);
    if (old === undefined) return false;
    objects.delete(key);
    const metadata = { ...old.metadata, resourceVersion: String(++this.#version) };
    this.#record(type.plural, { type: "DELETED", object: { ...old, metadata } }, old);
    return true;
  }

  /** Who made an object. */
  makerOf(object: KubeObject | null): string {
    return object?.metadata.managedFields?.[0]?.manager ?? NOBODY;
  }

  #record(plural: string, event: Logged["event"], old: KubeObject | undefined): void {
    const logged = { version: this.#version, plural, event, old };
    this.#log.push(logged);
    this.#trace.note(
      this.#time.now,
      `${this.name} ${this.#version} ${event.type} ${plural} ${objectKey(event.object)}`,
    );
    for (const session of this.#sessions) if (session.plural === plural) session.push(logged);
  }

  /** @throws KubeStatusError 410 when the history does not reach back so far */
  watch(session: WatchSession, from: number): () => void {
    if (from < this.#compacted) throw expired(this.name);
    for (const logged of this.#log) {
      if (logged.version > from && logged.plural === session.plural) session.push(logged);
    }
    this.#sessions.add(session);
    return () => this.#sessions.delete(session);
  }

  /** etcd forgets its history: watches end, and can only go on from a new list. */
  compact(): void {
    this.#compacted = this.#version;
    this.#log.length = 0;
    this.endWatches(expired(this.name));
  }

  bookmark(): void {
    for (const session of this.#sessions) session.bookmark(this.#version);
  }

  /** @param error null: as a server does that shuts down in order */
  endWatches(error: Error | null): void {
    const sessions = [...this.#sessions];
    this.#sessions.clear();
    for (const session of sessions) session.end(error);
  }
}

function expired(name: string): Error {
  return new KubeStatusError(`${name}: 410 Expired: too old resource version`, {
    status: 410,
    reason: "Expired",
  });
}
