import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { NginxRow, PathEntry } from "./nginx-row.ts";
import { peersRow, routeRow, testNginx, testPod } from "./testing/proxy-world.ts";

test("hosts and paths are matched as Ingress v1 says", async (t) => {
  const nginx = await testNginx(t);
  const ids = ["exact", "prefix", "deep", "root", "wild", "fallback"];
  for (const [i, id] of ids.entries()) {
    await nginx.apply(peersRow(id, "member1", await testPod(t, `127.21.0.${i + 1}`, id)));
  }
  const at = (...paths: (readonly ["E" | "P", string, string])[]): PathEntry[] =>
    paths.map(([type, path, id]) => [type, path, id, "default"] as const);
  await nginx.apply(
    {
      k: "route",
      host: "shop.example.test",
      paths: at(
        ["P", "/", "root"],
        ["P", "/cart/", "prefix"],
        ["P", "/cart/items", "deep"],
        ["E", "/cart", "exact"],
      ),
    },
    { k: "route", host: "*.example.test", paths: at(["P", "/", "wild"]) },
    { k: "route", host: "only.example.test", paths: at(["E", "/one", "exact"]) },
    { k: "route", host: "", paths: at(["P", "/", "fallback"]) },
  );
  const cases: [host: string, path: string, expected: string | number][] = [
    ["shop.example.test", "/cart", "exact"],
    ["shop.example.test", "/cart/", "prefix"],
    ["shop.example.test", "/cart/x?y=1", "prefix"],
    ["shop.example.test", "/cartoon", "root"],
    ["shop.example.test", "/cart/items", "deep"],
    ["shop.example.test", "/cart/items/", "deep"],
    ["shop.example.test", "/cart/items/7/8", "deep"],
    ["shop.example.test", "/cart/itemset", "prefix"],
    ["SHOP.example.test:8080", "/", "root"],
    ["a.example.test", "/any", "wild"],
    ["a.b.example.test", "/any", "fallback"],
    ["example.test", "/any", "fallback"],
    ["only.example.test", "/one", "exact"],
    ["only.example.test", "/one/", 404],
    ["only.example.test", "/two", 404],
  ];
  for (const [host, path, expected] of cases) {
    // Both workers, each with what it has kept and without.
    for (const fresh of [true, true, false, false]) {
      const answer = await nginx.get(path, { host, fresh });
      assert.equal(answer.status === 200 ? answer.body : answer.status, expected, `${host}${path}`);
    }
  }
});

/** The rule of Ingress v1 again, written for being right instead of fast. */
function expected(paths: readonly PathEntry[], path: string): string | 404 {
  const exact = paths.find(([type, text]) => type === "E" && text === path);
  if (exact !== undefined) return exact[2];
  const elements = (text: string) =>
    text.split("/").filter((part, i, all) => i < all.length - 1 || part !== "");
  let best: PathEntry | undefined;
  for (const entry of paths) {
    if (entry[0] !== "P") continue;
    const [, text] = entry;
    const wanted = elements(text);
    if (!wanted.every((part, i) => part === elements(path)[i])) continue;
    if (best === undefined || text.length > best[1].length) best = entry;
  }
  return best?.[2] ?? 404;
}

test("whatever the paths of a host are, each request goes where the rule says", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  for (let i = 0; i < 4; i++) {
    await nginx.apply(peersRow(`u${i}`, "member1", await testPod(t, `127.21.1.${i + 1}`, `u${i}`)));
  }
  const element = fc.constantFrom("a", "b", "ab");
  const path = fc
    .tuple(fc.array(element, { maxLength: 3 }), fc.boolean())
    .map(([parts, slash]) => `/${parts.join("/")}${slash && parts.length > 0 ? "/" : ""}`);
  const entry = fc
    .tuple(fc.constantFrom("E" as const, "P" as const), path, fc.constantFrom("u0", "u1", "u2", "u3"))
    .map(([type, text, id]): PathEntry => [type, text, id, "default"]);
  const entries = fc.uniqueArray(entry, { maxLength: 6, selector: ([type, text]) => `${type}${text}` });
  await fc.assert(
    fc.asyncProperty(entries, fc.array(path, { minLength: 1, maxLength: 4 }), async (paths, requests) => {
      await nginx.apply({ k: "route", host: "shop.example.test", paths });
      for (const each of requests) {
        const { status, body } = await nginx.get(each);
        assert.equal(status === 200 ? body : status, expected(paths, each), each);
      }
    }),
    { numRuns: 60 },
  );
});

test("what has no backend answers 503, what has no route 404, and neither tells what lies behind", async (t) => {
  const nginx = await testNginx(t);
  await nginx.apply(
    {
      k: "route",
      host: "shop.example.test",
      paths: [
        ["P", "/broken", "", "default"],
        ["P", "/empty", "nobody", "default"],
      ],
    },
    { k: "upstream", id: "nobody" },
  );
  for (const [path, status, reason] of [
    ["/broken", 503, "no-backend"],
    ["/empty", 503, "no-peers"],
    ["/other", 404, "no-route"],
  ] as const) {
    const answer = await nginx.get(path);
    assert.deepEqual([answer.status, answer.headers["x-sluice-reason"]], [status, reason]);
    assert.doesNotMatch(answer.body, /nobody|127\.|upstream|nginx/);
  }
});

test("a change counts for the very next request on every worker, and routes never wait for a reload", async (t) => {
  const nginx = await testNginx(t);
  const pods = await Promise.all([1, 2].map((i) => testPod(t, `127.21.2.${i}`, `pod${i}`)));
  await nginx.apply(routeRow("shop.example.test", "web"));
  for (let round = 0; round < 40; round++) {
    const pod = pods[round % 2]!;
    await nginx.apply(peersRow("web", "member1", pod));
    for (const fresh of [true, true, false]) assert.equal((await nginx.get("/", { fresh })).body, pod.name);
  }
  await nginx.apply({ k: "route", host: "shop.example.test", del: true });
  assert.equal((await nginx.get("/")).status, 404);
});

test("a request reaches its peer with its host, its path as it came, and who asked", async (t) => {
  const nginx = await testNginx(t);
  const pod = await testPod(t, "127.21.3.1", "echo");
  await nginx.apply(peersRow("web", "member1", pod), routeRow("shop.example.test", "web", "/cart"));
  await nginx.get("/cart/a%2Fb?x=%20y", {
    host: "shop.example.test:8080",
    method: "POST",
    body: "hello",
    headers: { "x-forwarded-for": "10.9.9.9", "x-request-id": "r-1" },
  });
  assert.equal(pod.last.url, "/cart/a%2Fb?x=%20y");
  assert.equal(pod.last.body, "hello");
  const { headers } = pod.last;
  assert.equal(headers.host, "shop.example.test:8080");
  assert.equal(headers["x-forwarded-for"], "127.0.0.1");
  assert.equal(headers["x-forwarded-proto"], "http");
  assert.equal(headers["x-forwarded-host"], "shop.example.test:8080");
  assert.equal(headers["x-request-id"], "r-1");
  await nginx.get("/cart");
  assert.match(String(pod.last.headers["x-request-id"]), /^[0-9a-f]{32}$/);
});

test("a WebSocket is passed through in both directions", async (t) => {
  const nginx = await testNginx(t, { firstByteTimeoutMs: 300 });
  const pod = await testPod(t, "127.21.4.1", "ws");
  const other = await testPod(t, "127.21.4.2", "ws", pod.port);
  for (const each of [pod, other]) {
    each.server.on("upgrade", (_request, socket) => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n");
      // Silent for longer than the first-byte limit before it answers.
      socket.on("data", (chunk: Buffer) => setTimeout(() => socket.write(`echo ${chunk.toString()}`), 600));
      socket.on("error", () => socket.destroy());
    });
  }
  await nginx.apply(
    peersRow("web", "member1", pod),
    peersRow("web", "member2", other),
    routeRow("shop.example.test", "web"),
  );
  const { connect } = await import("node:net");
  const [host, port] = nginx.options.httpAddress.split(":");
  const socket = connect({ host: host!, port: Number(port), signal: t.signal });
  t.after(() => socket.destroy());
  socket.write(
    "GET / HTTP/1.1\r\nHost: shop.example.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
  );
  let seen = "";
  await new Promise<void>((resolve, reject) => {
    socket.on("error", reject);
    socket.on("data", (chunk: Buffer) => {
      seen += chunk.toString();
      if (seen.includes("\r\n\r\n") && !seen.includes("echo")) socket.write("ping");
      if (seen.includes("echo ping")) resolve();
    });
  });
  assert.match(seen, /^HTTP\/1\.1 101/);
});

test("a row that does not fit its form is refused by name, and what was there serves on", async (t) => {
  const nginx = await testNginx(t);
  const pod = await testPod(t, "127.21.5.1", "good");
  await nginx.apply(peersRow("web", "member1", pod), routeRow("shop.example.test", "web"));
  const bad: [row: unknown, why: RegExp][] = [
    [
      { k: "peers", upstream: "web", cluster: "member1", peers: [["pod.example.test", 80, 1]] },
      /not an IP address/,
    ],
    [{ k: "peers", upstream: "web", cluster: "member1", peers: [["127.21.5.1", 70000, 1]] }, /port/],
    [
      { k: "peers", upstream: "web", cluster: "member1", peers: [["127.21.5.300", 80, 1]] },
      /not an IP address/,
    ],
    [{ k: "peers", upstream: "we b", cluster: "member1", peers: [] }, /no name/],
    [{ k: "route", host: "shop.example.test", paths: [["X", "/", "web", "default"]] }, /none of E, P and R/],
    [{ k: "route", host: "shop.example.test", paths: [["P", "/", "web", "../etc"]] }, /profile/],
    ...(
      [
        ["R", "/(", {}, /missing/],
        ["P", "/", { rewrite: "http://evil.example.test/" }, /rewrite is no path/],
        ["P", "/", { rewrite: "/a b" }, /rewrite is no path/],
        ["P", "/", { vhost: "a\r\nb" }, /vhost is no host/],
        ["P", "/", { forwardedPrefix: "a\nb" }, /prefix/],
        ["P", "/", { spare: "a b" }, /spare is no name/],
        ["P", "/", { redirect: [200, "/"] }, /code/],
        ["P", "/", { redirect: [301, "/", ["all"]] }, /keeps/],
        ["P", "/", { redirect: [301, "//other.example.test/"] }, /neither http nor a path/],
        ["P", "/", { redirect: [301, "ftp://other.example.test/"] }, /neither http nor a path/],
      ] as const
    ).map(([type, path, with_, why]): [unknown, RegExp] => [
      { k: "route", host: "shop.example.test", paths: [[type, path, "web", "default", with_]] },
      why,
    ]),
    [{ k: "cluster", cluster: "member1", state: "asleep" }, /state/],
    [{ k: "other" }, /unknown kind/],
  ];
  const { instance } = await nginx.client.state(t.signal);
  const answer = await nginx.client.apply(
    bad.map(([row]) => row as NginxRow),
    instance,
    t.signal,
  );
  assert.ok(!answer.restarted);
  assert.deepEqual(
    answer.refused.map(({ i }) => i),
    bad.map((_, i) => i),
  );
  for (const { i, why } of answer.refused) assert.match(why, bad[i]![1]);
  assert.equal((await nginx.get("/")).body, "good");
});

test("memory that is full refuses the new row and keeps the old ones", async (t) => {
  const nginx = await testNginx(t, { rowsMegabytes: 1 });
  const pod = await testPod(t, "127.21.6.1", "good");
  await nginx.apply(peersRow("web", "member1", pod), routeRow("shop.example.test", "web"));
  const { instance } = await nginx.client.state(t.signal);
  let refused = 0;
  for (let i = 0; i < 40 && refused === 0; i++) {
    const peers = Array.from({ length: 2000 }, (_, n) => [`10.1.${n >> 8}.${n & 255}`, 8080, 1] as const);
    const answer = await nginx.client.apply(
      [{ k: "peers", upstream: `big${i}`, cluster: "member1", peers }],
      instance,
      t.signal,
    );
    assert.ok(!answer.restarted);
    for (const { why } of answer.refused) assert.match(why, /shared memory/);
    refused += answer.refused.length;
  }
  assert.ok(refused > 0, "a megabyte was never full");
  assert.equal((await nginx.get("/")).body, "good");
});
