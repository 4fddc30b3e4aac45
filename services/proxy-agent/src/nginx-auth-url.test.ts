// A service that is asked of each request, on a real nginx: good, slow, dead, and hostile ones.
import assert from "node:assert/strict";
import { request } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { AuthRequest } from "@sluice/contracts";
import fc from "fast-check";
import { testAuthority, testCertificate } from "./testing/certificates.ts";
import { type GuardedWorld, guardedWorld, HOST } from "./testing/guarded-world.ts";
import { type TestPod, testPod } from "./testing/proxy-world.ts";
import { http2Request, http2Session } from "./testing/tls-clients.ts";

const patience = { timeout: 60_000, interval: 20 };

/** What the service answers: a status and headers; undefined: 200. */
interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string;
}

interface AskedWorld extends GuardedWorld {
  readonly service: TestPod;
  answer: Answer;
  /** What is asked, beside whom; resolves when the name is known to nginx. */
  ask(more?: Partial<AuthRequest>): Promise<void>;
}

/** @param range third byte of addresses in 127.25.0.0/16 */
async function askedWorld(t: TestContext, range: number, workers = 1): Promise<AskedWorld> {
  const world = await guardedWorld(t, range, workers);
  const service = await testPod(t, `127.25.${range}.9`, "asked", undefined, () => {
    const { status = 200, body = "" } = asked.answer;
    return { status, body };
  });
  service.server.prependListener("request", (_request, response) => {
    for (const [name, value] of Object.entries(asked.answer.headers ?? {})) response.setHeader(name, value);
  });
  const asked: AskedWorld = {
    ...world,
    service,
    answer: {},
    async ask(more = {}) {
      const host = service.address;
      const auth = { host, port: service.port, method: "GET", target: [{ text: "/" }], ...more };
      await world.show({ "/": { auth } });
      await t.waitFor(async () => assert.notEqual((await world.nginx.get("/")).status, 500), patience);
    },
  };
  return asked;
}

test("the service sees what was asked for, the peer what the service says, and nobody a body or another's header", async (t) => {
  const world = await askedWorld(t, 80);
  const { nginx, pod, service } = world;
  world.answer = { headers: { "x-user": "alice", "x-groups": ["a", "b"], "x-other": "1" }, body: "welcome" };
  await world.ask({
    target: [
      { text: "/verify?of=" },
      { variable: "escaped_request_uri" },
      { text: "&m=" },
      { variable: "request_method" },
    ],
    headers: ["X-User", "X-Groups", "X-Roles"],
  });
  const answer = await nginx.get("/a%20b?x=1", {
    method: "POST",
    body: "secret body",
    headers: {
      authorization: "Bearer x",
      cookie: "a=1; b=2",
      "x-user": "mallory",
      "x-roles": "root",
      "x-original-url": "http://evil.example.test/",
      "x-forwarded-for": "192.0.2.1",
    },
  });
  assert.equal(answer.body, "web");
  const port = nginx.options.httpAddress.split(":")[1];
  assert.equal(service.last.url, "/verify?of=%2Fa%2520b%3Fx%3D1&m=POST");
  assert.equal(service.last.body, "");
  const { "x-request-id": id, ...seen } = service.last.headers;
  assert.match(String(id), /^[0-9a-f]{32}$/);
  assert.deepEqual(seen, {
    host: `${service.address}:${service.port}`,
    authorization: "Bearer x",
    cookie: "a=1; b=2",
    "x-user": "mallory",
    "x-roles": "root",
    "x-original-url": `http://${HOST}/a%20b?x=1`,
    "x-original-method": "POST",
    "x-sent-from": "nginx-ingress-controller",
    "x-real-ip": "127.0.0.1",
    "x-forwarded-for": "127.0.0.1",
    "x-scheme": "http",
    "x-auth-request-redirect": "/a%20b?x=1",
  });
  assert.ok(port !== undefined);
  const got = pod.last.headers;
  assert.deepEqual(
    [got["x-user"], got["x-groups"], got["x-roles"], got["x-other"], pod.last.body],
    ["alice", "a, b", undefined, undefined, "secret body"],
  );
  assert.equal(got.authorization, "Bearer x");
});

test("2xx lets in, 401 and 403 go to the client, all else is 500; the peer is asked only after 2xx", async (t) => {
  const world = await askedWorld(t, 81);
  const { nginx, pod } = world;
  await world.ask();
  for (const [status, expected] of [
    [200, 200],
    [204, 200],
    [299, 200],
    [401, 401],
    [403, 403],
    [400, 500],
    [302, 500],
    [304, 500],
    [404, 500],
    [500, 500],
    [503, 500],
  ] as const) {
    world.answer = { status, headers: { location: "https://elsewhere.example.test/" } };
    const before = pod.requests;
    const answer = await nginx.get("/");
    assert.equal(answer.status, expected, `${status}`);
    assert.equal(pod.requests - before, expected === 200 ? 1 : 0);
    assert.equal(answer.headers.location, undefined);
  }
  world.answer = { status: 401, headers: { "www-authenticate": 'Bearer realm="shop"' } };
  assert.equal((await nginx.get("/")).headers["www-authenticate"], 'Bearer realm="shop"');
});

test("who is not signed in is sent where that is done, with the way back; who may not is not", async (t) => {
  const world = await askedWorld(t, 82);
  const { nginx } = world;
  const back = [
    { variable: "scheme" },
    { text: "://" },
    { variable: "http_host" },
    { variable: "escaped_request_uri" },
  ];
  await world.ask({ signin: [{ text: "https://login.example.test/start?rd=" }, ...back] });
  world.answer = { status: 401, headers: { "set-cookie": "csrf=1" } };
  const answer = await nginx.get("/cart?x=1&y=/", { host: `${HOST}:8080` });
  assert.equal(answer.status, 302);
  assert.equal(
    answer.headers.location,
    `https://login.example.test/start?rd=http://${HOST}:8080%2Fcart%3Fx%3D1%26y%3D%2F`,
  );
  assert.deepEqual(answer.headers["set-cookie"], ["csrf=1"]);
  assert.equal(answer.headers["www-authenticate"], undefined);
  world.answer = { status: 403 };
  assert.equal((await nginx.get("/")).status, 403);
  await world.ask({ signin: [{ text: "/start?rd=" }, { variable: "escaped_request_uri" }] });
  world.answer = { status: 401 };
  assert.equal((await nginx.get("/x")).headers.location, `http://${HOST}/start?rd=%2Fx`);
});

test("a service cannot say where a request goes: such a row is refused, and the one before it serves on", async (t) => {
  const world = await askedWorld(t, 79);
  await world.ask({ headers: ["X-User"] });
  for (const name of ["Host", "content-length", "Transfer-Encoding", "Connection"]) {
    const auth = {
      host: world.service.address,
      port: world.service.port,
      method: "GET",
      target: [{ text: "/" }],
    };
    await world.show({ "/": { auth: { ...auth, headers: [name] } } });
    await t.waitFor(
      () =>
        assert.match(
          world.agent.records
            .at(-1)
            ?.problems.map(({ problem }) => problem)
            .join("\n") ?? "",
          new RegExp(`header ${name} is not for a service to say`),
        ),
      patience,
    );
    assert.equal((await world.nginx.get("/")).status, 200);
  }
});

test("cookies of the service go to the client beside the peer's: with good answers, or always where that is said", async (t) => {
  const world = await askedWorld(t, 83);
  const { nginx, pod } = world;
  let status = 200;
  pod.server.prependListener("request", (_request, response) => {
    response.setHeader("set-cookie", ["own=1", "own2=2"]);
    response.statusCode = status;
    const { writeHead } = response;
    response.writeHead = ((_: number) => writeHead.call(response, status)) as typeof writeHead;
  });
  world.answer = { headers: { "set-cookie": ["session=a; Path=/", "csrf=b"] } };
  const cookies = async () => (await nginx.get("/")).headers["set-cookie"];
  await world.ask();
  const all = ["own=1", "own2=2", "session=a; Path=/", "csrf=b"];
  assert.deepEqual(await cookies(), all);
  status = 404;
  assert.deepEqual(await cookies(), ["own=1", "own2=2"]);
  await world.ask({ alwaysSetCookie: true });
  assert.deepEqual(await cookies(), all);
});

test("a service that is dead, silent, unknown or where it may not be shuts out, and says so", {
  timeout: 120_000,
}, async (t) => {
  const world = await askedWorld(t, 84);
  const { nginx, agent, names, pod, service } = world;
  const shut = async (what: string) => {
    const before = pod.requests;
    const answer = await nginx.get("/");
    assert.deepEqual(
      [answer.status, answer.headers["x-sluice-reason"], pod.requests],
      [500, "auth-failed", before],
      what,
    );
  };
  const auth = { host: service.address, port: service.port, method: "GET", target: [{ text: "/" }] };
  const told = (problem: RegExp) =>
    t.waitFor(
      () =>
        assert.match(
          agent.records
            .at(-1)
            ?.problems.map((each) => each.problem)
            .join("\n") ?? "",
          problem,
        ),
      patience,
    );
  await world.ask();
  service.frozen = true;
  const silent = nginx.get("/");
  // Who waits for it keeps nobody else waiting.
  await setTimeout(100);
  service.frozen = false;
  assert.equal((await nginx.get("/", { fresh: true })).status, 200);
  for (const host of ["169.254.169.254", "127.0.0.1", "127.25.9.9", "::1", "0.0.0.0"]) {
    await world.show({ "/": { auth: { ...auth, host } } });
    await shut(host);
    await told(new RegExp(`auth-url ${host.replaceAll(".", "\\.")} may not be asked`));
  }
  await world.show({ "/": { auth: { ...auth, host: "auth.example.test" } } });
  await shut("unknown");
  await told(/auth-url auth\.example\.test cannot be looked up: nobody knows/);
  names.set("auth.example.test", { addresses: [service.address, "169.254.169.254"], ttlSeconds: 5 });
  await t.waitFor(async () => assert.equal((await nginx.get("/")).status, 200), patience);
  // It moves, and is found there.
  const other = await testPod(t, "127.25.84.10", "other", service.port);
  names.set("auth.example.test", { addresses: [other.address], ttlSeconds: 5 });
  await t.waitFor(async () => {
    await nginx.get("/");
    assert.ok(other.requests > 0);
  }, patience);
  await other.close();
  await shut("dead");
  assert.equal((await silent).status, 500);
});

test("an nginx that starts again without its agent knows where the service is", {
  timeout: 120_000,
}, async (t) => {
  const world = await askedWorld(t, 85);
  world.names.set("auth.example.test", { addresses: [world.service.address], ttlSeconds: 60 });
  await world.ask({ host: "auth.example.test" });
  await world.agent.stop();
  await world.nginx.restart("SIGKILL");
  assert.equal((await world.nginx.get("/")).status, 200);
  world.answer = { status: 403 };
  assert.equal((await world.nginx.get("/")).status, 403);
});

test("by HTTP/2, and with many requests at once, each is asked for on its own", {
  timeout: 120_000,
}, async (t) => {
  const world = await askedWorld(t, 86, 2);
  const { nginx, service } = world;
  await world.ask();
  service.server.prependListener("request", (request, response) => {
    response.statusCode = request.headers["x-may"] === "yes" ? 200 : 403;
    const { statusCode, writeHead } = response;
    response.writeHead = ((_: number) => writeHead.call(response, statusCode)) as typeof writeHead;
  });
  let connections = 0;
  service.server.on("connection", () => connections++);
  const session = await http2Session(nginx, HOST);
  for (let round = 0; round < 5; round++) {
    const all = Array.from({ length: 40 }, async (_, i) => {
      const may = (i * 7 + round) % 3 === 0 ? "yes" : "no";
      const { status } = await http2Request(
        session,
        { ":path": `/${i}`, ":method": i % 2 ? "GET" : "POST", "x-may": may },
        i % 2 ? undefined : "body",
      );
      return [may, status];
    });
    for (const [may, status] of await Promise.all(all)) assert.equal(status, may === "yes" ? 200 : 403);
  }
  assert.equal(service.last.headers["x-scheme"], "https");
  session.close();
  assert.ok(connections <= 2 * 40, `${connections} connections of two workers for 40 requests at once`);
});

test("a service that is silent has so many requests wait and no more", { timeout: 120_000 }, async (t) => {
  const world = await askedWorld(t, 84);
  const { nginx, service } = world;
  await world.ask();
  service.frozen = true;
  const [host = "", port] = nginx.options.httpAddress.split(":");
  let waiting = 0;
  let most = 0;
  service.server.on("request", (request) => {
    most = Math.max(most, ++waiting);
    request.socket.once("close", () => waiting--);
  });
  const refused: number[] = [];
  const clients = Array.from({ length: 540 }, () => {
    const client = request({ host, port: Number(port), headers: { host: HOST }, agent: false });
    client.on("response", (response) => {
      refused.push(response.statusCode ?? 0);
      response.resume();
    });
    client.on("error", () => client.destroy());
    client.end();
    return client;
  });
  await t.waitFor(() => assert.ok(refused.length >= 540 - 512), patience);
  for (const client of clients) client.destroy();
  assert.ok(most <= 512, `${most} waited`);
  assert.deepEqual(new Set(refused), new Set([500]));
  // The rest of nginx has not noticed.
  assert.equal((await nginx.get("/", { host: "other.example.test", fresh: true })).status, 404);
});

test("clients that go while a service is asked leave no request behind that waits", {
  timeout: 120_000,
}, async (t) => {
  const world = await askedWorld(t, 90);
  const { nginx, service } = world;
  await world.ask();
  service.frozen = true;
  let asked = 0;
  service.server.on("request", () => asked++);
  // As many as may wait, five times over: of those that stayed behind each time the last ones would find no room.
  for (let round = 1; round <= 5; round++) {
    const [host = "", port] = nginx.options.httpAddress.split(":");
    const clients: { destroy(): unknown }[] = [];
    for (let i = 0; i < 256; i++) {
      const client = request({ host, port: Number(port), headers: { host: HOST }, agent: false });
      client.on("error", () => client.destroy());
      client.end();
      clients.push(client);
    }
    const sessions = await Promise.all([1, 2].map(() => http2Session(nginx, HOST)));
    for (const [i, session] of sessions.entries()) {
      session.on("error", () => session.destroy());
      for (let each = 0; each < 128; each++) {
        const stream = session.request({ ":path": "/", ":authority": HOST });
        stream.on("error", () => stream.destroy());
        // Of one session each stream is reset, the other one ends with all of its streams.
        if (i === 0) clients.push(stream);
      }
    }
    await t.waitFor(() => assert.equal(asked, 512 * round), patience);
    for (const client of clients) client.destroy();
    for (const session of sessions) session.destroy();
    service.server.closeAllConnections();
    const open = async () => (await nginx.client.connections(t.signal)).active;
    await t.waitFor(async () => assert.ok(Number(await open()) < 10), patience);
  }
  service.frozen = false;
  assert.equal((await nginx.get("/")).status, 200);
});

test("a kept connection that the service has closed costs no request", { timeout: 120_000 }, async (t) => {
  const world = await askedWorld(t, 87);
  const { nginx, service } = world;
  await world.ask();
  for (let i = 0; i < 5; i++) {
    await Promise.all([1, 2, 3].map(() => nginx.get("/")));
    service.server.closeAllConnections();
    assert.equal((await nginx.get("/")).status, 200);
  }
});

test("a service by https is asked by its name", { timeout: 120_000 }, async (t) => {
  const world = await askedWorld(t, 88);
  const authority = await testAuthority("test");
  const { chain, key } = await testCertificate(authority, ["auth.example.test"]);
  const names: string[] = [];
  const server = createTlsServer(
    { cert: chain, key, SNICallback: (name, done) => done(names.push(name) > 0 ? null : null) },
    (request, response) => response.writeHead(request.headers["x-may"] === "yes" ? 200 : 403).end(),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.25.88.11", resolve));
  t.after(() => server.close());
  server.unref();
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : 0;
  world.names.set("auth.example.test", { addresses: ["127.25.88.11"], ttlSeconds: 60 });
  await world.ask({ host: "auth.example.test", port, secure: true });
  assert.equal((await world.nginx.get("/")).status, 403);
  for (let i = 0; i < 3; i++) {
    assert.equal((await world.nginx.get("/", { headers: { "x-may": "yes" } })).status, 200);
  }
  assert.deepEqual([...new Set(names)], ["auth.example.test"]);
  // On a port that speaks no TLS nobody is let in.
  await world.show({
    "/": {
      auth: {
        host: world.service.address,
        port: world.service.port,
        method: "GET",
        target: [{ text: "/" }],
        secure: true,
      },
    },
  });
  await t.waitFor(async () => assert.equal((await world.nginx.get("/")).status, 500), patience);
});

test("whatever bytes a service answers with, only a header of 2xx lets in", {
  timeout: 120_000,
}, async (t) => {
  const world = await askedWorld(t, 89);
  let bytes = "";
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.once("data", () => socket.end(Buffer.from(bytes, "latin1")));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.25.89.11", resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : 0;
  bytes = "HTTP/1.1 200 OK\r\n\r\n";
  await world.ask({ host: "127.25.89.11", port });
  const line = fc.constantFrom(
    "HTTP/1.1 200 OK",
    "HTTP/1.0 204 No Content",
    "HTTP/1.1 403 Forbidden",
    "HTTP/1.1 100 Continue",
    "HTTP/1.1 2000 OK",
    "HTTP/1.1 20 OK",
    "HTTP/2 200",
    "HTTP/1.1 200",
    "200 OK",
    "Set-Cookie: a=1",
    "set-cookie: a=\x001",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Transfer-Encoding: chunked",
    ": x",
    "x",
    " folded",
    "",
  );
  const answer = fc.oneof(
    fc
      .tuple(
        fc.array(fc.oneof(line, fc.string({ maxLength: 50 })), { maxLength: 8 }),
        fc.constantFrom("\r\n", "\n"),
      )
      .map(([lines, end]) => lines.join(end) + end + end),
    fc.constantFrom(
      `HTTP/1.1 200 OK\r\nX: ${"x".repeat(100_000)}\r\n\r\n`,
      `HTTP/1.1 200 ${"x".repeat(100_000)}`,
      "\r\n\r\n",
      "HTTP/1.1 200 OK\r\n",
    ),
    fc.string({ unit: "binary" }),
  );
  const head = (status: string) => `HTTP/1\\.[01] ${status}(?= |\r\n)[\\s\\S]*?\r\n\r\n`;
  const opens = new RegExp(`^(?:${head("1\\d\\d")})*${head("2\\d\\d")}`);
  await fc.assert(
    fc.asyncProperty(answer, async (given) => {
      bytes = given;
      const before = world.pod.requests;
      const { status } = await world.nginx.get("/");
      assert.ok([200, 401, 403, 500].includes(status), `${status}`);
      if (status === 200) assert.match(given, opens);
      assert.equal(world.pod.requests - before, status === 200 ? 1 : 0);
    }),
    { numRuns: 200 },
  );
  bytes = "HTTP/1.1 200 OK\r\n\r\n";
  assert.equal((await world.nginx.get("/")).status, 200);
});
