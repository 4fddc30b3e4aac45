import { connect } from "node:tls";

/** Sends headers as they are: no client of Node's would send what servers have to refuse. */
export interface RawHttp2Request {
  /** Bytes, one a character, in their order; what begins with a colon too. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body?: string;
}

const HEADERS = 1;
const RESET = 3;
const SETTINGS = 4;
const GO_AWAY = 7;
const END_STREAM = 1;
const END_HEADERS = 4;
/** HPACK's static table has these statuses from here on. */
const STATUSES = [200, 204, 206, 304, 400, 404, 500];
const FIRST_STATUS = 0x88;
const LITERAL_STATUS = 0x48;

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** RFC 7541 5.2: a length of seven bits and more, and the bytes as they are. */
function literal(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  const length: number[] = [];
  let rest = bytes.length;
  if (rest < 127) length.push(rest);
  else {
    length.push(127);
    for (rest -= 127; rest >= 128; rest = rest >> 7) length.push((rest & 127) | 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}

function statusOf(block: Buffer): number {
  const [first = 0] = block;
  const known = STATUSES[first - FIRST_STATUS];
  if (known !== undefined) return known;
  if (first === LITERAL_STATUS && block[1] === 3) return Number(block.toString("latin1", 2, 5));
  throw new Error(`no status: ${block.toString("hex", 0, 8)}`);
}

/** What the frames that came so far say; null: nothing yet. */
function outcomeOf(bytes: Buffer): number | "reset" | null {
  let status: number | null = null;
  for (let at = 0; at + 9 <= bytes.length; ) {
    const end = at + 9 + bytes.readUIntBE(at, 3);
    if (end > bytes.length) break;
    const [type, flags] = [bytes.readUInt8(at + 3), bytes.readUInt8(at + 4)];
    if (type === HEADERS) status = statusOf(bytes.subarray(at + 9, end));
    if (status === null && (type === RESET || type === GO_AWAY)) return "reset";
    if (status !== null && (type <= HEADERS ? (flags & END_STREAM) !== 0 : type === RESET)) return status;
    at = end;
  }
  return null;
}

/** @param at `host:port` @returns the status, or `reset` where the stream or the connection ends without one */
export function sendRawHttp2(
  at: string,
  { headers, body }: RawHttp2Request,
  signal: AbortSignal,
): Promise<number | "reset"> {
  const [host = "", port] = at.split(":");
  const block = Buffer.concat(
    headers.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]),
  );
  const end = body === undefined ? END_HEADERS | END_STREAM : END_HEADERS;
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port: Number(port),
      ALPNProtocols: ["h2"],
      rejectUnauthorized: false,
      servername: "shop.example.test",
    });
    const done = (outcome: number | "reset") => {
      resolve(outcome);
      socket.destroy();
    };
    let seen = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      seen = Buffer.concat([seen, chunk]);
      const outcome = outcomeOf(seen);
      if (outcome !== null) done(outcome);
    });
    socket.on("error", (error: NodeJS.ErrnoException) =>
      error.code === "ECONNRESET" || error.code === "EPIPE" ? done("reset") : reject(error),
    );
    socket.on("close", () => done("reset"));
    signal.addEventListener("abort", () => socket.destroy(signal.reason as Error), { once: true });
    socket.on("secureConnect", () => {
      socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
      socket.write(frame(SETTINGS, 0, 0, Buffer.alloc(0)));
      socket.write(frame(HEADERS, end, 1, block));
      if (body !== undefined) socket.write(frame(0, END_STREAM, 1, Buffer.from(body, "latin1")));
    });
  });
}
