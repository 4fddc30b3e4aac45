// Streams of every kind, each of which can be asked at any time whether data still goes through it.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { createServer, request, type ServerResponse } from "node:http";
import {
  type ClientHttp2Stream,
  connect as connectHttp2,
  createServer as createHttp2,
  type ServerHttp2Stream,
} from "node:http2";
import { connect, type Socket } from "node:net";
import type { TestContext } from "node:test";
import type { TestNginx } from "./proxy-world.ts";

/** Bytes of one piece; several of the buffers that nginx has for them. */
const PIECE = 16 * 1024;

export interface Stream {
  /** Sends something through it, and resolves once it has come out at the other end. */
  works(): Promise<void>;
  /** Of the client's connection to nginx. */
  readonly localPort: number;
  close(): void;
}

/**
 * A peer that streams: `/down/ID` and `/events/ID` are told what to say, `/up/ID` counts, an upgrade is echoed. The same by
 * gRPC on a port of its own: `/grpc/down/ID` is told what to say, `/grpc/both/ID` sends back what comes.
 */
export interface StreamPeer {
  readonly address: string;
  readonly port: number;
  readonly grpcPort: number;
  say(id: string, text: string | Buffer): void;
  /** Bytes that have come up. */
  received(id: string): number;
}

export async function streamPeer(t: TestContext, address: string): Promise<StreamPeer> {
  const open = new Map<string, ServerResponse | ServerHttp2Stream>();
  const counts = new Map<string, number>();
  const sockets = new Set<Socket>();
  const server = createServer((asked, answer) => {
    const [, kind, id = ""] = (asked.url ?? "").split("/");
    if (kind === "up") {
      asked.on("data", (piece: Buffer) => counts.set(id, (counts.get(id) ?? 0) + piece.length));
      asked.on("end", () => answer.end(String(counts.get(id))));
      return;
    }
    answer.writeHead(200, {
      "content-type": kind === "events" ? "text/event-stream" : "application/octet-stream",
    });
    // nginx 1.22 keeps a header without a body to itself, over TLS and HTTP/2.
    answer.write("data: hello\n\n");
    open.set(id, answer);
  });
  server.on("upgrade", (_, socket: Socket) => {
    socket.on("error", () => socket.destroy());
    socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    socket.pipe(socket);
  });
  const calls = createHttp2();
  calls.on("stream", (stream, headers) => {
    const [, , kind, id = ""] = String(headers[":path"]).split("/");
    stream.on("error", () => stream.destroy());
    stream.respond({ ":status": 200, "content-type": "application/grpc" });
    if (kind === "both") return void stream.pipe(stream);
    stream.write(message(0));
    open.set(id, stream);
  });
  const ports: number[] = [];
  for (const each of [server, calls]) {
    each.on("connection", (socket: Socket) => {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      each.once("error", reject);
      each.listen(0, address, resolve);
    });
    const bound = each.address();
    ports.push(typeof bound === "object" && bound !== null ? bound.port : 0);
    t.after(async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => each.close(() => resolve()));
    });
  }
  const [port = 0, grpcPort = 0] = ports;
  return {
    address,
    port,
    grpcPort,
    say: (id, text) => void open.get(id)?.write(text),
    received: (id) => counts.get(id) ?? 0,
  };
}

/** What has come so far, as a number that somebody waits to grow. */
class Tally {
  #bytes = 0;
  #error: Error | null = null;
  #changed = Promise.withResolvers<void>();

  add(bytes: number): void {
    this.#bytes += bytes;
    this.#wake();
  }

  fail(error: Error): void {
    this.#error ??= error;
    this.#wake();
  }

  #wake(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers();
    resolve();
  }

  get bytes(): number {
    return this.#bytes;
  }

  check(): void {
    if (this.#error !== null) throw this.#error;
  }

  async reaches(bytes: number, signal: AbortSignal): Promise<void> {
    const over = () => this.fail(signal.reason as Error);
    signal.addEventListener("abort", over, { once: true });
    try {
      while (this.#bytes < bytes) {
        this.check();
        await this.#changed.promise;
      }
    } finally {
      signal.removeEventListener("abort", over);
    }
  }
}

const cut = (what: string) => () => new Error(`${what} was cut`);

export type StreamKind =
  | "websocket"
  | "server-sent events"
  | "download"
  | "upload"
  | "download over HTTP/2"
  | "gRPC's stream of a server"
  | "gRPC's stream of both sides";
export const streamKinds: readonly StreamKind[] = [
  "websocket",
  "server-sent events",
  "download",
  "upload",
  "download over HTTP/2",
  "gRPC's stream of a server",
  "gRPC's stream of both sides",
];

/** As gRPC frames it: not compressed, and its length. */
function message(length: number): Buffer {
  const framed = Buffer.alloc(5 + length);
  framed.writeUInt32BE(length, 1);
  return framed;
}

let opened = 0;

export async function openStream(
  kind: StreamKind,
  { options }: TestNginx,
  host: string,
  peer: StreamPeer,
  signal: AbortSignal,
): Promise<Stream> {
  const id = String(++opened);
  const tally = new Tally();
  const error = cut(`${kind} ${id}`);
  const limit = () => AbortSignal.any([signal, AbortSignal.timeout(60_000)]);
  const [address = "", port = ""] = options.httpAddress.split(":");
  const down = (localPort: number, close: () => void): Stream => ({
    localPort,
    close,
    async works() {
      const before = tally.bytes;
      const piece = kind === "server-sent events" ? "data: tick\n\n" : Buffer.alloc(PIECE);
      peer.say(id, piece);
      await tally.reaches(before + piece.length, limit());
    },
  });
  /** On a session of its own. */
  const overHttp2 = (headers: Readonly<Record<string, string>>) => {
    const session = connectHttp2(`https://${options.httpsAddress}`, { rejectUnauthorized: false });
    session.on("error", (cause) => tally.fail(cause));
    session.on("close", () => tally.fail(error()));
    const stream: ClientHttp2Stream = session.request(
      { ":authority": host, ...headers },
      { endStream: headers[":method"] === undefined },
    );
    stream.on("error", (cause: Error) => tally.fail(cause));
    stream.on("close", () => tally.fail(error()));
    stream.on("data", (piece: Buffer) => tally.add(piece.length));
    return { session, stream };
  };
  if (kind === "download over HTTP/2") {
    const { session } = overHttp2({ ":path": `/down/${id}` });
    await tally.reaches(1, limit());
    return down(session.socket.localPort ?? 0, () => session.destroy());
  }
  if (kind === "gRPC's stream of a server" || kind === "gRPC's stream of both sides") {
    const both = kind === "gRPC's stream of both sides";
    const { session, stream } = overHttp2({
      ":method": "POST",
      ":path": `/grpc/${both ? "both" : "down"}/${id}`,
      "content-type": "application/grpc",
      te: "trailers",
    });
    stream.write(message(0));
    if (!both) stream.end();
    await tally.reaches(1, limit());
    const localPort = session.socket.localPort ?? 0;
    const close = () => session.destroy();
    return {
      localPort,
      close,
      async works() {
        const before = tally.bytes;
        const piece = message(PIECE);
        if (both) stream.write(piece);
        else peer.say(id, piece);
        await tally.reaches(before + piece.length, limit());
      },
    };
  }
  if (kind === "websocket") {
    const socket = connect({ host: address, port: Number(port) });
    socket.on("error", (cause) => tally.fail(cause));
    socket.on("close", () => tally.fail(error()));
    const greeted = new Promise<void>((resolve) => socket.once("data", () => resolve()));
    socket.write(
      `GET /ws/${id} HTTP/1.1\r\nHost: ${host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n`,
    );
    await greeted;
    socket.on("data", (piece) => tally.add(piece.length));
    return {
      localPort: socket.localPort ?? 0,
      close: () => socket.destroy(),
      async works() {
        const before = tally.bytes;
        socket.write("tick");
        await tally.reaches(before + 4, limit());
      },
    };
  }
  const path = kind === "upload" ? `/up/${id}` : `/${kind === "download" ? "down" : "events"}/${id}`;
  const sent = request({
    host: address,
    port: Number(port),
    path,
    method: kind === "upload" ? "POST" : "GET",
    headers: { host },
    agent: false,
  });
  sent.on("error", (cause) => tally.fail(cause));
  sent.on("close", () => tally.fail(error()));
  if (kind === "upload") {
    sent.flushHeaders();
    const [socket] = (await once(sent, "socket")) as [Socket];
    if (socket.connecting) await once(socket, "connect");
    return {
      localPort: socket.localPort ?? 0,
      close: () => sent.destroy(),
      async works() {
        const before = peer.received(id);
        sent.write(Buffer.alloc(PIECE));
        const over = limit();
        // Nothing of it waits for the rest: it is with the peer while the request goes on.
        while (peer.received(id) < before + PIECE) {
          over.throwIfAborted();
          tally.check();
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      },
    };
  }
  sent.end();
  const [answer] = (await once(sent, "response")) as [import("node:http").IncomingMessage];
  answer.on("error", (cause) => tally.fail(cause));
  answer.on("data", (piece: Buffer) => tally.add(piece.length));
  await tally.reaches(1, limit());
  return down(answer.socket.localPort ?? 0, () => sent.destroy());
}

function once(emitter: NodeJS.EventEmitter, event: string): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    emitter.once(event, (...args: unknown[]) => resolve(args));
    emitter.once("error", reject);
  });
}

/** Of these processes the one that holds the other end of a loopback connection. */
export function holderOf(localPort: number, pids: readonly number[]): number | undefined {
  const hex = localPort.toString(16).toUpperCase().padStart(4, "0");
  const line = readFileSync("/proc/net/tcp", "utf8")
    .split("\n")
    .map((text) => text.trim().split(/\s+/))
    .find(([, , remote]) => remote?.endsWith(`:${hex}`) === true);
  const inode = line?.[9];
  return pids.find((pid) =>
    readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`;
      } catch (error) {
        // Closed between the two looks.
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
        throw error;
      }
    }),
  );
}
