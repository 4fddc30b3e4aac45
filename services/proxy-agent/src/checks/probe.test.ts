import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import { createServer as createHttp2, type Http2Server, type ServerHttp2Stream } from "node:http2";
import { createServer as createTcp, type Server, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import type { HealthCheck } from "@sluice/contracts";
import { networkProbe } from "./probe.ts";

const times = { intervalMs: 1000, timeoutMs: 1000, misses: 2, passes: 2 };

async function listening(t: TestContext, server: Server | Http2Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });
  const at = server.address();
  return typeof at === "object" && at !== null ? at.port : 0;
}

/** @returns null when it passed, else why not */
async function asked(
  check: Omit<HealthCheck, keyof typeof times>,
  port: number,
  signal: AbortSignal,
): Promise<string | null> {
  try {
    await networkProbe({ ...times, ...check }, { address: "127.0.0.1", port }, signal);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** A port that nobody listens on. */
async function closedPort(): Promise<number> {
  const server = createTcp();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const at = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return typeof at === "object" && at !== null ? at.port : 0;
}

test("http: a status within what counts passes, asked by its path and host, over a connection of its own", async (t) => {
  const seen: string[] = [];
  const connections = new Set<Socket>();
  const answer: RequestListener = (request, response) => {
    connections.add(request.socket);
    seen.push(`${request.method} ${request.url} ${request.headers.host}`);
    response.writeHead(Number(request.url?.slice(1)) || 200).end("a body of which nothing is read");
  };
  const port = await listening(t, createServer(answer));
  const http = (path: string, more: Partial<HealthCheck> = {}) =>
    asked({ kind: "http", path, ...more }, port, t.signal);
  assert.equal(await http("/"), null);
  assert.equal(await http("/399"), null);
  assert.equal(await http("/404"), "it answered 404");
  assert.equal(await http("/503", { host: "shop.example.test" }), "it answered 503");
  assert.equal(await http("/404", { statusFrom: 404, statusTo: 404 }), null);
  assert.equal(await http("/200", { statusFrom: 404, statusTo: 404 }), "it answered 200");
  assert.equal(seen[0], `GET / 127.0.0.1:${port}`);
  assert.equal(seen[3], "GET /503 shop.example.test");
  assert.equal(connections.size, 6);
});

test("http and tcp: who refuses, who is silent and who speaks something else has missed", async (t) => {
  const closed = await closedPort();
  assert.match((await asked({ kind: "http", path: "/" }, closed, t.signal)) ?? "", /ECONNREFUSED/);
  assert.match((await asked({ kind: "tcp" }, closed, t.signal)) ?? "", /ECONNREFUSED/);
  const silent = await listening(
    t,
    createTcp(() => {}),
  );
  assert.equal(await asked({ kind: "tcp" }, silent, t.signal), null, "a connection is all that tcp asks for");
  for (const kind of ["http", "grpc"]) {
    const over = new AbortController();
    const answer = asked({ kind, path: "/" }, silent, over.signal);
    over.abort();
    assert.equal(await answer, "no answer in time");
  }
  const noise = await listening(
    t,
    createTcp((socket) => socket.end("220 mail.example.test\r\n")),
  );
  assert.notEqual(await asked({ kind: "http", path: "/" }, noise, t.signal), null);
  assert.notEqual(await asked({ kind: "grpc" }, noise, t.signal), null);
});

test("grpc: SERVING passes, and nothing else", async (t) => {
  const message = (bytes: readonly number[]) => Buffer.from([0, 0, 0, 0, bytes.length, ...bytes]);
  const answers: Readonly<Record<string, readonly [message: Buffer, status: string]>> = {
    "": [message([8, 1]), "0"],
    "shop.Cart": [message([8, 1]), "0"],
    stopping: [message([8, 2]), "0"],
    unknown: [message([]), "0"],
    missing: [Buffer.alloc(0), "5"],
    huge: [message(Array.from({ length: 200 }, () => 0)), "0"],
  };
  const server = createHttp2();
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", () => {});
    stream.on("end", () => {
      assert.equal(headers[":path"], "/grpc.health.v1.Health/Check");
      const body = Buffer.concat(chunks);
      assert.equal(body.readUInt32BE(1), body.length - 5);
      const [bytes, status] = answers[body.subarray(7).toString()] ?? [Buffer.alloc(0), "13"];
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": status }));
      stream.end(bytes);
    });
  });
  const port = await listening(t, server);
  const grpc = (service?: string) =>
    asked({ kind: "grpc", ...(service === undefined ? {} : { service }) }, port, t.signal);
  assert.equal(await grpc(), null);
  assert.equal(await grpc("shop.Cart"), null);
  assert.equal(await grpc("stopping"), "it does not serve");
  assert.equal(await grpc("unknown"), "it does not serve");
  assert.equal(await grpc("missing"), "grpc-status 5");
  assert.equal(await grpc("huge"), "its answer is none of grpc.health.v1");
});
