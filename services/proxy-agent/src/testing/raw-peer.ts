import { connect, createServer, type Socket } from "node:net";
import type { TestContext } from "node:test";
import type { NginxRow } from "../nginx-row.ts";

/** A peer that keeps what it is sent to the byte and answers with its name. */
export interface RawPeer {
  readonly name: string;
  /** Whole requests, as text of one byte a character. */
  readonly requests: string[];
  readonly row: NginxRow;
}

/** The body's length that a request says, or null while its header is not there. */
function lengthOf(text: string): number | null {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return null;
  const length = /^content-length: *(\d+)\r$/im.exec(text.slice(0, end + 2))?.[1];
  return end + 4 + Number(length ?? 0);
}

export async function rawPeer(t: TestContext, address: string, name: string): Promise<RawPeer> {
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      const length = lengthOf(text);
      if (length === null || text.length < length) return;
      requests.push(text);
      text = "";
      socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${name.length}\r\nConnection: close\r\n\r\n${name}`);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, address, resolve);
  });
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : 0;
  const row: NginxRow = { k: "peers", upstream: name, cluster: "member1", peers: [[address, port, 1]] };
  return { name, requests, row };
}

/** Sends bytes and reads until the other side closes. @param at `host:port` */
export function sendRaw(at: string, bytes: string, signal: AbortSignal): Promise<string> {
  const [host = "", port] = at.split(":");
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), signal });
    let seen = "";
    socket.on("data", (chunk: Buffer) => {
      seen += chunk.toString("latin1");
    });
    // A refused request may be answered before all of it was read: that is no fault.
    socket.on("error", (error: NodeJS.ErrnoException) =>
      error.code === "ECONNRESET" || error.code === "EPIPE" ? resolve(seen) : reject(error),
    );
    socket.on("close", () => resolve(seen));
    socket.write(Buffer.from(bytes, "latin1"));
  });
}
