import type { IncomingMessage, ServerResponse } from "node:http";
import { isObject, type JsonObject, type KubeObject } from "../json.ts";
import type { ServedType } from "../kinds/catalog.ts";
import { apiVersionOf, resourceKey, storageKey } from "../kinds/resource-type.ts";
import { type DeleteOptions, deleteObject, deletionAnswer, type Propagation } from "../registry/deletion.ts";
import type { PatchKind, Registry } from "../registry/registry.ts";
import { toServed } from "../registry/versions.ts";
import type { Subresource, World, WriteOptions } from "../registry/world.ts";
import { ApiError, badRequest, methodNotAllowed, pathNotFound, unsupportedMediaType } from "../status.ts";
import { textOf } from "../store/object-store.ts";
import { both, type Predicate, parseFieldSelector, parseLabelSelector } from "../store/selectors.ts";
import { sendJson, sendText } from "./answer.ts";
import { mediaType, parseDocument, parseObject, readBody } from "./body.ts";
import type { Gate } from "./faults.ts";
import type { ListPages } from "./lists.ts";
import type { ResourcePath } from "./route.ts";
import { tableOf, wantsTable } from "./table.ts";
import { Watch } from "./watch.ts";

const PATCH_TYPES: { [type: string]: PatchKind } = {
  "application/json-patch+json": "json",
  "application/merge-patch+json": "merge",
  "application/strategic-merge-patch+json": "strategic",
  "application/apply-patch+yaml": "apply",
  "application/apply-patch+json": "apply",
};

/** Everything that a request to a resource needs from its cluster. */
export interface ResourceContext {
  world: World;
  registry: Registry;
  pages: ListPages;
  gate: Gate;
  watches: Set<Watch>;
}

/** Answers a request for a resource: one function per verb. */
export async function serveResource(
  context: ResourceContext,
  path: ResourcePath,
  query: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const served = context.world.catalog.find(path.group, path.version, path.plural);
  if (served === undefined) throw pathNotFound();
  if (path.namespace !== "" && !served.type.namespaced) throw pathNotFound();
  if (path.name !== "" && served.type.namespaced && path.namespace === "") throw pathNotFound();
  const subresource = subresourceOf(served, path.subresource);
  const call = { ...context, served, path, query, request, response, subresource };
  if (path.name === "") {
    if (request.method === "GET" || request.method === "HEAD") {
      return isTrue(query.get("watch")) ? openWatch(call, undefined) : sendList(call);
    }
    if (request.method === "POST") return createObject(call);
    if (request.method === "DELETE") return deleteMany(call);
    throw methodNotAllowed();
  }
  switch (request.method) {
    case "GET":
    case "HEAD":
      if (isTrue(query.get("watch"))) return openWatch(call, path.name);
      return sendObject(call, 200, context.registry.get(served, path.namespace, path.name, subresource), []);
    case "PUT":
      return putObject(call);
    case "PATCH":
      return patchObject(call);
    case "DELETE":
      return deleteOne(call);
    default:
      throw methodNotAllowed();
  }
}

interface Call extends ResourceContext {
  served: ServedType;
  path: ResourcePath;
  query: URLSearchParams;
  request: IncomingMessage;
  response: ServerResponse;
  subresource: Subresource;
}

function subresourceOf({ version }: ServedType, name: string): Subresource {
  if (name === "") return "";
  if (name === "status" && version.status) return name;
  if (name === "scale" && version.scale !== undefined) return name;
  throw pathNotFound();
}

function isTrue(value: string | null): boolean {
  return value === "true" || value === "1";
}

function writeOptions({ query, request }: Call, operation: "apply" | "update"): WriteOptions {
  const validation = query.get("fieldValidation") ?? "Warn";
  if (validation !== "Strict" && validation !== "Warn" && validation !== "Ignore") {
    throw badRequest(`fieldValidation: Unsupported value: "${validation}"`);
  }
  // rest.DefaultKubernetesUserAgent: what stands before the first slash names the program.
  const agent = (request.headers["user-agent"] ?? "unknown").split("/")[0] ?? "unknown";
  return {
    manager: query.get("fieldManager") ?? (operation === "apply" ? "" : agent.slice(0, 128)),
    fieldValidation: validation,
    dryRun: query.getAll("dryRun").includes("All"),
    force: isTrue(query.get("force")),
    warnings: [],
  };
}

function sendObject(call: Call, code: number, object: KubeObject, warnings: string[]): void {
  const { served, query, request, response, world } = call;
  if (request.method !== "GET" && object.metadata.resourceVersion === String(world.store.version)) {
    // For measurements: a client's clock cannot tell when its write took effect.
    response.setHeader("x-sandbox-stored-at", String(world.store.storedAt));
  }
  const version = call.subresource === "scale" ? undefined : wantsTable(request.headers.accept);
  if (version === undefined) {
    sendText(response, code, textOf(object), warnings);
    return;
  }
  const include = query.get("includeObject") ?? "Metadata";
  const { resourceVersion } = object.metadata;
  const options = { version, include, now: world.clock.now(), headers: true };
  sendJson(response, code, tableOf([object], served, { resourceVersion }, options), warnings);
}

async function createObject(call: Call): Promise<void> {
  const { registry, served, path, request } = call;
  const body = parseObject(await readBody(request), mediaType(request));
  let namespace = path.namespace;
  if (served.type.namespaced && namespace === "") {
    // A create at the collection of all namespaces says where in the body.
    const metadata = isObject(body.metadata) ? body.metadata : {};
    namespace = typeof metadata.namespace === "string" ? metadata.namespace : "";
    if (namespace === "") throw badRequest("an empty namespace may not be set during creation");
  }
  const options = writeOptions(call, "update");
  sendObject(call, 201, registry.create(served, namespace, body, options), options.warnings);
}

async function putObject(call: Call): Promise<void> {
  const { registry, served, path, request, subresource } = call;
  const body = parseObject(await readBody(request), mediaType(request));
  const options = writeOptions(call, "update");
  const written = registry.update(served, path.namespace, path.name, body, subresource, options);
  sendWritten(call, written, options.warnings);
}

async function patchObject(call: Call): Promise<void> {
  const { registry, served, path, request, subresource } = call;
  const type = mediaType(request);
  const kind = PATCH_TYPES[type];
  if (kind === undefined) throw unsupportedMediaType(Object.keys(PATCH_TYPES));
  const patch = parseDocument(await readBody(request), type);
  const options = writeOptions(call, kind === "apply" ? "apply" : "update");
  if (options.force && kind !== "apply") {
    const why = "force: Forbidden: may not be specified for non-apply patch";
    throw new ApiError(422, "Invalid", `PatchOptions.meta.k8s.io "" is invalid: ${why}`);
  }
  const written = registry.patch(served, path.namespace, path.name, kind, patch, subresource, options);
  sendWritten(call, written, options.warnings);
}

function sendWritten(
  call: Call,
  written: { object: KubeObject; created: boolean },
  warnings: string[],
): void {
  const { registry, served, path, subresource } = call;
  const code = written.created ? 201 : 200;
  if (subresource === "scale") {
    sendObject(call, code, registry.get(served, path.namespace, path.name, "scale"), warnings);
  } else sendObject(call, code, written.object, warnings);
}

async function deleteOptions({ query, request }: Call): Promise<DeleteOptions> {
  const bytes = await readBody(request);
  const body = bytes.length === 0 ? {} : parseObject(bytes, mediaType(request));
  const asked = query.get("propagationPolicy") ?? body.propagationPolicy;
  const orphan = query.get("orphanDependents") ?? body.orphanDependents;
  const propagation = isPropagation(asked) ? asked : String(orphan) === "true" ? "Orphan" : "Background";
  const grace = query.get("gracePeriodSeconds") ?? body.gracePeriodSeconds;
  const preconditions = isObject(body.preconditions) ? body.preconditions : {};
  const { uid, resourceVersion } = preconditions;
  const dryRun = Array.isArray(body.dryRun) ? body.dryRun : query.getAll("dryRun");
  return {
    propagation,
    gracePeriodSeconds: grace === undefined || grace === null ? undefined : Number(grace),
    preconditions: {
      ...(typeof uid === "string" ? { uid } : {}),
      ...(typeof resourceVersion === "string" ? { resourceVersion } : {}),
    },
    dryRun: dryRun.includes("All"),
  };
}

function isPropagation(value: unknown): value is Propagation {
  return value === "Background" || value === "Foreground" || value === "Orphan";
}

async function deleteOne(call: Call): Promise<void> {
  const { world, registry, served, path, response } = call;
  if (call.subresource !== "") throw methodNotAllowed();
  const options = await deleteOptions(call);
  const live = registry.stored(served, path.namespace, path.name);
  const deleted = deleteObject(world, served.type, live, options);
  sendJson(response, 200, deletionAnswer(served, { ...deleted, object: toServed(deleted.object, served) }));
}

async function deleteMany(call: Call): Promise<void> {
  const { world, served, path } = call;
  const options = await deleteOptions(call);
  const matches = selection(call);
  const objects = world.store.list(storageKey(served.type), path.namespace).filter((object) => {
    return matches === undefined || matches(toServed(object, served));
  });
  for (const object of objects) deleteObject(world, served.type, object, options);
  sendListBody(call, objects, { resourceVersion: String(world.store.version) });
}

function selection({ query, served }: Call): Predicate | undefined {
  const labels = parseLabelSelector(query.get("labelSelector") ?? "");
  const { selectableFields } = served.version;
  return both(
    labels,
    parseFieldSelector(query.get("fieldSelector") ?? "", resourceKey(served.type), selectableFields),
  );
}

function sendList(call: Call): void {
  const { world, pages, query } = call;
  const limit = Number(query.get("limit") ?? "0");
  const token = query.get("continue") ?? "";
  const wanted = Number(query.get("resourceVersion") ?? "0");
  if (!Number.isInteger(limit) || limit < 0)
    throw badRequest(`limit: Invalid value: ${query.get("limit") ?? ""}`);
  if (Number.isNaN(wanted))
    throw badRequest(`resourceVersion: Invalid value: "${query.get("resourceVersion") ?? ""}"`);
  if (wanted > world.store.version) throw tooNew(wanted, world.store.version);
  const exact = query.get("resourceVersionMatch") === "Exact";
  if (exact && token === "" && wanted < world.store.version) {
    throw new ApiError(410, "Expired", `The resourceVersion for the provided list is too old: ${wanted}`);
  }
  const matches = selection(call);
  const page =
    token === ""
      ? pages.first(selected(call, matches), world.store.version, limit)
      : pages.next(token, limit);
  const plain = matches === undefined;
  const metadata: JsonObject = {
    resourceVersion: String(page.version),
    ...(page.next === undefined ? {} : { continue: page.next }),
    // Kubernetes does not count when it would have to look at what the selector leaves out.
    ...(page.next === undefined || !plain ? {} : { remainingItemCount: page.remaining }),
  };
  sendListBody(call, page.objects, metadata);
}

function selected({ world, served, path }: Call, matches: Predicate | undefined): KubeObject[] {
  const objects = world.store.list(storageKey(served.type), path.namespace);
  return matches === undefined ? objects : objects.filter((object) => matches(toServed(object, served)));
}

function tooNew(wanted: number, current: number): ApiError {
  return new ApiError(504, "Timeout", `Too large resource version: ${wanted}, current: ${current}`, {
    causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
    retryAfterSeconds: 1,
  });
}

/** The list as text, put together from the objects' own texts. */
function sendListBody(call: Call, objects: KubeObject[], metadata: JsonObject): void {
  const { served, request, response, world, query } = call;
  const version = wantsTable(request.headers.accept);
  if (version !== undefined) {
    const options = {
      version,
      include: query.get("includeObject") ?? "Metadata",
      now: world.clock.now(),
      headers: true,
    };
    const shown = objects.map((object) => toServed(object, served));
    sendJson(response, 200, tableOf(shown, served, metadata, options));
    return;
  }
  const { type } = served;
  const apiVersion = apiVersionOf(type.group, served.version.name);
  const head = `{"kind":${JSON.stringify(type.listKind)},"apiVersion":${JSON.stringify(apiVersion)},"metadata":${JSON.stringify(metadata)}`;
  const items = objects.map((object) => textOf(toServed(object, served)));
  sendText(response, 200, `${head},"items":[${items.join(",")}]}`);
}

/** kube-apiserver's --min-request-timeout: watches without timeoutSeconds last once to twice as long. */
const DEFAULT_WATCH_SECONDS = 1800;

function openWatch(call: Call, name: string | undefined): void {
  const { world, gate, watches, served, path, query, request, response } = call;
  const given = query.get("resourceVersion") ?? "";
  const since = Number(given);
  if (Number.isNaN(since)) throw badRequest(`resourceVersion: Invalid value: "${given}"`);
  const seconds = Number(query.get("timeoutSeconds") ?? "0") || DEFAULT_WATCH_SECONDS * (1 + Math.random());
  const version = wantsTable(request.headers.accept);
  const one: Predicate | undefined =
    name === undefined ? undefined : ({ metadata }) => metadata.name === name;
  const sendInitialEvents = isTrue(query.get("sendInitialEvents"));
  const watch = new Watch(
    {
      served,
      namespace: path.namespace,
      matches: both(one, selection(call)),
      since: since === 0 ? undefined : since,
      bookmarks: isTrue(query.get("allowWatchBookmarks")),
      sendInitialEvents,
      timeoutMs: seconds * 1000,
      table:
        version === undefined ? undefined : { version, include: query.get("includeObject") ?? "Metadata" },
    },
    response,
    world,
    gate,
  );
  watches.add(watch);
  response.on("close", () => watches.delete(watch));
  watch.start();
}
