import { once } from "node:events";
import http2 from "node:http2";
import { Agent, type RequestOptions, request } from "node:https";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import type { NginxSecret } from "../nginx-row.ts";
import type { TestCertificate } from "./certificates.ts";
import { readAnswer, type TestAnswer, type TestNginx } from "./proxy-world.ts";

export function certificateRow(id: string, { chain, key }: TestCertificate): NginxSecret {
  return { k: "secret", id, chain, key };
}

function httpsOf(nginx: TestNginx): { host: string; port: number } {
  const [host = "", port] = (nginx.options.httpsAddress ?? "").split(":");
  return { host, port: Number(port) };
}

/** What a client was shown, and the socket while it is needed. */
export interface Shown {
  /** Serial number of the leaf, in lower case; `""`: none. */
  readonly serial: string;
  readonly subject: string;
  readonly protocol: string | null;
  readonly cipher: string;
  readonly resumed: boolean;
  readonly socket: TLSSocket;
  /** What it may be resumed by; by TLS 1.3 they come after the handshake. */
  readonly sessions: readonly Buffer[];
}

/** A handshake. Nobody is trusted, nobody is checked: tests look at what was shown. */
export async function shake(
  nginx: TestNginx,
  name: string | null,
  more: ConnectionOptions = {},
): Promise<Shown> {
  const socket = connect({
    ...httpsOf(nginx),
    ...(name === null ? {} : { servername: name }),
    rejectUnauthorized: false,
    ...more,
  });
  const sessions: Buffer[] = [];
  socket.on("session", (session: Buffer) => sessions.push(session));
  await once(socket, "secureConnect");
  const peer = socket.getPeerCertificate();
  const shown = {
    serial: (peer.serialNumber ?? "").toLowerCase(),
    subject: String(peer.subject?.CN ?? ""),
    protocol: socket.getProtocol(),
    cipher: socket.getCipher().name,
    resumed: socket.isSessionReused(),
    socket,
    sessions,
  };
  return shown;
}

/** The same, with the socket closed. */
export async function shownTo(
  nginx: TestNginx,
  name: string | null,
  more: ConnectionOptions = {},
): Promise<Omit<Shown, "socket">> {
  const { socket, ...shown } = await shake(nginx, name, more);
  socket.destroy();
  return shown;
}

/** A session that a later connection may resume, once its own has served a request. */
export async function sessionOf(
  nginx: TestNginx,
  name: string,
  more: ConnectionOptions = {},
): Promise<Buffer> {
  const { socket, sessions } = await shake(nginx, name, more);
  socket.write(`GET / HTTP/1.1\r\nHost: ${name}\r\n\r\n`);
  await once(socket, "data");
  socket.destroy();
  const session = sessions.at(-1);
  if (session === undefined) throw new Error(`no session with ${name}`);
  return session;
}

/** A request over a TLS connection of its own, unless `agent` says otherwise. */
export function secureGet(
  nginx: TestNginx,
  path: string,
  more: RequestOptions & ConnectionOptions & { readonly name?: string; readonly body?: string } = {},
): Promise<TestAnswer> {
  const began = performance.now();
  const { name = "shop.example.test", body: sentBody, headers, ...options } = more;
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        ...httpsOf(nginx),
        path,
        servername: name,
        rejectUnauthorized: false,
        agent: new Agent({ keepAlive: false, maxCachedSessions: 0 }),
        headers: { host: name, ...headers },
        ...options,
      },
      (response) => readAnswer(response, began).then(resolve, reject),
    );
    sent.on("error", reject);
    sent.end(sentBody);
  });
}

/** An HTTP/2 session with nginx; closed with the stack. */
export async function http2Session(
  nginx: TestNginx,
  name: string,
  more: ConnectionOptions = {},
): Promise<http2.ClientHttp2Session> {
  const { host, port } = httpsOf(nginx);
  const session = http2.connect(`https://${name}`, {
    createConnection: () =>
      connect({ host, port, servername: name, ALPNProtocols: ["h2"], rejectUnauthorized: false, ...more }),
  });
  await once(session, "connect");
  return session;
}

export interface Http2Answer {
  readonly status: number;
  readonly headers: http2.IncomingHttpHeaders;
  readonly body: string;
}

export function http2Request(
  session: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body?: string,
): Promise<Http2Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers, { endStream: body === undefined });
    let text = "";
    let answered: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader = {};
    stream.on("response", (given) => {
      answered = given;
    });
    stream.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    stream.on("error", reject);
    stream.on("end", () => resolve({ status: answered[":status"] ?? 0, headers: answered, body: text }));
    if (body !== undefined) stream.end(body);
  });
}
