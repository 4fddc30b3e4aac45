import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { testAuthority, testCertificate } from "./testing/certificates.ts";
import { peersRow, testNginx, testPod } from "./testing/proxy-world.ts";
import { certificateRow, http2Request, http2Session } from "./testing/tls-clients.ts";

const HOST = "shop.example.test";

test("a client that speaks HTTP/2", async (t) => {
  const nginx = await testNginx(t, {
    https: true,
    httpsPort: 443,
    profiles: {
      rewrites: { rewrites: true },
      small: { maxBodyBytes: 1000 },
      stream: { requestBuffering: false, responseBuffering: false },
    },
  });
  const pods = await Promise.all(
    ["127.25.0.1", "127.25.0.2"].map((address, i) => testPod(t, address, `shop-${i + 1}`)),
  );
  // Sends each piece of a body back as it comes.
  const echo = createServer((request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    request.pipe(response);
  });
  await new Promise<void>((resolve) => echo.listen(0, "127.25.0.9", resolve));
  nginx.users.defer(() => {
    echo.closeAllConnections();
    echo.close();
  });
  const { port } = echo.address() as { port: number };
  const authority = await testAuthority("example authority");
  await nginx.apply(
    certificateRow("shop-tls", await testCertificate(authority, [HOST])),
    { k: "upstream", id: "shop" },
    { k: "upstream", id: "echo" },
    peersRow("shop", "member1", ...pods),
    { k: "peers", upstream: "echo", cluster: "member1", peers: [["127.25.0.9", port, 1]] },
    {
      k: "route",
      host: HOST,
      certificate: "shop-tls",
      paths: [
        ["P", "/", "shop", "default"],
        ["E", "/old", "", "default", { redirect: [301, "/new"] }],
        ["R", "/api/(.*)", "shop", "rewrites", { rewrite: "/v1/$1", vhost: "inner.example.test" }],
        [
          "P",
          "/session",
          "shop",
          "default",
          { balance: { method: "cookie", cookie: { name: "s", path: "/" } } },
        ],
        ["P", "/small", "shop", "small"],
        ["P", "/stream", "echo", "stream"],
        ["P", "/nobody", "", "default"],
      ],
    },
  );
  const session = await http2Session(nginx, HOST);
  nginx.users.defer(() => session.destroy());
  const ask = (path: string, headers: Record<string, string> = {}, body?: string) =>
    http2Request(
      session,
      { ":path": path, ":authority": HOST, ":method": body === undefined ? "GET" : "POST", ...headers },
      body,
    );
  const served = () => pods.map(({ last }) => last);

  await t.test("is answered by the same peers, which see https and HTTP/1.1", async () => {
    assert.equal(session.alpnProtocol, "h2");
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask("/cart?a=1")));
    assert.deepEqual(
      new Set(answers.map(({ status, body }) => `${status} ${body}`)),
      new Set(["200 shop-1", "200 shop-2"]),
    );
    for (const { headers, url } of served()) {
      assert.deepEqual([url, headers.host, headers["x-forwarded-proto"]], ["/cart?a=1", HOST, "https"]);
    }
  });

  await t.test("is redirected and told what is missing", async () => {
    const moved = await ask("/old");
    assert.deepEqual([moved.status, moved.headers.location], [301, `https://${HOST}/new`]);
    const nobody = await ask("/nobody");
    assert.deepEqual([nobody.status, nobody.headers["x-sluice-reason"]], [503, "no-backend"]);
    assert.equal(nobody.headers["strict-transport-security"], "max-age=31536000; includeSubDomains");
    assert.equal((await http2Request(session, { ":path": "/", ":authority": "elsewhere.test" })).status, 404);
  });

  await t.test("has its requests rewritten", async () => {
    assert.equal((await ask("/api/items?b=2")).status, 200);
    const last = served().find(({ url }) => url === "/v1/items?b=2");
    assert.equal(last?.headers.host, "inner.example.test");
    assert.equal(last?.headers["x-forwarded-host"], HOST);
  });

  await t.test("keeps its session, by a cookie for https", async () => {
    const first = await ask("/session");
    const [cookie = ""] = first.headers["set-cookie"] ?? [];
    assert.match(cookie, /; Secure/);
    const again = await Promise.all(
      Array.from({ length: 10 }, () => ask("/session", { cookie: cookie.split(";")[0] ?? "" })),
    );
    assert.deepEqual(new Set(again.map(({ body }) => body)), new Set([first.body]));
  });

  await t.test("is held to the size of a body, said or not", async () => {
    const large = "x".repeat(2000);
    const before = pods.map(({ requests }) => requests);
    assert.equal((await ask("/small", { "content-length": "2000" }, large)).status, 413);
    assert.equal((await ask("/small", {}, large)).status, 413);
    // Of the default profile: 1 MiB.
    assert.equal((await ask("/cart", {}, "x".repeat(1_100_000))).status, 413);
    assert.deepEqual(
      pods.map(({ requests }) => requests),
      before,
    );
    assert.equal((await ask("/small", {}, "x".repeat(900))).status, 200);
    assert.equal((await ask("/cart", {}, "x".repeat(1_000_000))).status, 200);
  });

  await t.test("streams up and down at once", async () => {
    const stream = session.request({ ":path": "/stream", ":method": "POST" });
    for (let i = 0; i < 5; i++) {
      stream.write(`piece ${i}`);
      // Nothing more is sent before this piece has come back.
      const [back] = (await once(stream, "data")) as [Buffer];
      assert.equal(back.toString(), `piece ${i}`);
    }
    stream.end();
    await once(stream, "end");
  });
});
