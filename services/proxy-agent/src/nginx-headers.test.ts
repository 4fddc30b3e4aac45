// Annotations about headers of answers, from the object to what a browser meets.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type GetOptions, type TestAnswer, type TestPod, testPod } from "./testing/proxy-world.ts";
import { type ServedIngress, type ServedWorld, servedWorld } from "./testing/served-world.ts";

const HOST = "shop.example.test";
const ORIGIN = "https://www.example.test";

/** One nginx for all cases of a test: each case shows its own object. */
async function headerWorld(t: TestContext, range: number) {
  const pod = await testPod(t, `127.25.${range}.1`, "web");
  let said: Readonly<Record<string, string | readonly string[]>> = {};
  pod.server.prependListener("request", (_request, response) => {
    for (const [name, value] of Object.entries(said)) response.setHeader(name, value);
  });
  const world = await servedWorld(t, { web: [pod] });
  return {
    world,
    pod,
    /** Headers that the peer answers with from here on. */
    says: (headers: typeof said) => {
      said = headers;
    },
    with: (annotations: ServedIngress["annotations"] = {}) =>
      world.show({ annotations, hosts: { [HOST]: ["P / -> web"] } }),
  };
}

const from = (origin: string, more: Partial<GetOptions> = {}): GetOptions => ({
  headers: { origin },
  ...more,
});
const preflight = (origin: string) => from(origin, { method: "OPTIONS" });

function corsOf({ headers }: TestAnswer): Record<string, unknown> {
  const own = Object.entries(headers).filter(([name]) => /^(access-control-|vary$)/.test(name));
  return Object.fromEntries(own.map(([name, value]) => [name.replace("access-control-", ""), value]));
}

const DEFAULTS = {
  "allow-credentials": "true",
  "allow-methods": "GET, PUT, POST, DELETE, PATCH, OPTIONS",
  "allow-headers":
    "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization",
  "max-age": "1728000",
};

async function answers(world: ServedWorld, pod: TestPod, origin: string): Promise<boolean> {
  const before = pod.requests;
  const { status } = await world.nginx.get("/", preflight(origin));
  const asked = pod.requests > before;
  assert.deepEqual([status, asked], asked ? [200, true] : [204, false]);
  return !asked;
}

test("CORS says what ingress-nginx says by default, to everybody, and answers preflight requests itself", async (t) => {
  const { world, pod, says, with: show } = await headerWorld(t, 60);
  await show({ "enable-cors": "true" });
  says({ "access-control-allow-origin": "https://other.example.test", "x-own": "1" });
  const answer = await world.nginx.get("/", from(ORIGIN));
  assert.equal(answer.headers["x-own"], "1");
  assert.deepEqual(corsOf(answer), { "allow-origin": "*", ...DEFAULTS });
  assert.deepEqual(corsOf(await world.nginx.get("/")), { "allow-origin": "*", ...DEFAULTS });
  const before = pod.requests;
  const first = await world.nginx.get("/", preflight(ORIGIN));
  assert.deepEqual([first.status, first.body, pod.requests], [204, "", before]);
  assert.deepEqual(corsOf(first), { "allow-origin": "*", ...DEFAULTS });
  await show({ "enable-cors": "false" });
  assert.deepEqual(corsOf(await world.nginx.get("/", from(ORIGIN))), {
    "allow-origin": "https://other.example.test",
  });
  await pod.close();
  await show({ "enable-cors": "true" });
  const failed = await world.nginx.get("/", from(ORIGIN));
  assert.ok(failed.status >= 500);
  assert.equal(corsOf(failed)["allow-origin"], "*");
});

test("an origin of the list is answered by itself, whole and without case; another is told nothing", async (t) => {
  const { world, pod, with: show } = await headerWorld(t, 61);
  await show({
    "enable-cors": "true",
    "cors-allow-origin": "https://www.example.test, http://*.shop.example.test:8080,null",
    "cors-allow-credentials": "false",
    "cors-allow-methods": "GET, PUT",
    "cors-allow-headers": "X-One, X-Two",
    "cors-expose-headers": "*, X-Three",
    "cors-max-age": "60",
  });
  assert.deepEqual(world.verdicts, []);
  assert.deepEqual(corsOf(await world.nginx.get("/", from(ORIGIN))), {
    "allow-origin": ORIGIN,
    "allow-methods": "GET, PUT",
    "allow-headers": "X-One, X-Two",
    "expose-headers": "*, X-Three",
    "max-age": "60",
    vary: "Origin",
  });
  for (const [origin, may] of [
    [ORIGIN, true],
    ["HTTPS://www.Example.TEST", true],
    ["https://www.example.test:443", false],
    ["https://www.example.test.other.test", false],
    ["https://xwww.example.test", false],
    // ingress-nginx lets this one in: it ends with what is allowed.
    ["xhttps://www.example.test", false],
    ["http://www.example.test", false],
    ["http://a.shop.example.test:8080", true],
    ["http://a-1.shop.example.test:8080", true],
    ["http://a.b.shop.example.test:8080", false],
    ["http://.shop.example.test:8080", false],
    ["http://shop.example.test:8080", false],
    ["http://a.shop.example.test", false],
    ["http://a/b.shop.example.test:8080", false],
    ["null", true],
    ["*", false],
  ] as const) {
    assert.equal(await answers(world, pod, origin), may, origin);
    const answer = await world.nginx.get("/", from(origin));
    assert.equal(answer.headers["access-control-allow-origin"], may ? origin : undefined, origin);
    assert.equal(answer.headers.vary, "Origin");
  }
});

test("what a peer says of Vary stays beside the origin, and is said once", async (t) => {
  const { world, says, with: show } = await headerWorld(t, 62);
  await show({ "enable-cors": "true", "cors-allow-origin": ORIGIN });
  for (const [said, vary] of [
    ["Accept-Encoding", "Accept-Encoding, Origin"],
    ["origin, Accept", "origin, Accept"],
    ["*", "*"],
  ] as const) {
    says({ vary: said });
    assert.equal((await world.nginx.get("/", from(ORIGIN))).headers.vary, vary);
  }
});

test("a list of origins that cannot be read opens to nobody, and says so", async (t) => {
  const { world, pod, with: show } = await headerWorld(t, 63);
  await show({ "enable-cors": "true", "cors-allow-origin": "https://www.example.test, https://$host" });
  assert.match(world.verdicts.join("\n"), /AnnotationInvalid .*cors-allow-origin.* no origin may until then/);
  assert.equal(await answers(world, pod, ORIGIN), false);
  assert.equal((await world.nginx.get("/", from(ORIGIN))).headers["access-control-allow-origin"], undefined);
});

test("Domain and Path of a peer's cookies change, and nothing else of them, nor our session's cookie", async (t) => {
  const { world, says, with: show } = await headerWorld(t, 64);
  await show({
    "proxy-cookie-domain": "Inside.example.test shop.example.test",
    "proxy-cookie-path": "/app/ /",
    affinity: "cookie",
    "session-cookie-path": "/app/",
  });
  assert.deepEqual(world.verdicts, []);
  says({
    "set-cookie": [
      "a=1; Domain=.inside.example.TEST; path=/app/x; Secure",
      "b=Domain=inside.example.test; Path=/application",
      "c=/app/; domain=other.example.test ;Path=/app/",
    ],
  });
  const cookies = (await world.nginx.get("/")).headers["set-cookie"] ?? [];
  const session = cookies.filter((cookie) => cookie.startsWith("INGRESSCOOKIE="));
  assert.equal(session.length, 1);
  assert.match(session[0] ?? "", /; Path=\/app\/;/);
  assert.deepEqual(
    cookies.filter((cookie) => !session.includes(cookie)),
    [
      "a=1; Domain=shop.example.test; path=/x; Secure",
      "b=Domain=inside.example.test; Path=/application",
      "c=/app/; domain=other.example.test ;Path=/",
    ],
  );
  await show({ "proxy-cookie-domain": "off", "proxy-cookie-path": "~^/app/ /" });
  assert.match(world.verdicts.join("\n"), /proxy-cookie-path.* is not off, or what stands there/);
  says({ "set-cookie": "a=1; Path=/app/" });
  assert.deepEqual((await world.nginx.get("/")).headers["set-cookie"], ["a=1; Path=/app/"]);
});

test("headers of a ConfigMap stand in every answer, errors too, in place of the peer's, and change without a reload", async (t) => {
  const { world, pod, says } = await headerWorld(t, 65);
  const { configMaps, nginx } = world;
  const show = () =>
    world.show(
      { annotations: { "custom-headers": "headers" }, hosts: { [HOST]: ["P / -> web"] } },
      {
        annotations: { "custom-headers": "shop/headers", "denylist-source-range": "127.0.0.0/8" },
        hosts: { [HOST]: ["P /shut -> web"] },
      },
    );
  const seen = async (path: string) => {
    const { status, headers } = await nginx.get(path);
    return [
      status,
      headers["x-frame-options"],
      headers["content-security-policy"],
      headers["x-own"],
      headers["x-other"],
    ];
  };
  const config = async () => (await nginx.client.state(t.signal)).config;
  configMaps.set("config", {
    "global-allowed-response-headers": "X-Frame-Options, Content-Security-Policy,X-Own",
  });
  says({ "x-frame-options": "ALLOWALL", "x-own": ["a", "b"], "x-other": "1" });
  // It is not there yet: when it comes nothing reloads.
  await show();
  assert.match(world.verdicts.join("\n"), /ConfigMapMissing .*ConfigMap shop\/headers has not been read/);
  assert.deepEqual(await seen("/"), [200, "ALLOWALL", undefined, "a, b", "1"]);
  const before = await config();
  const policy = "default-src 'self'; report-uri \"/csp?$a\\b{};\"";
  configMaps.set("headers", {
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": policy,
    "X-Own": "1",
    "X-Other": "2",
    "Content-Length": "0",
  });
  await show();
  assert.equal(world.verdicts.length, 4);
  assert.deepEqual(await seen("/"), [200, "DENY", policy, "1", "1"]);
  assert.deepEqual(await seen("/shut"), [403, "DENY", policy, "1", undefined]);
  assert.equal((await nginx.get("/")).body, "web");
  configMaps.set("headers", { "X-Own": "2" });
  await show();
  assert.deepEqual(await seen("/"), [200, "ALLOWALL", undefined, "2", "1"]);
  await pod.close();
  const [status, , , own] = await seen("/");
  assert.deepEqual([Number(status) >= 500, own], [true, "2"]);
  assert.equal(await config(), before);
});
