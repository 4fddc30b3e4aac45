import { KubeStatusError, KubeUnreachableError } from "@sluice/contracts";
import {
  type ApplyOptions,
  apiVersionOf,
  type KubeClient,
  type KubeEvent,
  type KubeObject,
  type ListOptions,
  type ObjectRef,
  objectKey,
  type PageOptions,
  type ResourceType,
  resources,
  type Secret,
  type WatchEvent,
  type WatchOptions,
} from "@sluice/kube";

interface Logged {
  readonly version: number;
  readonly plural: string;
  readonly event: WatchEvent<KubeObject>;
}

/** As much of a hub's API as the renderer uses, in memory, with its faults on demand. */
export class FakeHub implements KubeClient {
  readonly name = "hub";
  readonly server = "http://hub.example.test";
  /** Answers nothing: every call fails, open watches end. */
  away = false;
  /** Accepts every call and never answers, until the call's signal aborts. */
  frozen = false;
  /** Kinds that are not served, by plural. */
  readonly missing = new Set<string>();
  /** Kinds that may be read only one by one, by plural, or (`all`) not at all. */
  readonly forbidden = new Map<string, "lists" | "all">();
  /** Lists that were asked for. */
  lists = 0;
  readonly events: KubeEvent[] = [];
  readonly applied: { readonly object: KubeObject; readonly options: ApplyOptions }[] = [];
  readonly #objects = new Map<string, KubeObject>();
  readonly #log: Logged[] = [];
  #version = 1;
  #wakers: (() => void)[] = [];

  put<T extends KubeObject>(type: ResourceType<T>, object: Omit<T, "apiVersion" | "kind">): void {
    const whole = this.#stamp(type, object as object as KubeObject);
    const id = `${type.plural} ${objectKey(whole)}`;
    const known = this.#objects.has(id);
    this.#objects.set(id, whole);
    this.#record(type.plural, { type: known ? "MODIFIED" : "ADDED", object: whole });
  }

  remove(type: ResourceType, key: string): void {
    const object = this.#objects.get(`${type.plural} ${key}`);
    if (object === undefined) throw new Error(`there is no ${type.plural} ${key}`);
    this.#objects.delete(`${type.plural} ${key}`);
    this.#record(type.plural, { type: "DELETED", object: this.#stamp(type, object) });
  }

  leave(): void {
    this.away = true;
    this.#wake();
  }

  #stamp(type: ResourceType, object: KubeObject): KubeObject {
    const resourceVersion = String(++this.#version);
    const metadata = { uid: `uid-${objectKey(object)}`, ...object.metadata, resourceVersion };
    return { ...object, apiVersion: apiVersionOf(type), kind: type.kind, metadata };
  }

  #record(plural: string, event: WatchEvent<KubeObject>): void {
    this.#log.push({ version: this.#version, plural, event });
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#wakers.splice(0)) wake();
  }

  #answer(type?: ResourceType): void {
    if (this.away) throw new KubeUnreachableError("hub: connection refused");
    if (type !== undefined && this.missing.has(type.plural)) {
      throw Object.assign(new KubeStatusError(`hub: no ${type.plural}`), { status: 404, reason: "NotFound" });
    }
  }

  #admit(type: ResourceType, { fieldSelector = "" }: ListOptions): void {
    const what = this.forbidden.get(type.plural);
    if (what === undefined || (what === "lists" && fieldSelector.startsWith("metadata.name="))) return;
    throw Object.assign(new KubeStatusError(`hub: ${type.plural} is forbidden`), {
      status: 403,
      reason: "Forbidden",
    });
  }

  async list<T extends KubeObject>(type: ResourceType<T>, options: ListOptions, signal: AbortSignal) {
    this.lists += 1;
    if (this.frozen)
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    this.#answer(type);
    this.#admit(type, options);
    const items = [...this.#objects]
      .filter(([id, object]) => id.startsWith(`${type.plural} `) && selects(options, object))
      .map(([, o]) => o as T);
    return { items, resourceVersion: String(this.#version) };
  }

  async *pages<T extends KubeObject>(type: ResourceType<T>, options: PageOptions, signal: AbortSignal) {
    yield { ...(await this.list(type, options, signal)), first: true, last: true };
  }

  async *watch<T extends KubeObject>(
    type: ResourceType<T>,
    options: WatchOptions,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<T>, void, void> {
    this.#answer(type);
    options.onOpen?.();
    let from = Number(options.resourceVersion);
    const aborted = () => this.#wake();
    signal.addEventListener("abort", aborted, { once: true });
    while (!signal.aborted) {
      this.#answer(type);
      const next = this.#log.find(
        ({ version, plural, event }) =>
          version > from &&
          plural === type.plural &&
          (event.type === "BOOKMARK" || selects(options, event.object)),
      );
      if (next === undefined) {
        await new Promise<void>((resolve) => this.#wakers.push(resolve));
        continue;
      }
      from = next.version;
      options.onBytes?.();
      yield next.event as WatchEvent<T>;
    }
    signal.removeEventListener("abort", aborted);
  }

  async get<T extends KubeObject>(type: ResourceType<T>, ref: ObjectRef): Promise<T | null> {
    this.#answer();
    if (type.plural !== resources.event.plural) return null;
    return (this.events.find((e) => e.metadata.name === ref.name) ?? null) as T | null;
  }

  async create<T extends KubeObject>(_type: ResourceType<T>, object: T): Promise<T> {
    this.#answer();
    this.events.push(object as KubeObject as KubeEvent);
    return object;
  }

  async apply<T extends KubeObject>(object: T, options: ApplyOptions): Promise<T> {
    this.#answer();
    this.applied.push({ object, options });
    return object;
  }

  async mergePatch<T extends KubeObject>(): Promise<T> {
    throw new Error("not expected of the renderer's first run");
  }
  async version(): Promise<string> {
    return "v1.34.0";
  }
  async replace(): Promise<never> {
    throw new Error("the renderer replaces nothing");
  }
  async delete(): Promise<never> {
    throw new Error("the renderer deletes nothing");
  }
  async discover(): Promise<null> {
    return null;
  }
  async request(): Promise<never> {
    throw new Error("the renderer sends no request of its own");
  }
  close(): void {
    this.leave();
  }
}

/** By namespace, name and type, as an API server does. */
function selects({ namespace, fieldSelector }: ListOptions, object: KubeObject): boolean {
  if (namespace !== undefined && object.metadata.namespace !== namespace) return false;
  const [field, value] = (fieldSelector ?? "").split("=");
  if (field === "metadata.name") return object.metadata.name === value;
  return field !== "type" || (object as Secret).type === value;
}
