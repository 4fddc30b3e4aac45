// What a fleet's ConfigMap says of listeners, on a real nginx: reloaded with each as an agent would.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import type { IncomingHttpHeaders } from "node:http";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import type { ListenerSettings } from "@sluice/ingress";
import { systemClock } from "@sluice/service-kit";
import { accessLogPathOf } from "./access-log.ts";
import { keptListeners, prepareNginx } from "./prepare-nginx.ts";
import { type ReloadOutcome, reloadNginx } from "./reload-nginx.ts";
import { testAuthority, testCertificate } from "./testing/certificates.ts";
import { peersRow, routeRow, type TestNginx, testNginx, testPod } from "./testing/proxy-world.ts";
import { sendRaw } from "./testing/raw-peer.ts";
import { certificateRow, http2Session, secureGet, shake, shownTo } from "./testing/tls-clients.ts";

const HOST = "shop.example.test";
const soon = { timeout: 60_000, interval: 20 };
const REQUEST = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`;
const PREFACE = "PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\n";

function bring(
  t: TestContext,
  { client: nginx, options }: TestNginx,
  listeners: Partial<ListenerSettings>,
): Promise<ReloadOutcome> {
  const ports = { nginx, clock: systemClock, signal: t.signal };
  return reloadNginx({ ...options, listeners }, new Map(), ports);
}

/** Resolves once nginx has closed a connection on which this was sent. */
function closed(address: string, sent: string, signal: AbortSignal): Promise<string> {
  const [host = "", port] = address.split(":");
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect({ host, port: Number(port), signal }, () => socket.write(sent));
    socket.setEncoding("utf8");
    socket.on("data", (more: string) => {
      text += more;
    });
    socket.on("error", reject);
    socket.on("close", () => resolve(text));
  });
}

const told = (headers: IncomingHttpHeaders) =>
  ["x-real-ip", "x-forwarded-for", "x-forwarded-proto"].map((name) => headers[name]);

test("what the fleet says of listeners holds after a reload", async (t) => {
  const nginx = await testNginx(t, { workers: 1, https: true, secretsMegabytes: 16 });
  const pod = await testPod(t, "127.25.71.1", "web");
  const { httpAddress, dir } = nginx.options;
  const shop = await testCertificate(await testAuthority("example authority"), [HOST]);
  await nginx.apply(
    peersRow("web", "member1", pod),
    { k: "upstream", id: "nobody" },
    certificateRow("shop-tls", shop),
    { k: "route", host: HOST, paths: [["P", "/", "web", "default"]], certificate: "shop-tls" },
    routeRow("empty.example.test", "nobody"),
  );
  const having = async (listeners: Partial<ListenerSettings>) =>
    assert.deepEqual(await bring(t, nginx, listeners), { ok: true });
  const lies = { "x-forwarded-for": "198.51.100.7", "x-forwarded-proto": "https", "x-client": "192.0.2.5" };
  const said = async (headers: Record<string, string> = lies) => {
    assert.equal((await nginx.get("/", { headers, fresh: true })).status, 200);
    return told(pod.last.headers);
  };

  await t.test("whose word on clients is taken, as in ingress-nginx", async () => {
    assert.deepEqual(await said(), ["127.0.0.1", "127.0.0.1", "http"]);
    await having({ forwardedHeaders: true });
    assert.deepEqual(
      await said(),
      ["198.51.100.7", "198.51.100.7", "https"],
      "everybody's, where no CIDR is said",
    );
    await having({ forwardedHeaders: true, trusted: "192.0.2.0/24" });
    assert.deepEqual(await said(), ["127.0.0.1", "127.0.0.1", "http"]);
    await having({ forwardedHeaders: true, trusted: "" });
    assert.deepEqual(await said(), ["127.0.0.1", "127.0.0.1", "http"], "nobody's");
    await having({ realIp: true, forwardedForHeader: "X-Client", trusted: "127.0.0.0/8" });
    assert.deepEqual(await said(), ["192.0.2.5", "192.0.2.5", "http"], "the address alone");
    await having({ forwardedHeaders: true, fullForwardedFor: true });
    assert.deepEqual(await said(), ["198.51.100.7", "198.51.100.7, 127.0.0.1", "https"]);
  });

  await t.test("PROXY protocol on both listeners, and its address before that of a header", async () => {
    await having({ proxyProtocol: true, forwardedHeaders: true, fullForwardedFor: true });
    const forwarded = REQUEST.replace("Connection", "X-Forwarded-For: 198.51.100.7\r\nConnection");
    assert.match(await sendRaw(httpAddress, PREFACE + forwarded, t.signal), /^HTTP\/1\.1 200 /);
    assert.deepEqual(told(pod.last.headers), ["203.0.113.9", "198.51.100.7, 203.0.113.9", "http"]);
    const before = pod.requests;
    assert.doesNotMatch(await sendRaw(httpAddress, REQUEST, t.signal), / 200 /);
    assert.equal(pod.requests, before, "who sends none is not served");
    await assert.rejects(shownTo(nginx, HOST), "nor by TLS");
    await having({});
    assert.deepEqual(await said({}), ["127.0.0.1", "127.0.0.1", "http"]);
  });

  await t.test("HSTS", async () => {
    const hsts = async () => (await secureGet(nginx, "/")).headers["strict-transport-security"];
    assert.equal(await hsts(), "max-age=31536000; includeSubDomains");
    await having({ hstsMaxAgeSeconds: 60, hstsSubdomains: false, hstsPreload: true });
    assert.equal(await hsts(), "max-age=60; preload");
    await having({ hsts: false });
    assert.equal(await hsts(), undefined);
  });

  await t.test("versions, suites and sessions of TLS, and HTTP/2", async () => {
    await having({
      tlsProtocols: "TLSv1.3",
      tlsCurves: "P-256",
      tlsSessionTickets: true,
      tlsBufferBytes: 8192,
    });
    assert.equal((await shownTo(nginx, HOST)).protocol, "TLSv1.3");
    await assert.rejects(shownTo(nginx, HOST, { maxVersion: "TLSv1.2" }), /alert|protocol/i);
    await assert.rejects(shownTo(nginx, HOST, { ecdhCurve: "X25519" }), /alert|handshake/i);
    const suite = "ECDHE-ECDSA-AES256-GCM-SHA384";
    await having({ tlsProtocols: "TLSv1.2", tlsCiphers: suite, tlsSessionCache: false, http2: false });
    assert.equal((await shownTo(nginx, HOST)).cipher, suite);
    const { socket } = await shake(nginx, HOST, { ALPNProtocols: ["h2", "http/1.1"] });
    assert.equal(socket.alpnProtocol, "http/1.1");
    socket.destroy();
    await having({ http2Streams: 3, tlsSessionCacheBytes: 2 ** 21, tlsSessionSeconds: 60 });
    const session = await http2Session(nginx, HOST);
    await t.waitFor(() => assert.equal(session.remoteSettings.maxConcurrentStreams, 3), soon);
    session.destroy();
  });

  await t.test(
    "suites with which nobody could be greeted are taken back, though nginx loads them",
    async () => {
      await having({ hstsMaxAgeSeconds: 90 });
      // Its certificates are of the other kind.
      const outcome = await bring(t, nginx, {
        tlsProtocols: "TLSv1.2",
        tlsCiphers: "ECDHE-RSA-AES128-GCM-SHA256",
      });
      assert.equal(outcome.ok, false);
      assert.match(
        outcome.ok ? "" : outcome.why,
        /^a request of the agent's own, by TLS, was not answered: /,
      );
      assert.equal(
        (await secureGet(nginx, "/")).headers["strict-transport-security"],
        "max-age=90; includeSubDomains",
      );
      assert.deepEqual(
        await keptListeners(dir),
        { hstsMaxAgeSeconds: 90 },
        "a start of nginx goes on with what does",
      );
    },
  );

  await t.test("how long connections and headers may be", async () => {
    await having({ keepAliveRequests: 2 });
    const twice = REQUEST.replace("Connection: close\r\n", "").repeat(2);
    const answers = await closed(httpAddress, twice, t.signal);
    assert.equal(answers.match(/HTTP\/1\.1 200/g)?.length, 2, "and then it is closed");
    await having({ keepAliveMs: 0 });
    assert.equal(
      (await nginx.get("/", { fresh: true, headers: { connection: "keep-alive" } })).headers.connection,
      "close",
    );
    await having({ headerTimeoutMs: 1000 });
    assert.doesNotMatch(await closed(httpAddress, "GET / HTTP/1.1\r\nHost:", t.signal), / 200 /);
    const long = (bytes: number) => nginx.get("/", { fresh: true, headers: { "x-long": "x".repeat(bytes) } });
    await having({ headerBufferBytes: 1024, largeHeaderBuffers: "2 2048" });
    assert.deepEqual([(await long(100)).status, (await long(3000)).status], [200, 400]);
    await having({ largeHeaderBuffers: "4 16384" });
    assert.equal((await long(12_000)).status, 200);
    const none = { host: "empty.example.test", fresh: true, headers: { "x-long": "x".repeat(12_000) } };
    assert.equal((await nginx.get("/", none)).status, 503, "also where nginx asks itself");
  });

  await t.test("what nginx says of itself, and of requests", async () => {
    await having({
      versionTold: true,
      requestIds: false,
      accessLog: true,
      unloggedUrls: "/healthz,/ready?full=1",
    });
    const { headers } = await nginx.get("/healthz", { fresh: true });
    assert.match(String(headers.server), /^nginx\/[0-9.]+/);
    assert.equal(pod.last.headers["x-request-id"], undefined);
    for (const path of ["/ready?full=1", "/healthz?x", "/ready"]) await nginx.get(path);
    await t.waitFor(async () => {
      const paths = (await readFile(accessLogPathOf(dir), "utf8")).trim().split("\n");
      assert.deepEqual(paths.map((line) => (JSON.parse(line) as { path: string }).path).slice(-2), [
        "/healthz",
        "/ready",
      ]);
    }, soon);
    await having({});
    assert.equal((await nginx.get("/", { fresh: true })).headers["server"], "nginx");
    assert.notEqual(pod.last.headers["x-request-id"], undefined);
  });

  await t.test("connections to peers, and how long streams outlive a reload", async () => {
    await having({
      peerConnections: 4,
      peerIdleMs: 5000,
      peerRequests: 1,
      peerLifeMs: 60_000,
      shutdownMs: 5000,
    });
    let connections = 0;
    pod.server.on("connection", () => connections++);
    for (let i = 0; i < 3; i++) assert.equal((await nginx.get("/")).status, 200);
    assert.equal(connections, 3, "each is for one request");
    const conf = () => readFile(`${dir}/nginx.conf`, "utf8");
    const before = await conf();
    assert.match(before, /^worker_shutdown_timeout 5000ms;$/m);
    await prepareNginx(nginx.options);
    assert.equal(await conf(), before, "a start of nginx goes on with what does");
  });
});
