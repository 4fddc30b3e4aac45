import http from "node:http";
import https from "node:https";
import type { Socket } from "node:net";
import { KubeStatusError, KubeUnreachableError } from "@sluice/contracts";
import type { Credentials } from "./kubeconfig.ts";
import type { KubeLogger } from "./logger.ts";

/** One object, or one watch event: etcd holds 1.5 MiB an object, JSON of binary data takes a third more. */
export const OBJECT_LIMIT_BYTES = 8 * 1024 * 1024;
/** One page of a list. */
export const LIST_LIMIT_BYTES = 256 * 1024 * 1024;
/** Milliseconds a request may take from first to last byte when its caller sets no shorter bound. */
const REQUEST_TIMEOUT_MS = 30_000;
/** Milliseconds until the head of a watch's answer must be there. */
const WATCH_HEAD_TIMEOUT_MS = 15_000;

export interface RequestInit {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly body?: unknown;
  /** Of the body; default application/json. */
  readonly contentType?: string;
  readonly limitBytes?: number;
  readonly timeoutMs?: number;
}

export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** HTTP/1.1 to one API server: kept-alive connections for requests, one connection a watch. */
export class Transport {
  readonly #name: string;
  readonly #credentials: Credentials;
  readonly #log: KubeLogger;
  readonly #base: URL;
  readonly #secure: boolean;
  readonly #agent: http.Agent;
  readonly #watches = new Set<http.ClientRequest>();
  #closed = false;

  constructor(name: string, credentials: Credentials, log: KubeLogger) {
    this.#log = log;
    this.#name = name;
    this.#credentials = credentials;
    this.#base = new URL(credentials.server);
    this.#secure = this.#base.protocol === "https:";
    const options = { keepAlive: true, keepAliveMsecs: 30_000, maxSockets: 32, maxFreeSockets: 8 };
    this.#agent = this.#secure ? new https.Agent(options) : new http.Agent(options);
  }

  /**
   * Sends a request and reads the answer whole, whatever its status. A 401 renews the credentials and tries again.
   * @throws KubeUnreachableError; the signal's reason when it aborts
   */
  async send(init: RequestInit, signal: AbortSignal): Promise<Answer> {
    const answer = await this.#sendOnce(init, signal);
    if (answer.status !== 401) return answer;
    this.#renew();
    return await this.#sendOnce(init, signal);
  }

  /**
   * Opens a stream and returns it once its head says 200.
   * @throws KubeStatusError, KubeUnreachableError; the signal's reason when it aborts
   */
  async open(path: string, signal: AbortSignal): Promise<http.IncomingMessage> {
    const init = { method: "GET", path };
    let response = await this.#openOnce(init, signal);
    if (response.statusCode === 401) {
      response.resume();
      this.#renew();
      response = await this.#openOnce(init, signal);
    }
    if (response.statusCode === 200) return response;
    const body = await readBody(response, OBJECT_LIMIT_BYTES).catch((error: unknown) => {
      throw this.#unreachable(init, error);
    });
    throw statusError(this.#name, init, { status: response.statusCode ?? 0, body });
  }

  close(): void {
    this.#closed = true;
    for (const request of this.#watches) request.destroy(new Error("the client was closed"));
    this.#agent.destroy();
  }

  #renew(): void {
    this.#log.info({}, "the API answered 401, reading the credentials anew");
    this.#credentials.refresh();
  }

  async #sendOnce(init: RequestInit, signal: AbortSignal): Promise<Answer> {
    const timeoutMs = init.timeoutMs ?? REQUEST_TIMEOUT_MS;
    for (let attempt = 1; ; attempt += 1) {
      let request: http.ClientRequest | undefined;
      try {
        request = await this.#start(init, this.#agent, signal);
        const response = await this.#within(request, timeoutMs, signal, async (head) => ({
          status: head.statusCode ?? 0,
          body: await readBody(head, init.limitBytes ?? OBJECT_LIMIT_BYTES),
        }));
        return response;
      } catch (error) {
        signal.throwIfAborted();
        // The server closed an idle connection while we wrote to it. Nothing was answered; a POST may have been done.
        const stale =
          request?.reusedSocket === true && (error as NodeJS.ErrnoException).code === "ECONNRESET";
        if (stale && attempt <= 8 && init.method !== "POST") continue;
        throw this.#unreachable(init, error);
      }
    }
  }

  async #openOnce(init: RequestInit, signal: AbortSignal): Promise<http.IncomingMessage> {
    try {
      const request = await this.#start(init, undefined, signal);
      this.#watches.add(request);
      const abort = () => request.destroy(new Error("aborted"));
      signal.addEventListener("abort", abort, { once: true });
      if (signal.aborted) abort();
      request.once("close", () => {
        this.#watches.delete(request);
        signal.removeEventListener("abort", abort);
      });
      return await this.#within(request, WATCH_HEAD_TIMEOUT_MS, signal, async (head) => head);
    } catch (error) {
      signal.throwIfAborted();
      throw this.#unreachable(init, error);
    }
  }

  async #start(
    init: RequestInit,
    agent: http.Agent | undefined,
    signal: AbortSignal,
  ): Promise<http.ClientRequest> {
    signal.throwIfAborted();
    if (this.#closed) throw new Error("the client is closed");
    const { tls, headers } = await this.#credentials.prepare();
    const body = init.body === undefined ? undefined : Buffer.from(JSON.stringify(init.body));
    const options: https.RequestOptions = {
      method: init.method,
      host: this.#base.hostname.replace(/^\[|\]$/g, ""),
      port: this.#base.port || (this.#secure ? 443 : 80),
      path: `${this.#base.pathname.replace(/\/$/, "")}${init.path}`,
      agent: agent ?? false,
      headers: {
        accept: "application/json",
        "user-agent": "sluice",
        ...headers,
        ...(body === undefined
          ? {}
          : { "content-type": init.contentType ?? "application/json", "content-length": body.length }),
      },
      ...(this.#secure ? tls : {}),
    };
    const request = this.#secure ? https.request(options) : http.request(options);
    request.setNoDelay(true);
    // A host that disappears without a word is noticed by the kernel, also under a silent watch.
    if (agent === undefined) request.once("socket", (socket: Socket) => socket.setKeepAlive(true, 30_000));
    request.end(body);
    return request;
  }

  /** Awaits the head, then `read`; all of it within `timeoutMs` and until the signal aborts. */
  async #within<T>(
    request: http.ClientRequest,
    timeoutMs: number,
    signal: AbortSignal,
    read: (head: http.IncomingMessage) => Promise<T>,
  ): Promise<T> {
    const abort = () => request.destroy(new Error("aborted"));
    signal.addEventListener("abort", abort, { once: true });
    // It may have aborted while the credentials were being read; the listener would never hear of it.
    if (signal.aborted) abort();
    const timer = setTimeout(() => request.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    try {
      const head = await new Promise<http.IncomingMessage>((resolve, reject) => {
        request.once("response", resolve);
        // Stays for the request's life: an error without a listener would end the process.
        request.on("error", reject);
      });
      return await read(head);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    }
  }

  #unreachable(init: RequestInit, error: unknown): Error {
    if (
      error instanceof KubeStatusError ||
      (error as { code?: string }).code?.startsWith("SLUICE_") === true
    ) {
      return error as Error;
    }
    const why = (error instanceof Error && error.message !== "" ? error.message : String(error)).trim();
    return new KubeUnreachableError(
      `${this.#name} (${this.#base.origin}): ${init.method} ${init.path.split("?")[0]}: ${why}`,
      { cause: error },
    );
  }
}

async function readBody(response: http.IncomingMessage, limitBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limitBytes) {
      response.destroy();
      throw new Error(`the answer is longer than ${limitBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size).toString("utf8");
}

/** What an API's metav1.Status, or any other error answer, says. */
export function statusError(
  name: string,
  init: Pick<RequestInit, "method" | "path">,
  answer: Answer,
): KubeStatusError {
  let message = answer.body.slice(0, 500).trim();
  let reason = "";
  try {
    const status = JSON.parse(answer.body) as { message?: unknown; reason?: unknown } | null;
    if (typeof status?.message === "string") message = status.message;
    if (typeof status?.reason === "string") reason = status.reason;
  } catch {
    // Not JSON (a proxy in between, for instance): its text is the message.
  }
  return new KubeStatusError(
    `${name}: ${init.method} ${init.path.split("?")[0]}: ${answer.status} ${reason}: ${message}`,
    { status: answer.status, reason },
  );
}
