// Balancing by a route's policy over HTTP: what a client, a peer and a browser meet.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { type Balance, fleetKeys, type RouteRow } from "@sluice/contracts";
import { buildFleet } from "@sluice/ingress";
import { type NginxRow, pathEntry } from "./nginx-row.ts";
import { peersRow, type TestNginx, type TestPod, testNginx, testPod } from "./testing/proxy-world.ts";

const HOST = "shop.example.test";

function route(...paths: readonly (readonly [path: string, balance?: Balance])[]): NginxRow {
  return {
    k: "route",
    host: HOST,
    paths: paths.map(([path, balance]) =>
      balance === undefined ? ["P", path, "web", "default"] : ["P", path, "web", "default", { balance }],
    ),
  };
}

const cookie = (more: Partial<Balance["cookie"]> = {}): Balance => ({
  method: "cookie",
  cookie: { name: "SESSION", path: "/", ...more },
});

const pods = (t: TestContext, range: string, n: number): Promise<TestPod[]> =>
  Promise.all(Array.from({ length: n }, (_, i) => testPod(t, `127.26.${range}.${i + 1}`, `pod${i + 1}`)));

/** A session that has begun: its peer and what a browser sends back. */
async function begin(nginx: TestNginx, path = "/"): Promise<{ peer: string; headers: { cookie: string } }> {
  const { status, body, headers } = await nginx.get(path, { fresh: true });
  assert.equal(status, 200);
  const [said = ""] = headers["set-cookie"] ?? [];
  return { peer: body, headers: { cookie: said.split(";")[0] ?? "" } };
}

for (const persistent of [false, true]) {
  const balance = cookie(persistent ? { persistent } : {});
  const mode = persistent ? "persistent" : "balanced";

  test(`a ${mode} session finds its peer on every worker, beside other cookies, and after nginx has started anew`, async (t) => {
    const nginx = await testNginx(t);
    const all = await pods(t, persistent ? "1" : "2", 5);
    const rows = [peersRow("web", "member1", ...all), route(["/", balance])];
    await nginx.apply(...rows);
    const sessions = await Promise.all(Array.from({ length: 10 }, () => begin(nginx)));
    assert.ok(new Set(sessions.map(({ peer }) => peer)).size > 1);
    const stay = async () => {
      for (const { peer, headers } of sessions) {
        for (let i = 0; i < 4; i++) {
          const answer = await nginx.get("/x", {
            fresh: true,
            headers: { cookie: `a=1; ${headers.cookie}; b=2` },
          });
          assert.equal(answer.body, peer);
          assert.equal(answer.headers["set-cookie"], undefined);
        }
      }
    };
    await stay();
    await nginx.restart("SIGKILL");
    await nginx.apply(...rows);
    await stay();
  });

  test(`with change-on-failure a ${mode} session goes to another peer for good, by one cookie`, async (t) => {
    const nginx = await testNginx(t, { workers: 1 });
    const all = await pods(t, persistent ? "5" : "6", 3);
    const own = { ...balance, cookie: { ...balance.cookie!, changeOnFailure: true as const } };
    await nginx.apply(peersRow("web", "member1", ...all), route(["/", own]));
    const { peer, headers } = await begin(nginx);
    await all.find(({ name }) => name === peer)!.close();
    const moved = await nginx.get("/", { headers });
    assert.equal(moved.status, 200);
    assert.notEqual(moved.body, peer);
    assert.equal(moved.headers["set-cookie"]?.length, 1);
    const next = { cookie: moved.headers["set-cookie"]?.[0]?.split(";")[0] ?? "" };
    assert.notEqual(next.cookie, headers.cookie);
    assert.equal((await nginx.get("/", { headers: next })).body, moved.body);
    // A session that begins where the first choice refuses gets the cookie of who answered, and no other.
    for (let i = 0; i < 6; i++) {
      const first = await nginx.get("/");
      assert.equal(first.status, 200);
      assert.equal(first.headers["set-cookie"]?.length, 1);
      const again = { cookie: first.headers["set-cookie"]?.[0]?.split(";")[0] ?? "" };
      assert.equal((await nginx.get("/", { headers: again })).body, first.body);
    }
  });
}

test("a session whose peer refuses is served by another without a failed request, and comes back", async (t) => {
  await Promise.all([comesBack(t, cookie(), "3"), comesBack(t, cookie({ persistent: true }), "4")]);
});

async function comesBack(t: TestContext, balance: Balance, range: string): Promise<void> {
  const nginx = await testNginx(t, { workers: 1 });
  const all = await pods(t, range, 3);
  await nginx.apply(peersRow("web", "member1", ...all), route(["/", balance]));
  const { peer, headers } = await begin(nginx);
  const own = all.find(({ name }) => name === peer)!;
  await own.close();
  const others = new Set<string>();
  // Three strikes hold the peer; from then on it is not even tried.
  for (let i = 0; i < 8; i++) {
    const answer = await nginx.get("/", { headers });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers["set-cookie"], undefined);
    others.add(answer.body);
  }
  assert.equal(others.size, 1, "a session without its peer stays together");
  assert.ok(!others.has(peer));
  await testPod(t, own.address, "back", own.port);
  const back = async () => assert.equal((await nginx.get("/", { headers })).body, "back");
  await t.waitFor(back, { timeout: 60_000, interval: 200 });
}

test("the cookie says what was asked for, and the peer's own cookies stay beside it", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const [pod] = await pods(t, "7", 1);
  pod!.server.removeAllListeners("request");
  pod!.server.on("request", (_request, response) =>
    response.setHeader("set-cookie", ["a=1; Path=/", "b=2"]).end("pod"),
  );
  const full = cookie({
    name: "route-1",
    path: "/shop",
    domain: ".example.test",
    maxAge: 3600,
    expires: 7200,
    sameSite: "Lax",
    secure: true,
  });
  await nginx.apply(peersRow("web", "member1", pod!), route(["/", cookie()], ["/full", full]));
  const plain = (await nginx.get("/")).headers["set-cookie"] ?? [];
  assert.match(plain[0] ?? "", /^SESSION=[0-9a-f]{32}; Path=\/; HttpOnly$/);
  assert.deepEqual(plain.slice(1), ["a=1; Path=/", "b=2"]);
  const before = Math.floor(Date.now() / 1000);
  const [said = ""] = (await nginx.get("/full")).headers["set-cookie"] ?? [];
  const after = Math.ceil(Date.now() / 1000);
  const [, rest, expires] =
    /^route-1=[0-9a-f]{32}; (.*); Expires=(.*)$/.exec(said) ?? assert.fail(`${said} is of another form`);
  assert.equal(rest, "Path=/shop; Max-Age=3600; Domain=.example.test; Secure; HttpOnly; SameSite=Lax");
  const seconds = Date.parse((expires ?? "").replaceAll("-", " ")) / 1000;
  assert.ok(seconds >= before + 7199 && seconds <= after + 7201, expires);
});

test("what an object's annotations say is what its requests meet", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const all = await pods(t, "20", 3);
  const object = (name: string, path: string, annotations: Readonly<Record<string, string>>) => ({
    metadata: {
      namespace: "shop",
      name,
      annotations: Object.fromEntries(
        Object.entries(annotations).map(([key, value]) => [`nginx.ingress.kubernetes.io/${key}`, value]),
      ),
    },
    spec: {
      ingressClassName: "nginx",
      rules: [
        {
          host: HOST,
          http: {
            paths: [
              { path, pathType: "Prefix", backend: { service: { name: "web", port: { number: 80 } } } },
            ],
          },
        },
      ],
    },
  });
  const { rows, verdicts } = buildFleet(
    {
      ingresses: [
        object("basket", "/basket", { affinity: "cookie", "session-cookie-name": "basket" }),
        object("search", "/search", { "upstream-hash-by": "$arg_q" }),
        object("rest", "/", {}),
      ],
      imports: [{ metadata: { namespace: "shop", name: "web" }, spec: { ports: [{ port: 80 }] } }],
      classes: [],
      peers: [],
      exported: new Map([["shop/web", new Set([""])]]),
    },
    { fleet: "default", ingressClasses: ["nginx"], watchWithoutClass: false },
  );
  assert.deepEqual(verdicts, []);
  const { host, paths } = rows.get(fleetKeys.route("default", HOST)) as RouteRow;
  const upstreams = new Set(paths.flatMap(({ upstream }) => upstream ?? []));
  assert.equal(upstreams.size, 1, "one import, one upstream, however it is balanced");
  await nginx.apply(peersRow([...upstreams][0]!, "member1", ...all), {
    k: "route",
    host,
    paths: paths.map((path) => pathEntry(path, "default")),
  });
  const basket = await nginx.get("/basket");
  const [said = ""] = basket.headers["set-cookie"] ?? [];
  assert.match(said, /^basket=[0-9a-f]{32}; Path=\/basket; HttpOnly$/);
  const headers = { cookie: said.split(";")[0] ?? "" };
  for (let i = 0; i < 6; i++) assert.equal((await nginx.get("/basket/1", { headers })).body, basket.body);
  const found = await Promise.all([1, 2, 3, 4].map(() => nginx.get("/search?q=shoes")));
  assert.equal(new Set(found.map(({ body }) => body)).size, 1);
  const turns: string[] = [];
  for (let i = 0; i < 3; i++) turns.push((await nginx.get("/", { headers })).body);
  assert.equal(new Set(turns).size, 3);
});

test("one upstream is balanced by each route as that route says", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const all = await pods(t, "8", 3);
  const byUser: Balance = {
    method: "hash",
    by: [
      { text: "user-" },
      { variable: "http_x_user" },
      { variable: "arg_id" },
      { variable: "cookie_tenant" },
    ],
  };
  await nginx.apply(
    peersRow("web", "member1", ...all),
    route(["/"], ["/hash", byUser], ["/ewma", { method: "ewma" }], ["/least", { method: "least_conn" }]),
  );
  const ask = async (path: string, n: number, headers: Record<string, string> = {}) => {
    const seen: string[] = [];
    for (let i = 0; i < n; i++) {
      const answer = await nginx.get(path, { headers });
      assert.equal(answer.status, 200);
      assert.equal(answer.headers["set-cookie"], undefined);
      seen.push(answer.body);
    }
    return seen;
  };
  // Turns go on, whatever the other routes choose in between.
  const turns: string[] = [];
  const measured: string[] = [];
  for (let i = 0; i < 9; i++) {
    turns.push(...(await ask("/", 1)));
    await ask("/hash", 1, { "x-user": String(i) });
    measured.push(...(await ask("/ewma", 1)));
  }
  assert.deepEqual(turns.slice(3, 6), turns.slice(0, 3));
  assert.equal(new Set(turns.slice(0, 3)).size, 3);
  for (const what of ["header", "argument", "cookie"]) {
    const found = new Set<string>();
    for (let i = 0; i < 60; i++) {
      const headers: Record<string, string> =
        what === "header" ? { "x-user": `${i}` } : what === "cookie" ? { cookie: `tenant=${i}` } : {};
      const path = what === "argument" ? `/hash?id=${i}` : "/hash";
      const seen = new Set(await ask(path, 3, headers));
      assert.equal(seen.size, 1, `one ${what}, one peer`);
      found.add([...seen][0]!);
    }
    assert.equal(found.size, 3, `keys by ${what} are spread over all peers`);
  }
  assert.equal(new Set([...measured, ...(await ask("/ewma", 60))]).size, 3);
  assert.equal(new Set(await ask("/least", 60)).size, 3);
});

test("least_conn gives a peer with requests in hand no more than its siblings have, and counts each to its end", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const all = await pods(t, "9", 2);
  await nginx.apply(peersRow("web", "member1", ...all), route(["/", { method: "least_conn" }]));
  const [slow, quick] = all as [TestPod, TestPod];
  slow.frozen = true;
  const [host = "", port = ""] = nginx.options.httpAddress.split(":");
  // Every choice is one of two: the frozen peer is met before long.
  const hanging: Socket[] = [];
  while (slow.requests === 0) {
    const socket = connect(Number(port), host);
    t.after(() => socket.destroy());
    hanging.push(socket);
    socket.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    await Promise.race([once(socket, "data"), once(slow.server, "request")]);
  }
  for (let i = 0; i < 40; i++) assert.equal((await nginx.get("/")).body, quick.name);
  assert.equal(slow.requests, 1, "it has one in hand more than the other, always");
  for (const socket of hanging) socket.destroy();
  slow.frozen = false;
  await t.waitFor(
    async () => {
      for (let i = 0; i < 20; i++) await nginx.get("/");
      assert.ok(slow.requests > 1, "requests that their clients gave up are in hand no more");
    },
    { timeout: 60_000 },
  );
});

test("whatever the method, requests fail over, and a peer is held and tried again", async (t) => {
  const methods: Balance[] = [
    { method: "ewma" },
    { method: "least_conn" },
    { method: "hash", by: [{ variable: "arg_id" }] },
    { method: "of_a_later_version" },
  ];
  await Promise.all(methods.map((balance, i) => failsOver(t, balance, `${10 + i}`)));
});

async function failsOver(t: TestContext, balance: Balance, range: string): Promise<void> {
  const nginx = await testNginx(t, { workers: 1 });
  const [a, b] = await pods(t, range, 2);
  await nginx.apply(peersRow("web", "member1", a!, b!), route(["/", balance]));
  await a!.close();
  for (let n = 0; n < 40; n++) {
    const { status, body } = await nginx.get(`/?id=${n}`);
    assert.deepEqual([status, body], [200, "pod2"], balance.method);
  }
  const held = ((await nginx.client.state(t.signal)).held ?? []).map(({ peer }) => peer);
  assert.deepEqual(held, [`${a!.address}:${a!.port}`], balance.method);
  await testPod(t, a!.address, "back", a!.port);
  const shares = async () => {
    const seen: string[] = [];
    for (let n = 0; n < 40; n++) seen.push((await nginx.get(`/?id=${n}`)).body);
    // More than the one that tries it: what has failed there is in hand there no more.
    const back = seen.filter((body) => body === "back").length;
    assert.ok(back >= 5, `${balance.method}: ${back} of 40`);
  };
  await t.waitFor(shares, { timeout: 60_000, interval: 200 });
}

test("a balance that does not fit its form is refused by name", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const { instance } = await nginx.client.state(t.signal);
  const own = cookie().cookie!;
  for (const [balance, why] of [
    [{ method: "hash" }, /by is no list/],
    [{ method: "hash", by: [{ variable: "upstream_addr" }] }, /no key can be made/],
    [{ method: "hash", by: [{ variable: "http_x-user" }] }, /no key can be made/],
    [{ method: "cookie" }, /cookie is no object/],
    [{ method: "cookie", cookie: { ...own, name: "a;b" } }, /name/],
    [{ method: "cookie", cookie: { ...own, path: "/; Domain=x" } }, /path/],
    [{ method: "cookie", cookie: { ...own, domain: "a\r\nx: y" } }, /domain/],
    [{ method: "cookie", cookie: { ...own, maxAge: -1 } }, /age/],
    [{ method: "cookie", cookie: { ...own, sameSite: "lax; x" as "Lax" } }, /sameSite/],
  ] as const) {
    const answer = await nginx.client.apply([route(["/", balance as Balance])], instance, t.signal);
    assert.ok(!answer.restarted);
    assert.match(answer.refused[0]?.why ?? "", why);
  }
});
