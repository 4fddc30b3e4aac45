import { Agent, request } from "node:http";
import { decode, parseJson } from "@sluice/contracts";
import { createGuard, type Guard } from "@sluice/service-kit";
import Type from "typebox";
import type { CheckVerdicts } from "./checks/active-checks.ts";
import type { NginxNameRow, NginxRow, NginxRowName } from "./nginx-row.ts";
import { TrafficAnswer } from "./route-traffic.ts";

const Count = Type.Integer({ minimum: 0 });
const Applied = Type.Object({
  instance: Type.String(),
  revision: Count,
  free: Count,
  refused: Type.Optional(Type.Array(Type.Object({ i: Count, why: Type.String() }))),
});
const Other = Type.Object({ instance: Type.String() });
const Hold = Type.Object({
  upstream: Type.String(),
  cluster: Type.String(),
  /** Empty: the whole cluster, for this upstream. */
  peer: Type.String(),
  until: Type.Number(),
  /** Its time is over, and nobody has tried it with success yet. */
  ended: Type.Optional(Type.Literal(true)),
  /** It misses the agent's checks. */
  checks: Type.Optional(Type.Literal(true)),
});
/** A peer, or a cluster's peers of one upstream, that nginx keeps out since requests failed there. */
export type NginxHold = Type.Static<typeof Hold>;
const State = Type.Object({
  instance: Type.String(),
  revision: Count,
  seeded: Count,
  free: Count,
  capacity: Count,
  /** Hash of the configuration that the answering worker runs with. */
  config: Type.String(),
  worker: Count,
  workers: Count,
  /** Workers that still listen with the configuration before this one; absent: none. */
  old: Type.Optional(Count),
  nginx: Type.String(),
  counters: Type.Record(Type.String(), Count),
  held: Type.Optional(Type.Array(Hold)),
});
export type NginxState = Type.Static<typeof State>;
const Keys = Type.Object({
  instance: Type.String(),
  keys: Type.Optional(
    Type.Array(
      Type.Union([
        Type.Object({ k: Type.Literal("cluster"), cluster: Type.String() }),
        Type.Object({ k: Type.Literal("upstream"), id: Type.String() }),
        Type.Object({ k: Type.Literal("peers"), upstream: Type.String(), cluster: Type.String() }),
        Type.Object({ k: Type.Literal("route"), host: Type.String() }),
        Type.Object({ k: Type.Literal("secret"), id: Type.String() }),
      ]),
    ),
  ),
});

const Connections = Type.Object({
  active: Count,
  reading: Count,
  writing: Count,
  waiting: Count,
  /** Since nginx began. */
  accepted: Count,
  handled: Count,
  requests: Count,
});
/** Connections to all of nginx's listeners. */
export type NginxConnections = Type.Static<typeof Connections>;

export type ApplyAnswer =
  | { readonly restarted: false; readonly refused: readonly { readonly i: number; readonly why: string }[] }
  /** It is another nginx than was expected, and has taken nothing. */
  | { readonly restarted: true };

/** nginx, as the agent talks to it. */
export interface NginxClient extends Disposable {
  apply(
    rows: readonly (NginxRow | NginxNameRow)[],
    expect: string,
    signal: AbortSignal,
  ): Promise<ApplyAnswer>;
  /** `fresh`: over a connection of its own, which only workers that still listen will answer. */
  state(signal: AbortSignal, fresh?: boolean): Promise<NginxState>;
  keys(signal: AbortSignal): Promise<{ readonly instance: string; readonly keys: readonly NginxRowName[] }>;
  /** Called when a connection that was kept has closed: nginx may have ended. */
  onClose(listener: () => void): void;
}

/** Half of a surrogate pair, as JSON.stringify writes it. */
const HALF = /(?<!\\)(?:\\\\)*\\ud[89a-f][0-9a-f]{2}/;

/** nginx's JSON reader refuses all rows of a request for half a character in one of them. */
function isHalved(text: string): boolean {
  return text.includes("\\ud") && HALF.test(text);
}

/** Milliseconds for one call; a worker answers in less than ten. */
const CALL_MS = 2000;

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

export class UnixNginxClient implements NginxClient {
  readonly #socketPath: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  // Nginx that is being started again must be met at once: half open after a fifth of a second.
  readonly #guard: Guard;
  readonly #onClose = new Set<() => void>();

  /** @param callMs milliseconds for one call */
  constructor(socketPath: string, callMs = CALL_MS) {
    this.#socketPath = socketPath;
    this.#guard = createGuard({ name: "nginx", timeoutMs: callMs, resetMs: 200 });
  }

  onClose(listener: () => void): void {
    this.#onClose.add(listener);
  }

  async apply(
    rows: readonly (NginxRow | NginxNameRow)[],
    expect: string,
    signal: AbortSignal,
  ): Promise<ApplyAnswer> {
    const texts = rows.map((row) => JSON.stringify(row));
    const sound = texts.flatMap((text, i) => (isHalved(text) ? [] : [i]));
    const sent = `{"expect":${JSON.stringify(expect)},"rows":[${sound.map((i) => texts[i]).join(",")}]}`;
    const { status, body } = await this.#call("POST", "/apply", sent, signal);
    if (status === 409) {
      decode(Other, body, "nginx /apply");
      return { restarted: true };
    }
    const { refused } = decode(Applied, body, "nginx /apply");
    const said = (refused ?? []).map(({ i, why }) => ({ i: sound[i] ?? i, why }));
    if (sound.length === rows.length) return { restarted: false, refused: said };
    const halves = texts.flatMap((text, i) => (isHalved(text) ? [{ i, why: "it is no Unicode" }] : []));
    return { restarted: false, refused: [...said, ...halves].sort((a, b) => a.i - b.i) };
  }

  /** @returns false when it is another nginx than was expected */
  async tell(verdicts: CheckVerdicts, expect: string, signal: AbortSignal): Promise<boolean> {
    const { status, body } = await this.#call(
      "POST",
      "/checks",
      JSON.stringify({ expect, ...verdicts }),
      signal,
    );
    decode(Other, body, "nginx /checks");
    return status === 200;
  }

  async state(signal: AbortSignal, fresh = false): Promise<NginxState> {
    const { body } = await this.#call("GET", "/state", null, signal, fresh);
    return decode(State, body, "nginx /state");
  }

  async keys(signal: AbortSignal): Promise<{ instance: string; keys: readonly NginxRowName[] }> {
    const { body } = await this.#call("GET", "/keys", null, signal);
    const { instance, keys } = decode(Keys, body, "nginx /keys");
    return { instance, keys: keys ?? [] };
  }

  /** What requests came to since somebody asked before. */
  async traffic(signal: AbortSignal): Promise<TrafficAnswer> {
    const { body } = await this.#call("POST", "/traffic", null, signal);
    return decode(TrafficAnswer, body, "nginx /traffic");
  }

  async connections(signal: AbortSignal): Promise<NginxConnections> {
    const { body } = await this.#call("GET", "/connections", null, signal);
    return decode(Connections, body, "nginx /connections");
  }

  #call(
    method: string,
    path: string,
    body: string | null,
    signal: AbortSignal,
    fresh = false,
  ): Promise<Answer> {
    return this.#guard.run(async (limit) => {
      try {
        return await this.#once(method, path, body, limit, fresh);
      } catch (error) {
        // A reload closes connections that were kept, maybe just as we write; all calls may be repeated.
        if (!(error instanceof ClosedError) || limit.aborted) throw error;
        return await this.#once(method, path, body, limit, fresh);
      }
    }, signal);
  }

  #once(
    method: string,
    path: string,
    body: string | null,
    signal: AbortSignal,
    fresh: boolean,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          socketPath: this.#socketPath,
          path,
          method,
          signal,
          agent: fresh ? false : this.#agent,
          headers: body === null ? {} : { "content-length": Buffer.byteLength(body) },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("error", reject);
          response.on("end", () => {
            try {
              resolve({
                status: response.statusCode ?? 0,
                body: parseJson(Buffer.concat(chunks), `nginx ${path}`),
              });
            } catch (error) {
              reject(error);
            }
          });
        },
      );
      sent.on("socket", (socket) => {
        if (fresh || socket.listenerCount("close", this.#closed) > 0) return;
        socket.on("close", this.#closed);
      });
      sent.on("error", (error: NodeJS.ErrnoException) => {
        const closed = sent.reusedSocket && (error.code === "ECONNRESET" || error.code === "EPIPE");
        reject(closed ? new ClosedError(error.message, { cause: error }) : error);
      });
      sent.end(body ?? undefined);
    });
  }

  readonly #closed = () => {
    for (const listener of this.#onClose) listener();
  };

  [Symbol.dispose](): void {
    this.#onClose.clear();
    this.#agent.destroy();
  }
}

/** A connection that was kept was closed under a call. */
class ClosedError extends Error {}
