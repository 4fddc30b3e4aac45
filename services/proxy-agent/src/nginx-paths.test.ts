// What annotations make of paths and hosts, from the object to the request; ingress-nginx's quirks among them.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { testPod } from "./testing/proxy-world.ts";
import { type ServedIngress, type ServedWorld, servedWorld } from "./testing/served-world.ts";

const HOST = "shop.example.test";

/** Services web, api and other, one pod each, which answers with its service's name. */
async function serving(t: TestContext, n: number, ...ingresses: readonly ServedIngress[]) {
  const names = ["web", "api", "other"] as const;
  const pods = await Promise.all(names.map((name, i) => testPod(t, `127.25.${n}.${i + 1}`, name)));
  const services = Object.fromEntries(names.map((name, i) => [name, [pods[i]!]]));
  const world = await servedWorld(t, { ...services, empty: [] }, ...ingresses);
  return { world, web: pods[0]!, api: pods[1]!, other: pods[2]! };
}

/** Status and body, or where it is sent. */
async function asked(world: ServedWorld, path: string, host = HOST): Promise<string | number> {
  const { status, body, headers } = await world.nginx.get(path, { host });
  if (headers.location !== undefined) return `${status} ${headers.location}`;
  return status === 200 ? body : status;
}

async function expectAll(world: ServedWorld, cases: Readonly<Record<string, string | number>>, host = HOST) {
  const seen: Record<string, string | number> = {};
  for (const path of Object.keys(cases)) seen[path] = await asked(world, path, host);
  assert.deepEqual(seen, cases);
}

test("a regular expression needs only the beginning of a path, and no case", async (t) => {
  const { world } = await serving(t, 50, {
    annotations: { "use-regex": "true" },
    hosts: { [HOST]: ["I /[A-Z]{3} -> web", "E /x$ -> api"] },
  });
  await expectAll(world, {
    "/ABC": "web",
    "/abc": "web",
    "/abcdef/x": "web",
    "/ab": 404,
    "/x/abc": 404,
    "/X": "api",
  });
});

test("use-regex makes every path of its host a regular expression, whoever's it is and whatever its type", async (t) => {
  const regex: ServedIngress = {
    annotations: { "use-regex": "true" },
    hosts: { [HOST]: ["I /api/v[12] -> api"] },
  };
  const plain: ServedIngress = {
    hosts: {
      [HOST]: ["E /cart -> web", "P /a.c -> other"],
      "other.example.test": ["E /cart -> web", "P /a.c -> other"],
    },
  };
  const { world } = await serving(t, 51, plain);
  const literal = { "/cart": "web", "/cartoon": 404, "/CART": 404, "/a.c": "other", "/abc": 404 };
  await expectAll(world, literal);
  await world.show(regex, plain);
  await expectAll(world, {
    "/cart": "web",
    "/cartoon": "web",
    "/CART": "web",
    "/a.c": "other",
    "/abc": "other",
    "/api/v2/x": "api",
    "/api/v3": 404,
  });
  await expectAll(world, literal, "other.example.test");
  await world.show(plain);
  await expectAll(world, literal);
});

test("of regular expressions that match, the longest text goes first, even before an Exact path", async (t) => {
  const { world } = await serving(t, 52, {
    annotations: { "use-regex": "true" },
    hosts: { [HOST]: ["E /foo/bar/bar -> web", "I /foo/bar/[A-Z0-9]{3} -> api", "I /foo -> other"] },
  });
  await expectAll(world, { "/foo/bar/bar": "api", "/foo/bar/x": "other" });
});

test("rewrite-target changes what the peer is asked for, by groups of the path; the query stays", async (t) => {
  const { world, web } = await serving(t, 53, {
    annotations: { "rewrite-target": "/$2", "x-forwarded-prefix": "/$1" },
    hosts: { [HOST]: ["I /(shop)(?:/|$)(.*) -> web"] },
  });
  const cases: Record<string, string> = {
    "/shop": "/",
    "/shop/": "/",
    "/SHOP/a/b?x=1&y=%20": "/a/b?x=1&y=%20",
    // As nginx does: normalised and decoded before it is matched, encoded again when it is sent.
    "/shop//a/./b/../c": "/a/c",
    "/shop/a%2Fb%20c%3F%25": "/a/b%20c%3F%25",
    "/shop/%C3%A9": "/%C3%A9",
    // . is no line feed, and what comes through is encoded.
    "/shop/a%0d%0aX-Evil:%201": "/a%0D",
  };
  for (const [path, expected] of Object.entries(cases)) {
    assert.equal(await asked(world, path), "web", path);
    assert.equal(web.last.url, expected, path);
    assert.match(String(web.last.headers["x-forwarded-prefix"]), /^\/shop$/i);
    assert.equal(web.last.headers["x-evil"], undefined);
    assert.equal(web.last.headers.host, HOST);
  }
  await world.nginx.get("/shop/upload", { host: HOST, method: "POST", body: "hello" });
  assert.deepEqual([web.last.url, web.last.body], ["/upload", "hello"]);
});

test("rewrite-target implies use-regex, for its whole host; a target that says the path itself is none", async (t) => {
  const { world, web } = await serving(
    t,
    54,
    { annotations: { "rewrite-target": "/new" }, hosts: { [HOST]: ["E /old -> web"] } },
    { hosts: { [HOST]: ["E /cart -> api"] } },
    {
      annotations: { "rewrite-target": "/same" },
      hosts: { "same.example.test": ["E /same -> web", "E /a.c -> other"] },
    },
  );
  await expectAll(world, { "/older": "web", "/CART/x": "api" });
  await asked(world, "/old/thing");
  assert.equal(web.last.url, "/new");
  await expectAll(world, { "/same": "web" }, "same.example.test");
  assert.equal(web.last.url, "/same");
});

test("a query in rewrite-target goes before the one that came; with ? at the end none is kept", async (t) => {
  const { world, web } = await serving(
    t,
    55,
    { annotations: { "rewrite-target": "/find?q=$1" }, hosts: { [HOST]: ["I /q/(.*) -> web"] } },
    { annotations: { "rewrite-target": "/$1?" }, hosts: { "bare.example.test": ["I /(.*) -> web"] } },
  );
  await asked(world, "/q/a%26b%20c?x=1");
  assert.equal(web.last.url, "/find?q=a%26b%20c&x=1");
  await asked(world, "/q/a");
  assert.equal(web.last.url, "/find?q=a");
  await asked(world, "/page?x=1", "bare.example.test");
  assert.equal(web.last.url, "/page");
});

test("an absolute rewrite-target sends the client there", async (t) => {
  const { world } = await serving(t, 56, {
    annotations: { "rewrite-target": "https://new.example.test/$1" },
    hosts: { [HOST]: ["I /old/(.*) -> web"] },
  });
  await expectAll(world, {
    "/old/a%20b?x=1": "302 https://new.example.test/a%20b?x=1",
    "/old//evil.example.test": "302 https://new.example.test/evil.example.test",
  });
});

test("a change of rewriting reloads nothing once one object rewrites", async (t) => {
  const of = (target: string): ServedIngress => ({
    annotations: { "rewrite-target": target },
    hosts: { [HOST]: ["I /(.*) -> web"] },
  });
  const { world, web } = await serving(t, 57, of("/one/$1"));
  assert.equal(world.profiles, 1);
  const { config } = await world.nginx.client.state(t.signal);
  for (const target of ["/two/$1", "/three/$1"]) {
    await world.show(of(target));
    await asked(world, "/x");
    assert.equal(web.last.url, target.replace("$1", "x"));
  }
  assert.equal((await world.nginx.client.state(t.signal)).config, config);
});

test("a path with a closing slash has the one without sent there, with its query; regular expressions do not", async (t) => {
  const paths = [
    "P / -> web",
    "P /prefix/ -> api",
    "E /exact/ -> api",
    "P /both/ -> api",
    "E /both -> other",
  ];
  const { world } = await serving(
    t,
    58,
    { hosts: { [HOST]: paths } },
    { annotations: { "use-regex": "true" }, hosts: { "regex.example.test": paths } },
  );
  await expectAll(world, {
    "/prefix": `301 http://${HOST}/prefix/`,
    "/prefix?x=1&y": `301 http://${HOST}/prefix/?x=1&y`,
    "/prefix/": "api",
    "/prefix/x": "api",
    "/exact": `301 http://${HOST}/exact/`,
    "/exact/": "api",
    "/exact/x": "web",
    "/both": "other",
    "/both/": "api",
    "/prefixed": "web",
  });
  await expectAll(world, { "/prefix": "web", "/prefix/": "api", "/exact/x": "api" }, "regex.example.test");
});

test("upstream-vhost is the Host that peers see, and all else comes as it was", async (t) => {
  const { world, web } = await serving(t, 59, {
    annotations: { "upstream-vhost": "web.shop.svc:8080" },
    hosts: { [HOST]: ["P / -> web"] },
  });
  await world.nginx.get("/a%2Fb//c/../d?x=%20y", {
    host: `${HOST}:8080`,
    headers: { "x-forwarded-prefix": "/evil" },
  });
  const { headers, url } = web.last;
  assert.equal(url, "/a%2Fb//c/../d?x=%20y");
  assert.equal(headers.host, "web.shop.svc:8080");
  assert.equal(headers["x-forwarded-host"], `${HOST}:8080`);
  assert.equal(headers["x-forwarded-prefix"], undefined);
});

test("the service of default-backend is asked while a backend has no peers, and no longer", async (t) => {
  const of = (backend: string): ServedIngress => ({
    annotations: { "default-backend": "other", "rewrite-target": "/sorry" },
    hosts: { [HOST]: [`P /cart -> ${backend}`] },
  });
  const { world, web, other } = await serving(t, 60, of("empty"));
  await expectAll(world, { "/cart/x": "other" });
  assert.equal(other.last.url, "/sorry");
  await world.show(of("missing"));
  await expectAll(world, { "/cart/x": "other" });
  assert.match(world.verdicts.join(), /ImportMissing/);
  await world.show(of("web"));
  await expectAll(world, { "/cart/x": "web" });
  assert.equal(web.last.url, "/sorry");
});

test("where all peers are drained by force the service of default-backend is asked, and without one it is 503", async (t) => {
  const of = (more: Readonly<Record<string, string>>, host: string): ServedIngress => ({
    annotations: { "rewrite-target": "/", ...more },
    hosts: { [host]: ["P /cart -> web"] },
  });
  const { world, other } = await serving(
    t,
    65,
    of({}, HOST),
    of({ "default-backend": "other" }, "spared.example.test"),
    { annotations: { "use-regex": "true" }, hosts: { "plain.example.test": ["P /cart -> web"] } },
  );
  const apart = { upstream: "shop-other", peers: [[other.address, other.port, 1]] } as const;
  await world.nginx.apply(
    { k: "peers", cluster: "member2", ...apart },
    { k: "cluster", cluster: "member1", state: "drained", forced: true },
  );
  for (const host of [HOST, "plain.example.test"]) await expectAll(world, { "/cart": 503 }, host);
  await expectAll(world, { "/cart": "other" }, "spared.example.test");
});

test("a server-alias serves what its host serves, and a rule goes before it", async (t) => {
  const one: ServedIngress = {
    annotations: { "server-alias": "alias.example.test, *.wild.example.test" },
    hosts: { [HOST]: ["P /cart -> web"] },
  };
  const more: ServedIngress = { hosts: { [HOST]: ["P /more -> api"] } };
  const { world, web } = await serving(t, 61, one, more);
  for (const host of ["alias.example.test", "x.wild.example.test"]) {
    await expectAll(world, { "/cart": "web", "/more": "api", "/": 404 }, host);
    await asked(world, "/cart", host);
    assert.equal(web.last.headers.host, host);
  }
  await world.show(one, more, { hosts: { "alias.example.test": ["P /own -> other"] } });
  await expectAll(world, { "/own": "other", "/cart": 404 }, "alias.example.test");
  assert.match(world.verdicts.join(), /HostTaken/);
  await world.show(more);
  await expectAll(world, { "/more": 404 }, "alias.example.test");
});

test("from-to-www-redirect sends the other name here, path and query but for a closing slash", async (t) => {
  const { world } = await serving(t, 62, {
    annotations: { "from-to-www-redirect": "true" },
    hosts: { [HOST]: ["P / -> web"], "www.store.example.test": ["P / -> web"] },
  });
  const www = `www.${HOST}`;
  await expectAll(
    world,
    {
      "/": `308 http://${HOST}`,
      "/a//b?x=1": `308 http://${HOST}/a//b?x=1`,
      "/a/": `308 http://${HOST}/a`,
    },
    www,
  );
  await expectAll(world, { "/a": "308 http://www.store.example.test/a" }, "store.example.test");
  await expectAll(world, { "/": "web" });
});

test("app-root stays the one path / where all others are regular expressions", async (t) => {
  const { world } = await serving(t, 63, {
    annotations: { "app-root": "/app", "use-regex": "true" },
    hosts: { [HOST]: ["P / -> web"] },
  });
  await expectAll(world, { "/": `302 http://${HOST}/app`, "/app": "web" });
});

test("an expression that would take for ever costs its own requests an error and nobody else any time", async (t) => {
  const { world } = await serving(t, 64, {
    annotations: { "use-regex": "true" },
    hosts: {
      [HOST]: ["I /(a+)+$ -> web", "I /(a|aa|aaa)+b(.*)*(.*)*$ -> web", "P / -> other"],
      "cubic.example.test": ["I /(.*)/(.*)/(.*)/x$ -> web", "P / -> other"],
      "plain.example.test": ["P / -> api"],
    },
  });
  const hostile = `/${"a".repeat(2000)}!`;
  // At most one expression is tried to its limit: what it guards must not fall to the next path.
  assert.equal(await asked(world, hostile), 500);
  const { headers } = await world.nginx.get(hostile, { host: HOST });
  assert.equal(headers["x-sluice-reason"], "regex-limit");
  await expectAll(world, { "/aaa": "web", "/b": "other" });
  // Some hundred thousand steps: PCRE's own bound, ten millions, would let them be taken.
  const cubic = (n: number) => `/${"a/".repeat(n)}xa`;
  await expectAll(world, { [cubic(150)]: 500, [cubic(20)]: "other" }, "cubic.example.test");
  await expectAll(world, { "/": "api" }, "plain.example.test");
});
