import { KubeStatusError, KubeUnreachableError } from "@sluice/contracts";
import { silentLogger } from "@sluice/service-kit";
import { type Credentials, readKubeconfig } from "./kubeconfig.ts";
import type { KubeLogger } from "./logger.ts";
import type { KubeObject } from "./objects.ts";
import { apiVersionOf, knownResource, type ObjectRef, type ResourceType, resourcePath } from "./resources.ts";
import { type Answer, LIST_LIMIT_BYTES, type RequestInit, statusError, Transport } from "./transport.ts";
import { LineSplitter, parseWatchEvent, type WatchEvent } from "./watch-stream.ts";

export interface ConnectOptions {
  /** The cluster's name with us, e.g. `hub` or `member1`; it stands in every message. */
  readonly name: string;
  /** Path of the kubeconfig, or what such a file holds. */
  readonly kubeconfig: string | object;
  /** Default: the kubeconfig's current-context. */
  readonly context?: string;
  readonly log?: KubeLogger;
}

export interface ListOptions {
  /** Default: all namespaces. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface PageOptions extends ListOptions {
  /** Objects that the first page may have; default 100. Later ones go by what objects turn out to weigh. */
  readonly first?: number | undefined;
}

/** A part of a list. */
export interface ListPage<T> {
  readonly items: readonly T[];
  /** All pages show the objects as of this version: a watch from there misses nothing that the list lacks. */
  readonly resourceVersion: string;
  /** The list begins here: pages before it, if any, are of one that could not go on, and are no part of this one. */
  readonly first: boolean;
  readonly last: boolean;
}

export interface WatchOptions extends ListOptions {
  /** Of the list or event after which events are wanted. */
  readonly resourceVersion: string;
  /** The server ends the watch after so many seconds. */
  readonly timeoutSeconds: number;
  /** Called once the server has accepted the watch. */
  readonly onOpen?: () => void;
  /** Called for each chunk of bytes, before its events are given out. */
  readonly onBytes?: () => void;
}

export interface WriteOptions {
  readonly fieldManager?: string | undefined;
  readonly subresource?: "status" | "scale" | undefined;
}

export interface ApplyOptions {
  readonly fieldManager: string;
  /** Take fields that other managers own; without it that is a 409. */
  readonly force?: boolean | undefined;
  readonly subresource?: "status" | undefined;
}

export interface DeleteOptions {
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string } | undefined;
  readonly propagationPolicy?: "Background" | "Foreground" | "Orphan" | undefined;
  readonly gracePeriodSeconds?: number | undefined;
}

/**
 * One cluster's API. Every method rejects with KubeStatusError when the API refuses, KubeUnreachableError when it does
 * not answer (30 s at most), and the signal's reason when that aborts first.
 */
export interface KubeClient {
  readonly name: string;
  /** URL of the API as the kubeconfig has it. */
  readonly server: string;
  /** The API's gitVersion, e.g. `v1.34.1`. */
  version(signal: AbortSignal): Promise<string>;
  /** Null: there is no such object, or no such kind. */
  get<T extends KubeObject>(type: ResourceType<T>, ref: ObjectRef, signal: AbortSignal): Promise<T | null>;
  list<T extends KubeObject>(
    type: ResourceType<T>,
    options: ListOptions,
    signal: AbortSignal,
  ): Promise<{ items: T[]; resourceVersion: string }>;
  /** A list page by page; one is ahead of what has been dealt with, never more. */
  pages<T extends KubeObject>(
    type: ResourceType<T>,
    options: PageOptions,
    signal: AbortSignal,
  ): AsyncGenerator<ListPage<T>, void, void>;
  create<T extends KubeObject>(
    type: ResourceType<T>,
    object: NoInfer<T>,
    signal: AbortSignal,
    options?: Pick<WriteOptions, "fieldManager">,
  ): Promise<T>;
  /** PUT; a resourceVersion in the object makes it conditional. */
  replace<T extends KubeObject>(
    type: ResourceType<T>,
    object: NoInfer<T>,
    signal: AbortSignal,
    options?: WriteOptions,
  ): Promise<T>;
  /** False: there was nothing to delete. */
  delete(type: ResourceType, ref: ObjectRef, options: DeleteOptions, signal: AbortSignal): Promise<boolean>;
  /** Server-side apply. */
  apply<T extends KubeObject>(object: T, options: ApplyOptions, signal: AbortSignal): Promise<T>;
  mergePatch<T extends KubeObject>(
    type: ResourceType<T>,
    ref: ObjectRef,
    patch: unknown,
    options: WriteOptions,
    signal: AbortSignal,
  ): Promise<T>;
  /** How the API serves a kind; null when it does not. Cached; a kind that is not in the cache is asked for again. */
  discover(apiVersion: string, kind: string, signal: AbortSignal): Promise<ResourceType | null>;
  /** Ends when the server ends the watch; throws KubeStatusError for an ERROR event (410: list again). */
  watch<T extends KubeObject>(
    type: ResourceType<T>,
    options: WatchOptions,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<T>, void, void>;
  /** Any request; resolves for any status. */
  request(init: RequestInit, signal: AbortSignal): Promise<Answer>;
  /** Ends every connection. */
  close(): void;
}

/** @throws KubeconfigError. Nothing is sent until the first call. */
export async function connectCluster(options: ConnectOptions): Promise<KubeClient> {
  return new HttpKubeClient(
    options.name,
    readKubeconfig(options.kubeconfig, options.context),
    options.log ?? silentLogger,
  );
}

/** Objects a page: before it is known what they weigh, and at most; and the bytes that a page of many shall have. */
const PAGE = { unknown: 100, most: 1000, bytes: 512 * 1024 };

/** A page is parsed in one go, so it is to be a matter of milliseconds, however heavy a kind's objects are. */
function nextLimit(limit: number, objects: number, bytes: number): number {
  const fitting = objects === 0 ? PAGE.most : Math.floor((PAGE.bytes * objects) / bytes);
  // Those to come may weigh more than those that came.
  const careful = Math.max(PAGE.unknown, 4 * limit);
  return Math.max(1, Math.min(fitting, careful, PAGE.most));
}

class HttpKubeClient implements KubeClient {
  readonly name: string;
  readonly server: string;
  readonly #transport: Transport;
  readonly #discovered = new Map<string, readonly ResourceType[]>();

  constructor(name: string, credentials: Credentials, log: KubeLogger) {
    this.name = name;
    this.server = credentials.server;
    this.#transport = new Transport(name, credentials, log.child({ cluster: name }));
  }

  async version(signal: AbortSignal): Promise<string> {
    const answer = await this.#json<{ gitVersion?: string }>({ method: "GET", path: "/version" }, signal);
    return answer.gitVersion ?? "unknown";
  }

  async get<T extends KubeObject>(
    type: ResourceType<T>,
    ref: ObjectRef,
    signal: AbortSignal,
  ): Promise<T | null> {
    const init = { method: "GET", path: resourcePath(type, ref.namespace, ref.name) };
    const answer = await this.request(init, signal);
    if (answer.status === 404) return null;
    return this.#parse<T>(init, answer);
  }

  async list<T extends KubeObject>(
    type: ResourceType<T>,
    options: ListOptions,
    signal: AbortSignal,
  ): Promise<{ items: T[]; resourceVersion: string }> {
    let items: T[] = [];
    let version = "";
    for await (const page of this.pages(type, options, signal)) {
      if (page.first) items = [];
      items.push(...page.items);
      version = page.resourceVersion;
    }
    return { items, resourceVersion: version };
  }

  async *pages<T extends KubeObject>(
    type: ResourceType<T>,
    options: PageOptions,
    signal: AbortSignal,
  ): AsyncGenerator<ListPage<T>, void, void> {
    const apiVersion = apiVersionOf(type);
    const ask = (limit: number, token: string) => {
      const query = selectors(options);
      query.set("limit", String(limit));
      if (token !== "") query.set("continue", token);
      const init = { method: "GET", path: `${resourcePath(type, options.namespace)}?${query}` };
      const answer = this.request({ ...init, limitBytes: LIST_LIMIT_BYTES }, signal);
      // Nobody may want it any more.
      answer.catch(() => {});
      return { init, answer, limit, token };
    };
    let asked = ask(options.first ?? PAGE.unknown, "");
    let expired = false;
    for (;;) {
      const { init, limit, token } = asked;
      const answer = await asked.answer;
      if (answer.status === 410 && token !== "" && !expired) {
        // The page's token outlived etcd's history: what was read so far is of a past that is gone. Once more, whole.
        expired = true;
        asked = ask(limit, "");
        continue;
      }
      const page = this.#parse<ListAnswer<T>>(init, answer);
      const next = page.metadata?.continue ?? "";
      // A list's items carry neither of the two.
      const items = (page.items ?? []).map((item) => Object.assign(item, { apiVersion, kind: type.kind }));
      // The server makes the next page while this one is being dealt with.
      if (next !== "") asked = ask(nextLimit(limit, items.length, answer.body.length), next);
      const { resourceVersion = "" } = page.metadata ?? {};
      yield { items, resourceVersion, first: token === "", last: next === "" };
      if (next === "") return;
    }
  }

  async create<T extends KubeObject>(
    type: ResourceType<T>,
    object: T,
    signal: AbortSignal,
    options: Pick<WriteOptions, "fieldManager"> = {},
  ): Promise<T> {
    const path = `${resourcePath(type, object.metadata.namespace)}${manager(options)}`;
    return await this.#json<T>({ method: "POST", path, body: object }, signal);
  }

  async replace<T extends KubeObject>(
    type: ResourceType<T>,
    object: T,
    signal: AbortSignal,
    options: WriteOptions = {},
  ): Promise<T> {
    const { namespace, name } = object.metadata;
    const path = `${resourcePath(type, namespace, name, options.subresource)}${manager(options)}`;
    return await this.#json<T>({ method: "PUT", path, body: object }, signal);
  }

  async delete(
    type: ResourceType,
    ref: ObjectRef,
    options: DeleteOptions,
    signal: AbortSignal,
  ): Promise<boolean> {
    const init = {
      method: "DELETE",
      path: resourcePath(type, ref.namespace, ref.name),
      body: { apiVersion: "v1", kind: "DeleteOptions", ...options },
    };
    const answer = await this.request(init, signal);
    if (answer.status === 404) return false;
    this.#parse(init, answer);
    return true;
  }

  async apply<T extends KubeObject>(object: T, options: ApplyOptions, signal: AbortSignal): Promise<T> {
    const type =
      knownResource(object.apiVersion, object.kind) ??
      (await this.discover(object.apiVersion, object.kind, signal));
    if (type === null) {
      throw new KubeStatusError(
        `${this.name}: ${object.apiVersion} ${object.kind} is not served by this API: apply its CRD first`,
        { status: 404, reason: "NotFound" },
      );
    }
    const { namespace, name } = object.metadata;
    const query = new URLSearchParams({ fieldManager: options.fieldManager });
    if (options.force === true) query.set("force", "true");
    return await this.#json<T>(
      {
        method: "PATCH",
        path: `${resourcePath(type, namespace, name, options.subresource)}?${query}`,
        contentType: "application/apply-patch+yaml",
        body: object,
      },
      signal,
    );
  }

  async mergePatch<T extends KubeObject>(
    type: ResourceType<T>,
    ref: ObjectRef,
    patch: unknown,
    options: WriteOptions,
    signal: AbortSignal,
  ): Promise<T> {
    return await this.#json<T>(
      {
        method: "PATCH",
        path: `${resourcePath(type, ref.namespace, ref.name, options.subresource)}${manager(options)}`,
        contentType: "application/merge-patch+json",
        body: patch,
      },
      signal,
    );
  }

  async discover(apiVersion: string, kind: string, signal: AbortSignal): Promise<ResourceType | null> {
    const cached = this.#discovered.get(apiVersion)?.find((type) => type.kind === kind);
    if (cached !== undefined) return cached;
    const slash = apiVersion.indexOf("/");
    const group = slash === -1 ? "" : apiVersion.slice(0, slash);
    const version = apiVersion.slice(slash + 1);
    const path = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
    const init = { method: "GET", path };
    const answer = await this.request(init, signal);
    if (answer.status === 404) {
      this.#discovered.delete(apiVersion);
      return null;
    }
    const served = this.#parse<ResourceListAnswer>(init, answer);
    const types = (served.resources ?? [])
      .filter((r) => !r.name.includes("/"))
      .map((r) => ({ group, version, kind: r.kind, plural: r.name, namespaced: r.namespaced }));
    this.#discovered.set(apiVersion, types);
    return types.find((type) => type.kind === kind) ?? null;
  }

  async *watch<T extends KubeObject>(
    type: ResourceType<T>,
    options: WatchOptions,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<T>, void, void> {
    const query = selectors(options);
    query.set("watch", "true");
    query.set("allowWatchBookmarks", "true");
    query.set("resourceVersion", options.resourceVersion);
    query.set("timeoutSeconds", String(options.timeoutSeconds));
    const path = `${resourcePath(type, options.namespace)}?${query}`;
    const where = `${this.name}: watch ${type.plural}`;
    const response = await this.#transport.open(path, signal);
    options.onOpen?.();
    const lines = new LineSplitter();
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        options.onBytes?.();
        for (const line of lines.push(chunk)) yield parseWatchEvent<T>(line, where);
      }
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof KubeStatusError) throw error;
      throw new KubeUnreachableError(`${where}: ${(error as Error).message}`, { cause: error });
    } finally {
      response.destroy();
    }
  }

  async request(init: RequestInit, signal: AbortSignal): Promise<Answer> {
    return await this.#transport.send(init, signal);
  }

  close(): void {
    this.#transport.close();
  }

  async #json<T>(init: RequestInit, signal: AbortSignal): Promise<T> {
    return this.#parse<T>(init, await this.request(init, signal));
  }

  #parse<T>(init: RequestInit, answer: Answer): T {
    if (answer.status >= 300) throw statusError(this.name, init, answer);
    try {
      return JSON.parse(answer.body) as T;
    } catch (error) {
      throw new KubeUnreachableError(
        `${this.name}: ${init.method} ${init.path.split("?")[0]}: the answer is not JSON`,
        { cause: error },
      );
    }
  }
}

interface ListAnswer<T> {
  readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items?: readonly T[] | null;
}

interface ResourceListAnswer {
  readonly resources?: readonly {
    readonly name: string;
    readonly kind: string;
    readonly namespaced: boolean;
  }[];
}

function selectors(options: Pick<ListOptions, "labelSelector" | "fieldSelector">): URLSearchParams {
  const query = new URLSearchParams();
  if (options.labelSelector !== undefined) query.set("labelSelector", options.labelSelector);
  if (options.fieldSelector !== undefined) query.set("fieldSelector", options.fieldSelector);
  return query;
}

function manager(options: Pick<WriteOptions, "fieldManager">): string {
  return options.fieldManager === undefined
    ? ""
    : `?fieldManager=${encodeURIComponent(options.fieldManager)}`;
}
