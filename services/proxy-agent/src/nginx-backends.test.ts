// Peers that speak TLS, and those that speak gRPC.
import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import type { ClientHttp2Session } from "node:http2";
import { join } from "node:path";
import { before, type TestContext, test } from "node:test";
import { isCipherList } from "@sluice/ingress";
import {
  type BackendIngress,
  type BackendWorld,
  backendWorld,
  grpcBackend,
  httpsBackend,
} from "./testing/backend-world.ts";
import {
  type TestAuthority,
  type TestCertificate,
  testAuthority,
  testCertificate,
} from "./testing/certificates.ts";
import { testNginx } from "./testing/proxy-world.ts";
import { http2Session } from "./testing/tls-clients.ts";

const HOST = "shop.example.test";
let ours: TestAuthority;
let theirs: TestAuthority;
let good: TestCertificate;

before(async () => {
  ours = await testAuthority("backends");
  theirs = await testAuthority("others");
  good = await testCertificate(ours, ["shop.example.test"]);
});

const https = (more: Record<string, string> = {}) => ({ "backend-protocol": "HTTPS", ...more });
const verified = (more: Record<string, string> = {}) =>
  https({
    "proxy-ssl-verify": "on",
    "proxy-ssl-name": "shop.example.test",
    "proxy-ssl-secret": "backend",
    ...more,
  });
const path = (backend: string, annotations: Record<string, string>, host = HOST): BackendIngress => ({
  host,
  backend,
  annotations,
});

async function statusOf({ nginx }: BackendWorld, host = HOST): Promise<number> {
  return (await nginx.get("/x", { host })).status;
}

test("a peer is spoken to by HTTPS, and who it says it is counts where that is asked for", async (t) => {
  const right = await httpsBackend(t, "127.25.70.1", { certificate: good });
  const strange = await httpsBackend(t, "127.25.70.2", {
    certificate: await testCertificate(theirs, ["shop.example.test"]),
  });
  const misnamed = await httpsBackend(t, "127.25.70.3", {
    certificate: await testCertificate(ours, ["other.example.test"]),
  });
  const world = await backendWorld(t, { right: [right], strange: [strange], misnamed: [misnamed] });
  const authorities = { backend: { "ca.crt": ours.certificate } };

  await world.show({}, path("strange", https()));
  assert.deepEqual(world.verdicts, []);
  assert.equal(await statusOf(world), 200);
  assert.deepEqual(strange.seen.at(-1), {
    protocol: "1.1",
    host: HOST,
    path: "/x",
    name: "",
    client: "",
    connection: 1,
  });

  await world.show(authorities, path("right", verified({ "proxy-ssl-server-name": "on" })));
  assert.deepEqual(world.verdicts, []);
  assert.equal(await statusOf(world), 200);
  assert.equal(right.seen.at(-1)?.name, "shop.example.test");

  for (const backend of ["strange", "misnamed"]) {
    await world.show(authorities, path(backend, verified()));
    assert.equal(await statusOf(world), 502, backend);
  }

  // Another authority is another set of certificates that are right.
  await world.show({ backend: { "ca.crt": theirs.certificate } }, path("strange", verified()));
  await t.waitFor(async () => assert.equal(await statusOf(world), 200), { timeout: 60_000, interval: 20 });
});

test("a certificate that has ended is none", async (t) => {
  const dates = { notBefore: new Date(0), notAfter: new Date(1000) };
  const ended = await httpsBackend(t, "127.25.71.1", {
    certificate: await testCertificate(ours, ["shop.example.test"], { dates }),
  });
  const world = await backendWorld(t, { ended: [ended] });
  await world.show({ backend: { "ca.crt": ours.certificate } }, path("ended", verified()));
  assert.equal(await statusOf(world), 502);
  await world.show({}, path("ended", https()));
  assert.equal(await statusOf(world), 200);
});

test("a request goes over no connection that was made for another TLS identity, nor in clear", async (t) => {
  const shop = await testCertificate(ours, ["client.example.test"], { subject: "CN=shop's proxy" });
  const peer = await httpsBackend(t, "127.25.72.1", { certificate: good, clients: ours.certificate });
  const open = await httpsBackend(t, "127.25.72.2", { certificate: good });
  const world = await backendWorld(t, { peer: [peer], open: [open] });
  const secrets = {
    backend: { "ca.crt": ours.certificate, "tls.crt": shop.chain, "tls.key": shop.key },
    authorities: { "ca.crt": ours.certificate },
  };
  await world.show(
    secrets,
    path("peer", verified(), "a.example.test"),
    // The same peer, without the certificate that it asks for.
    path("peer", verified({ "proxy-ssl-secret": "authorities" }), "b.example.test"),
    path("open", https(), "c.example.test"),
    path("open", verified({ "proxy-ssl-secret": "authorities" }), "d.example.test"),
    path(
      "open",
      https({ "proxy-ssl-name": "e.example.test", "proxy-ssl-server-name": "on" }),
      "e.example.test",
    ),
    path("open", {}, "f.example.test"),
  );
  assert.deepEqual(world.verdicts, []);
  const ask = async (host: string) => [await statusOf(world, host), peer.seen.at(-1)?.client];
  assert.deepEqual(await ask("a.example.test"), [200, "shop's proxy"]);
  // With one set of connections for all it would be served, as shop's proxy.
  const [status] = await ask("b.example.test");
  assert.ok(status === 400 || status === 502, String(status));
  assert.deepEqual(await ask("a.example.test"), [200, "shop's proxy"]);
  assert.deepEqual(
    peer.seen.map(({ connection }) => connection),
    [1, 1],
    "connections are kept",
  );
  for (const host of ["c", "d", "e", "c", "d", "e"])
    assert.equal(await statusOf(world, `${host}.example.test`), 200);
  assert.deepEqual(
    open.seen.map(({ connection, name }) => [connection, name]),
    [1, 2, 3, 1, 2, 3].map((connection) => [connection, connection === 3 ? "e.example.test" : ""]),
  );
  // In clear there is no TLS connection to ride.
  assert.notEqual(await statusOf(world, "f.example.test"), 200);
});

test("what cannot be proved closes the paths of its object, and no others", async (t) => {
  const peer = await httpsBackend(t, "127.25.73.1", { certificate: good });
  const world = await backendWorld(t, { peer: [peer] });
  const secrets = { backend: { "ca.crt": ours.certificate }, empty: { other: "x" }, missing: null };
  const closed: readonly (readonly [annotations: Record<string, string>, why: RegExp])[] = [
    [verified({ "proxy-ssl-secret": "missing" }), /ProtectionRefused .*Secret shop\/missing is missing/],
    [verified({ "proxy-ssl-secret": "empty" }), /ProtectionRefused .*it has no ca\.crt/],
    [verified({ "proxy-ssl-secret": "other/backend" }), /ProtectionRefused .*another namespace/],
    [
      https({ "proxy-ssl-verify": "on", "proxy-ssl-name": HOST }),
      /ProtectionRefused .*needs proxy-ssl-secret/,
    ],
    [
      https({ "proxy-ssl-verify": "on", "proxy-ssl-secret": "backend" }),
      /ProtectionRefused .*needs proxy-ssl-name/,
    ],
    [verified({ "proxy-ssl-verify": "yes" }), /ProtectionRefused .*proxy-ssl-verify/],
    [{ "backend-protocol": "FCGI" }, /BackendUnsupported .*FCGI is not spoken here/],
    [{ "backend-protocol": "ajp" }, /BackendUnsupported .*AJP is not spoken here/],
  ];
  await world.show(
    secrets,
    path("peer", verified()),
    ...closed.map(([annotations], i) => path("peer", annotations, `${i}.example.test`)),
    path("peer", verified({ "proxy-ssl-secret": "later" }), "later.example.test"),
  );
  assert.equal(await statusOf(world), 200);
  // Of a Secret that nobody could look at yet nothing is told: no peer's certificate is right until then.
  assert.equal(await statusOf(world, "later.example.test"), 502);
  for (const [i, [, why]] of closed.entries()) {
    assert.equal(await statusOf(world, `${i}.example.test`), 503, String(why));
    const said = world.verdicts.filter((line) => line.startsWith(`ingress-${i + 1} `));
    assert.ok(
      said.some((line) => why.test(line)),
      said.join("\n"),
    );
  }
});

test("what is of another shape is told, and its default holds", async (t) => {
  const peer = await httpsBackend(t, "127.25.74.1", { certificate: good });
  const world = await backendWorld(t, { peer: [peer] });
  const wrong = {
    "proxy-ssl-ciphers": "HIGH; deny all",
    "proxy-ssl-protocols": "SSLv3",
    "proxy-ssl-verify-depth": "0",
  };
  await world.show({ backend: { "ca.crt": ours.certificate } }, path("peer", verified(wrong)));
  assert.equal(await statusOf(world), 200);
  for (const name of Object.keys(wrong)) {
    assert.ok(
      world.verdicts.some((line) =>
        line.includes(`AnnotationInvalid metadata.annotations[nginx.ingress.kubernetes.io/${name}]`),
      ),
    );
  }
  const right = { "proxy-ssl-ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256", "proxy-ssl-protocols": "TLSv1.2" };
  await world.show({}, path("peer", https(right)));
  assert.deepEqual(world.verdicts, []);
  assert.equal(await statusOf(world), 200);
});

test("the certificate that peers are shown changes without a reload, and its key stands in no file but nginx's secrets", async (t) => {
  const [first, second] = await Promise.all(
    ["first", "second"].map((name) =>
      testCertificate(ours, ["client.example.test"], { subject: `CN=${name}` }),
    ),
  );
  const peer = await httpsBackend(t, "127.25.76.1", { certificate: good, clients: ours.certificate });
  const world = await backendWorld(t, { peer: [peer] });
  const secret = (shown: TestCertificate) => ({
    backend: { "ca.crt": ours.certificate, "tls.crt": shown.chain, "tls.key": shown.key },
  });
  await world.show(secret(first!), path("peer", verified()));
  assert.deepEqual([await statusOf(world), peer.seen.at(-1)?.client], [200, "first"]);
  const { config } = await world.nginx.client.state(t.signal);
  await world.show(secret(second!), path("peer", verified()));
  await t.waitFor(
    async () => {
      // A connection that is kept has shown the first one.
      peer.closeConnections();
      assert.deepEqual([await statusOf(world), peer.seen.at(-1)?.client], [200, "second"]);
    },
    { timeout: 60_000, interval: 20 },
  );
  assert.equal((await world.nginx.client.state(t.signal)).config, config);

  const { dir } = world.nginx.options;
  // As it is written anew before it is sealed; of its lines the second holds what is secret.
  const [, , line = ""] = createPrivateKey(second!.key)
    .export({ type: "pkcs8", format: "pem" })
    .toString()
    .split("\n");
  assert.ok(line.length > 40);
  const holding = async () => {
    const files = (await readdir(dir, { recursive: true, withFileTypes: true })).filter((entry) =>
      entry.isFile(),
    );
    const texts = files.map(async (entry) => [
      entry.name,
      await readFile(join(entry.parentPath, entry.name), "utf8"),
    ]);
    return (await Promise.all(texts)).filter(([, text]) => text?.includes(line)).map(([name]) => name);
  };
  await t.waitFor(async () => assert.deepEqual(await holding(), ["secrets.jsonl"]), { timeout: 60_000 });
  assert.equal((await stat(join(dir, "secrets.jsonl"))).mode & 0o777, 0o600);
  assert.equal((await stat(dir)).mode & 0o777, 0o700);
});

interface GrpcAnswer {
  readonly status: string;
  readonly messages: string;
  readonly trailer: string;
}

/** Sends these one by one, each when the one before it has come back. */
function call(
  session: ClientHttp2Session,
  host: string,
  method: string,
  messages: readonly string[],
): Promise<GrpcAnswer> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ":method": "POST",
      ":authority": host,
      ":path": method,
      "content-type": "application/grpc",
      te: "trailers",
    });
    const answer = { status: "", messages: "", trailer: "" };
    let sent = 0;
    const next = () => {
      const message = messages[sent++];
      if (message === undefined) stream.end();
      else stream.write(message);
    };
    stream.on("response", (headers) => {
      answer.status = String(headers[":status"]);
      // An answer without a body says all in its header.
      answer.trailer = String(headers["grpc-status"] ?? "");
    });
    stream.on("trailers", (trailers) => {
      answer.trailer = String(trailers["grpc-status"]);
    });
    stream.on("data", (chunk: Buffer) => {
      answer.messages += chunk.toString();
      if (answer.messages.length === messages.slice(0, sent).join("").length) next();
    });
    stream.on("error", reject);
    stream.on("close", () => resolve(answer));
    next();
  });
}

async function grpcWorld(t: TestContext, ...given: readonly BackendIngress[]) {
  const clear = await grpcBackend(t, "127.25.75.1");
  const secure = await grpcBackend(t, "127.25.75.2", { certificate: good });
  const world = await backendWorld(t, { clear: [clear], secure: [secure] });
  await world.show({ backend: { "ca.crt": ours.certificate } }, ...given);
  return { clear, secure, world };
}

test("gRPC goes through: a call, a stream that goes both ways, a status, in clear and by TLS", async (t) => {
  const { clear, secure, world } = await grpcWorld(
    t,
    path("clear", { "backend-protocol": "GRPC" }, "clear.example.test"),
    path(
      "secure",
      { ...verified({ "proxy-ssl-server-name": "on" }), "backend-protocol": "GRPCS" },
      "secure.example.test",
    ),
    path(
      "clear",
      { "backend-protocol": "GRPC", "upstream-vhost": "inside.example.test", "rewrite-target": "/y" },
      "vhost.example.test",
    ),
  );
  assert.equal(world.verdicts.length, 1);
  assert.match(String(world.verdicts[0]), /^ingress-2 AnnotationInvalid .*rewrite-target.* stays as it is/);
  for (const [host, backend] of [
    ["clear.example.test", clear],
    ["secure.example.test", secure],
    ["vhost.example.test", clear],
  ] as const) {
    const session = await http2Session(world.nginx, host);
    t.after(() => session.destroy());
    assert.deepEqual(await call(session, host, "/shop.Cart/Get", ["one"]), {
      status: "200",
      messages: "one",
      trailer: "0",
    });
    assert.deepEqual(await call(session, host, "/shop.Cart/Watch", ["a", "bb", "ccc"]), {
      status: "200",
      messages: "abbccc",
      trailer: "0",
    });
    assert.equal((await call(session, host, "/refuse", ["x"])).trailer, "7");
    const last = backend.seen.findLast(({ path: asked }) => asked === "/shop.Cart/Get");
    assert.equal(last?.host, host === "vhost.example.test" ? "inside.example.test" : host);
    assert.equal(last?.name, host === "secure.example.test" ? "shop.example.test" : "");
  }
});

test("nginx takes every list of suites and versions that an annotation may hold", async (t) => {
  const suites = `AES128-GCM-SHA256 AES256-GCM-SHA384 AES128-SHA256 AES256-SHA256 AES128-SHA AES256-SHA
    DHE-RSA-AES128-GCM-SHA256 DHE-RSA-AES256-GCM-SHA384 DHE-RSA-CHACHA20-POLY1305`;
  const elliptic = ["ECDSA", "RSA"].flatMap((key) =>
    `AES128-GCM-SHA256 AES256-GCM-SHA384 CHACHA20-POLY1305 AES128-SHA256 AES256-SHA384 AES128-SHA AES256-SHA`
      .split(" ")
      .map((suite) => `ECDHE-${key}-${suite}`),
  );
  const without = "aNULL eNULL NULL EXPORT LOW DES 3DES RC4 MD5 PSK SRP DSS CAMELLIA kRSA SHA1"
    .split(" ")
    .map((name) => `!${name}`);
  const lists = [
    ...suites.split(/\s+/),
    ...elliptic,
    ["DEFAULT", ...without].join(":"),
    ["HIGH", ...without].join(":"),
  ];
  assert.deepEqual(
    lists.filter((list) => !isCipherList(list)),
    [],
  );
  for (const list of [
    "",
    "!aNULL",
    "AES128-SHA:!kRSA",
    "HIGH:!HIGH",
    "FOO",
    "HIGH:DEFAULT",
    "HIGH ; x",
    "TLS_AES_128_GCM_SHA256",
  ]) {
    assert.equal(isCipherList(list), false, list);
  }
  const profiles = Object.fromEntries(
    lists.map((tlsCiphers, i) => [
      `p${i}`,
      {
        protocol: i % 2 === 0 ? "https" : "grpcs",
        tlsCiphers,
        tlsProtocols: "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3",
      } as const,
    ]),
  );
  const nginx = await testNginx(t, { workers: 1, profiles });
  assert.match((await nginx.client.state(t.signal)).nginx, /^1\./);
});
