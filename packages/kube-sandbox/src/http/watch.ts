import type { ServerResponse } from "node:http";
import { asJson, type JsonObject, type KubeObject } from "../json.ts";
import type { ServedType } from "../kinds/catalog.ts";
import { apiVersionOf, storageKey } from "../kinds/resource-type.ts";
import { toServed } from "../registry/versions.ts";
import type { World } from "../registry/world.ts";
import { type ApiError, expired } from "../status.ts";
import { type StoreEvent, textOf } from "../store/object-store.ts";
import type { Predicate } from "../store/selectors.ts";
import type { Gate } from "./faults.ts";
import { tableOf } from "./table.ts";

export interface WatchRequest {
  served: ServedType;
  namespace: string;
  matches: Predicate | undefined;
  /** undefined: begin with the present state. */
  since: number | undefined;
  bookmarks: boolean;
  sendInitialEvents: boolean;
  timeoutMs: number;
  table: { version: "v1" | "v1beta1"; include: string } | undefined;
}

/** kube-apiserver's defaultBookmarkFrequency. */
const BOOKMARK_EVERY_MS = 60_000;
/** A client that reads slower than this many bytes are made is cut off, as kube-apiserver's watch cache does. */
const BACKLOG_LIMIT = 16 * 1024 * 1024;

/** One open watch: lines of JSON until the client, the timeout or the resource goes. */
export class Watch {
  readonly #request: WatchRequest;
  readonly #response: ServerResponse;
  readonly #world: World;
  readonly #gate: Gate;
  #waiting: string[] = [];
  #draining = false;
  #ended = false;
  #headersSent = false;
  #unsubscribe: () => void = () => {};
  readonly #timers: NodeJS.Timeout[] = [];

  constructor(request: WatchRequest, response: ServerResponse, world: World, gate: Gate) {
    this.#request = request;
    this.#response = response;
    this.#world = world;
    this.#gate = gate;
  }

  start(): void {
    const { store } = this.#world;
    const { served, since, bookmarks, timeoutMs, sendInitialEvents } = this.#request;
    const resource = storageKey(served.type);
    this.#response.writeHead(200, {
      "content-type": "application/json",
      "transfer-encoding": "chunked",
      "cache-control": "no-cache, private",
    });
    this.#response.flushHeaders();
    this.#response.socket?.setNoDelay(true);
    this.#response.on("close", () => this.#stop());
    const missed = since === undefined || sendInitialEvents ? [] : store.since(resource, since);
    if (missed === undefined) {
      this.#refuse(expired(`too old resource version: ${since ?? 0} (${store.oldest(resource)})`));
      return;
    }
    if (since === undefined || sendInitialEvents) this.#sendState(resource);
    for (const event of missed) this.#onEvent(event);
    this.#unsubscribe = store.subscribe(resource, {
      onEvent: (event) => this.#onEvent(event),
      onGone: () => this.end(),
    });
    if (bookmarks) {
      this.#timers.push(setInterval(() => this.#bookmark(), BOOKMARK_EVERY_MS));
      // A last one shortly before the end, so that the next watch resumes from a fresh version.
      if (timeoutMs > 4_000) this.#timers.push(setTimeout(() => this.#bookmark(), timeoutMs - 2_000));
    }
    this.#timers.push(setTimeout(() => this.end(), timeoutMs));
    for (const timer of this.#timers) timer.unref();
  }

  /** Ends the response in order, after what is still to be sent. */
  end(): void {
    if (this.#ended) return;
    this.#stop();
    if (this.#waiting.length === 0) this.#response.end();
  }

  #stop(): void {
    this.#ended = true;
    this.#unsubscribe();
    for (const timer of this.#timers) clearTimeout(timer);
  }

  #sendState(resource: string): void {
    for (const object of this.#world.store.list(resource, this.#request.namespace)) {
      if (this.#matches(object)) this.#write("ADDED", object);
    }
    if (this.#request.sendInitialEvents && this.#request.bookmarks) {
      this.#bookmark({ "k8s.io/initial-events-end": "true" });
    }
  }

  #matches(object: KubeObject): boolean {
    const { matches, served } = this.#request;
    return matches === undefined || matches(toServed(object, served));
  }

  #onEvent({ type, version, object, previous }: StoreEvent): void {
    const { namespace } = this.#request;
    if (namespace !== "" && object.metadata.namespace !== namespace) return;
    if (this.#request.matches === undefined) {
      this.#write(type, object);
      return;
    }
    const before = previous !== undefined && this.#matches(previous);
    const after = type !== "DELETED" && this.#matches(object);
    if (after) this.#write(before ? "MODIFIED" : "ADDED", object);
    // Out of the selection is gone, in the state that still belonged to it.
    else if (before)
      this.#write("DELETED", {
        ...previous,
        metadata: { ...previous.metadata, resourceVersion: String(version) },
      });
  }

  #bookmark(annotations?: { [key: string]: string }): void {
    const { type, version } = this.#request.served;
    const object: JsonObject = {
      kind: type.kind,
      apiVersion: apiVersionOf(type.group, version.name),
      metadata: {
        resourceVersion: String(this.#world.store.version),
        ...(annotations === undefined ? {} : { annotations }),
      },
    };
    const { table } = this.#request;
    if (table === undefined) this.#line(`{"type":"BOOKMARK","object":${JSON.stringify(object)}}\n`);
    else this.#write("BOOKMARK", object as unknown as KubeObject);
  }

  #refuse(error: ApiError): void {
    this.#line(`{"type":"ERROR","object":${JSON.stringify(error.body)}}\n`);
    this.end();
  }

  #write(type: string, object: KubeObject): void {
    const { served, table } = this.#request;
    const shown = toServed(object, served);
    if (table === undefined) {
      this.#line(`{"type":"${type}","object":${textOf(shown)}}\n`);
      return;
    }
    const options = { ...table, now: this.#world.clock.now(), headers: !this.#headersSent };
    this.#headersSent = true;
    const { resourceVersion } = asJson(shown).metadata as JsonObject;
    const rows = tableOf([shown], served, { resourceVersion }, options);
    this.#line(`{"type":"${type}","object":${JSON.stringify(rows)}}\n`);
  }

  /** Straight to the socket when nothing is in the way. */
  #line(text: string): void {
    if (this.#ended) return;
    if (this.#gate.clear && this.#waiting.length === 0) {
      this.#response.write(text);
      if (this.#response.writableLength > BACKLOG_LIMIT) this.#response.destroy();
      return;
    }
    this.#waiting.push(text);
    if (this.#waiting.length > 10_000) this.#response.destroy();
    else if (!this.#draining) void this.#drain();
  }

  async #drain(): Promise<void> {
    this.#draining = true;
    while (this.#waiting.length > 0 && !this.#response.destroyed) {
      await this.#gate.pass();
      const texts = this.#waiting;
      this.#waiting = [];
      this.#response.write(texts.join(""));
    }
    this.#draining = false;
    if (this.#ended) this.#response.end();
  }
}
