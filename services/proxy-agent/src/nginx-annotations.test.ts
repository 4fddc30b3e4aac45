// What each annotation does that no other test begins at: from the object to what a client, or a peer, sees of it.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { accessLogPathOf } from "./access-log.ts";
import { testAuthority, testCertificate } from "./testing/certificates.ts";
import { type PodAnswer, type TestNginx, type TestPod, testPod } from "./testing/proxy-world.ts";
import { type ServedIngress, type ServedWorld, servedWorld } from "./testing/served-world.ts";
import { secureGet } from "./testing/tls-clients.ts";

const HOST = "shop.example.test";
const hosts = { [HOST]: ["P / -> web"] };
const patience = { timeout: 60_000, interval: 20 };
const base64 = (text: string) => Buffer.from(text).toString("base64");

interface Case extends ServedWorld {
  readonly pod: TestPod;
  /** Serves `next`, behind no path but a canary's. */
  readonly next: TestPod;
  /** Peers of `web`; a change of them counts from the next `show`. */
  readonly pods: TestPod[];
  readonly t: TestContext;
  with(annotations: Readonly<Record<string, string>>, more?: Partial<ServedIngress>): Promise<void>;
  statuses(count: number): Promise<number[]>;
}

async function conf({ nginx }: Case): Promise<string> {
  return readFile(join(nginx.options.dir, "nginx.conf"), "utf8");
}

const cookieOf = (headers: { readonly "set-cookie"?: readonly string[] | undefined }) =>
  headers["set-cookie"]?.[0] ?? "";

/** By the annotations that they show. */
const cases: Readonly<Record<string, (world: Case) => Promise<void>>> = {
  "temporal-redirect, temporal-redirect-code": async ({ nginx, with: show }) => {
    await show({ "temporal-redirect": "https://www.example.test/x", "temporal-redirect-code": "307" });
    const { status, headers } = await nginx.get("/");
    assert.deepEqual([status, headers.location], [307, "https://www.example.test/x"]);
  },

  "force-ssl-redirect": async ({ nginx, with: show }) => {
    await show({ "force-ssl-redirect": "true" });
    const { status, headers } = await nginx.get("/cart");
    assert.equal(status, 308);
    assert.match(headers.location ?? "", /^https:\/\/shop\.example\.test(:[0-9]+)?\/cart$/);
    assert.equal((await secureGet(nginx, "/cart")).status, 200);
  },

  "ssl-redirect": async (world) => {
    const { nginx, secrets, with: show, t } = world;
    const { chain, key } = await testCertificate(await testAuthority("test"), [HOST]);
    secrets.set("shop-tls", { "tls.crt": base64(chain), "tls.key": base64(key) });
    await show({}, { tls: "shop-tls" });
    await t.waitFor(async () => assert.equal((await nginx.get("/")).status, 308), patience);
    await show({ "ssl-redirect": "false" }, { tls: "shop-tls" });
    assert.equal((await nginx.get("/")).status, 200);
  },

  "whitelist-source-range": async ({ nginx, with: show }) => {
    await show({ "whitelist-source-range": "10.0.0.0/8" });
    assert.equal((await nginx.get("/")).status, 403);
    await show({ "whitelist-source-range": "10.0.0.0/8,127.0.0.1" });
    assert.equal((await nginx.get("/")).status, 200);
  },

  "limit-rps, limit-whitelist": async ({ statuses, with: show, t }) => {
    const limit = { "limit-rps": "1", "limit-burst-multiplier": "1" };
    await show(limit);
    await t.waitFor(async () => assert.ok((await statuses(50)).includes(503)), patience);
    await show({ ...limit, "limit-whitelist": "127.0.0.0/8" });
    assert.deepEqual(new Set(await statuses(50)), new Set([200]));
  },

  "limit-connections": async ({ nginx, pod, with: show, t }) => {
    await show({ "limit-connections": "1" });
    pod.frozen = true;
    const before = pod.requests;
    const first = nginx.get("/").catch(() => null);
    await t.waitFor(() => assert.equal(pod.requests, before + 1), patience);
    pod.frozen = false;
    const { status, headers } = await nginx.get("/");
    assert.deepEqual([status, headers["x-sluice-reason"]], [503, "too-many-connections"]);
    pod.server.closeAllConnections();
    await first;
    await t.waitFor(async () => assert.equal((await nginx.get("/")).status, 200), patience);
  },

  "limit-rate, limit-rate-after": async ({ nginx, with: show }) => {
    await show({ "limit-rate": "1" });
    const slow = await nginx.get("/2k");
    assert.ok(slow.body.length === 2048 && slow.ms > 900, `${slow.ms} ms`);
    await show({ "limit-rate": "1", "limit-rate-after": "64" });
    // By its rate alone it would take a minute.
    assert.ok((await nginx.get("/60k")).ms < 50_000);
  },

  "enable-access-log": async (world) => {
    const { nginx, with: show, t } = world;
    const logged = async () => readFile(accessLogPathOf(nginx.options.dir), "utf8");
    await show({ "enable-access-log": "false" });
    await nginx.get("/unlogged-request");
    await show({});
    await nginx.get("/logged-request");
    await t.waitFor(async () => assert.ok((await logged()).includes("/logged-request")), patience);
    assert.ok(!(await logged()).includes("/unlogged-request"));
  },

  // Whom they choose under load: nginx-sessions.test.ts.
  "load-balance": async ({ nginx, pods, with: show, t }) => {
    pods.push(await testPod(t, "127.25.120.3", "other"));
    for (const method of ["least_conn", "ewma", "round_robin"]) {
      await show({ "load-balance": method });
      const seen = new Set<string>();
      await t.waitFor(async () => {
        seen.add((await nginx.get("/")).body);
        assert.deepEqual([...seen].sort(), ["other", "web"]);
      }, patience);
    }
  },

  "affinity-mode": async ({ nginx, pods, with: show, t }) => {
    const sessions = async () => {
      const begun = await Promise.all(Array.from({ length: 40 }, () => nginx.get("/")));
      return begun.map(({ headers }) => ({ cookie: cookieOf(headers).split(";")[0] ?? "" }));
    };
    const moved = async (all: readonly { readonly cookie: string }[]) => {
      const answers = await Promise.all(all.map((headers) => nginx.get("/", { headers })));
      return answers.filter(({ body }) => body === "newcomer").length;
    };
    const newcomer = await testPod(t, "127.25.120.4", "newcomer");
    for (const mode of ["persistent", "balanced"] as const) {
      const said = { affinity: "cookie", "affinity-mode": mode };
      await show(said);
      const before = await sessions();
      pods.push(newcomer);
      await show(said);
      // Forty sessions all stay by chance once in 10^12 runs.
      assert.equal((await moved(before)) > 0, mode === "balanced", mode);
      pods.pop();
      await show(said);
    }
  },

  "session-cookie-max-age, session-cookie-expires, session-cookie-domain, session-cookie-samesite, session-cookie-secure":
    async ({ nginx, with: show }) => {
      await show({
        affinity: "cookie",
        "session-cookie-max-age": "60",
        "session-cookie-expires": "3600",
        "session-cookie-domain": ".example.test",
        "session-cookie-samesite": "strict",
        "session-cookie-secure": "true",
      });
      const cookie = cookieOf((await nginx.get("/")).headers);
      for (const part of [
        /; Max-Age=60/,
        /; Expires=\w{3}, /,
        /; Domain=\.example\.test/,
        /; SameSite=Strict/,
        /; Secure/,
      ])
        assert.match(cookie, part);
    },

  "session-cookie-change-on-failure": async ({ nginx, pods, with: show, t }) => {
    const brief = await testPod(t, "127.25.120.5", "brief");
    pods.push(brief);
    const said = { affinity: "cookie", "session-cookie-change-on-failure": "true" };
    await show(said);
    let cookie = "";
    await t.waitFor(async () => {
      const { body, headers } = await nginx.get("/");
      cookie = cookieOf(headers).split(";")[0] ?? "";
      assert.equal(body, "brief");
    }, patience);
    await brief.close();
    const { status, headers } = await nginx.get("/", { headers: { cookie } });
    assert.equal(status, 200);
    assert.match(cookieOf(headers), /^INGRESSCOOKIE=/);
    assert.notEqual(cookieOf(headers).split(";")[0], cookie);
    pods.pop();
  },

  "canary, canary-by-header, canary-by-header-value, canary-by-header-pattern, canary-by-cookie, canary-weight, canary-weight-total":
    async ({ nginx, show }) => {
      const beside = (annotations: Readonly<Record<string, string>>) =>
        show(
          { hosts },
          {
            name: "beside",
            annotations: { canary: "true", ...annotations },
            hosts: { [HOST]: ["P / -> next"] },
          },
        );
      const side = async (headers: Readonly<Record<string, string>> = {}) =>
        (await nginx.get("/", { headers })).body;
      await beside({ "canary-by-header": "X-Canary", "canary-by-cookie": "canary", "canary-weight": "0" });
      assert.deepEqual([await side(), await side({ "x-canary": "always" })], ["web", "next"]);
      assert.equal(await side({ cookie: "canary=always" }), "next");
      assert.equal(await side({ cookie: "canary=always", "x-canary": "never" }), "web");
      await beside({ "canary-by-header": "X-Canary", "canary-by-header-value": "v2" });
      assert.deepEqual(
        [await side({ "x-canary": "always" }), await side({ "x-canary": "v2" })],
        ["web", "next"],
      );
      await beside({ "canary-by-header": "X-Canary", "canary-by-header-pattern": "^v[2-9]$" });
      assert.deepEqual([await side({ "x-canary": "v1" }), await side({ "x-canary": "v3" })], ["web", "next"]);
      await beside({ "canary-weight": "100" });
      assert.equal(await side(), "next");
      await beside({ "canary-weight": "1000", "canary-weight-total": "1000" });
      assert.equal(await side(), "next");
    },

  "affinity-canary-behavior": async ({ nginx, show, with: without }) => {
    const main = { annotations: { affinity: "cookie" }, hosts };
    await without({ affinity: "cookie" });
    const { headers } = await nginx.get("/");
    const session = { headers: { cookie: cookieOf(headers).split(";")[0] ?? "" } };
    for (const [behavior, body] of [
      ["sticky", "web"],
      ["legacy", "next"],
    ] as const) {
      const annotations = { canary: "true", "canary-weight": "100", "affinity-canary-behavior": behavior };
      await show(main, { name: "beside", annotations, hosts: { [HOST]: ["P / -> next"] } });
      assert.equal((await nginx.get("/", session)).body, body, behavior);
    }
  },

  "auth-method, auth-request-redirect, auth-always-set-cookie, auth-signin-redirect-param": async ({
    nginx,
    with: show,
    t,
  }) => {
    let method: string | undefined;
    let status = 200;
    const asked = await testPod(t, "127.25.120.9", "asked", undefined, (_, { method: seen }) => {
      method = seen;
      return { status };
    });
    asked.server.prependListener("request", (_request, response) =>
      response.setHeader("set-cookie", "seen=1"),
    );
    const said = {
      "auth-url": `http://${asked.address}:${asked.port}/`,
      "auth-method": "POST",
      "auth-request-redirect": "https://$host/back",
      "auth-signin": "https://login.example.test/",
      "auth-signin-redirect-param": "return-to",
    };
    const get = (path: string) => nginx.get(path);
    await show(said);
    await t.waitFor(async () => assert.notEqual((await get("/404")).status, 500), patience);
    assert.deepEqual(
      [method, asked.last.headers["x-auth-request-redirect"]],
      ["POST", `https://${HOST}/back`],
    );
    assert.equal(cookieOf((await get("/404")).headers), "");
    await show({ ...said, "auth-always-set-cookie": "true" });
    assert.equal(cookieOf((await get("/404")).headers), "seen=1");
    status = 401;
    const signin = await get("/cart");
    assert.deepEqual(
      [signin.status, signin.headers.location],
      [302, `https://login.example.test/?return-to=http://${HOST}%2Fcart`],
    );
  },

  "auth-tls-secret, auth-tls-verify-client, auth-tls-verify-depth, auth-tls-pass-certificate-to-upstream, auth-tls-error-page":
    async ({ nginx, pod, secrets, with: show, t }) => {
      const authority = await testAuthority("clients");
      const [server, alice] = await Promise.all([
        testCertificate(authority, [HOST]),
        testCertificate(authority, ["alice"], { subject: "CN=alice" }),
      ]);
      secrets.set("shop-tls", { "tls.crt": base64(server.chain), "tls.key": base64(server.key) });
      secrets.set("clients", { "ca.crt": base64(authority.certificate) });
      const as = { cert: alice.chain, key: alice.key };
      const said = { "auth-tls-secret": "shop/clients", "auth-tls-verify-depth": "1" };
      await show({ ...said, "auth-tls-pass-certificate-to-upstream": "true" }, { tls: "shop-tls" });
      await t.waitFor(async () => assert.equal((await secureGet(nginx, "/", as)).status, 200), patience);
      assert.match(String(pod.last.headers["ssl-client-cert"]), /^-----BEGIN%20CERTIFICATE-----/);
      assert.equal((await secureGet(nginx, "/")).status, 400);
      await show({ ...said, "auth-tls-error-page": "https://www.example.test/who" }, { tls: "shop-tls" });
      const page = await secureGet(nginx, "/");
      assert.deepEqual([page.status, page.headers.location], [302, "https://www.example.test/who"]);
      await show({ ...said, "auth-tls-verify-client": "optional" }, { tls: "shop-tls" });
      assert.equal((await secureGet(nginx, "/")).status, 200);
      assert.equal(pod.last.headers["ssl-client-cert"], undefined);
    },

  // As in ingress-nginx neither of them sees what rewrite-target makes of a request.
  "auth-url, mirror-target beside rewrite-target": async ({ nginx, pod, show, t }) => {
    const asked = await testPod(t, "127.25.120.11", "asked");
    const copies = await testPod(t, "127.25.120.12", "copies");
    const annotations = {
      "rewrite-target": "/inside/$1",
      "auth-url": `http://${asked.address}:${asked.port}/?of=$escaped_request_uri`,
      "mirror-target": `http://${copies.address}:${copies.port}`,
    };
    await show({ annotations, hosts: { [HOST]: ["P /app/(.*) -> web"] } });
    await t.waitFor(async () => {
      const { status, body } = await nginx.get("/app/cart?x=1");
      assert.deepEqual([status, body], [200, "web"]);
      assert.equal(copies.last.url, "/app/cart?x=1");
    }, patience);
    assert.equal(pod.last.url, "/inside/cart?x=1");
    assert.deepEqual(
      [asked.last.url, asked.last.headers["x-original-url"]],
      ["/?of=%2Fapp%2Fcart%3Fx%3D1", `http://${HOST}/app/cart?x=1`],
    );
  },

  "enable-global-auth": async ({ nginx, configMaps, with: show }) => {
    configMaps.set("config", { "global-auth-url": "http://127.25.120.10:1/" });
    await show({});
    assert.equal((await nginx.get("/")).status, 500);
    await show({ "enable-global-auth": "false" });
    assert.equal((await nginx.get("/")).status, 200);
    configMaps.delete("config");
  },

  "proxy-read-timeout": async ({ nginx, pod, with: show }) => {
    await show({ "proxy-read-timeout": "1", "proxy-next-upstream": "off" });
    pod.frozen = true;
    const { status, ms } = await nginx.get("/");
    pod.frozen = false;
    assert.deepEqual([status, ms >= 900], [504, true]);
  },

  "proxy-request-buffering": async ({ nginx, pod, with: show, t }) => {
    await show({ "proxy-request-buffering": "off" });
    const before = pod.requests;
    const [host, port] = nginx.options.httpAddress.split(":");
    const sent = request({ host, port, method: "POST", headers: { host: HOST, "content-length": "8" } });
    const answered = new Promise<number | undefined>((resolve, reject) => {
      sent.on("response", (response) => response.resume().on("end", () => resolve(response.statusCode)));
      sent.on("error", reject);
    });
    sent.write("half");
    // The peer has begun while the client has not ended.
    await t.waitFor(() => assert.equal(pod.requests, before + 1), patience);
    sent.end("half");
    assert.equal(await answered, 200);
  },

  // What nginx does by these is nginx's; that it is told stands in its configuration.
  "proxy-connect-timeout, proxy-send-timeout, proxy-next-upstream-timeout, proxy-buffering": async (
    world,
  ) => {
    await world.with({
      "proxy-connect-timeout": "7",
      "proxy-send-timeout": "17",
      "proxy-next-upstream-timeout": "27",
      "proxy-buffering": "off",
    });
    assert.equal((await world.nginx.get("/")).status, 200);
    const text = await conf(world);
    for (const line of [
      "proxy_connect_timeout 7000ms;",
      "proxy_send_timeout 17000ms;",
      "proxy_next_upstream_timeout 27000ms;",
      "proxy_buffering off;",
    ])
      assert.ok(text.includes(line), line);
  },

  "service-upstream": async (world) => {
    await world.with({ "service-upstream": "true" });
    assert.deepEqual([(await world.nginx.get("/")).body, world.verdicts], ["web", []]);
  },

  "configuration-snippet, server-snippet, stream-snippet, auth-snippet, modsecurity-snippet, enable-modsecurity":
    async (world) => {
      const { nginx, with: show } = world;
      await show({
        "configuration-snippet": "more_set_headers 'X-Injected: 1';",
        "server-snippet": "location /x { }",
        "stream-snippet": "server { listen 1; }",
        "enable-modsecurity": "true",
        "modsecurity-snippet": "SecRuleEngine On",
      });
      assert.equal((await nginx.get("/")).status, 200);
      assert.equal(world.verdicts.length, 5);
      for (const verdict of world.verdicts)
        assert.match(verdict, /^ingress-0 AnnotationRefused .* is not used: .*; /);
      for (const [name, text] of [
        ["configuration-snippet", "deny all;"],
        ["server-snippet", "return 403;"],
        ["auth-snippet", "proxy_set_header X-A b;"],
      ] as const) {
        await show({ [name]: text });
        assert.equal((await nginx.get("/")).status, 503);
        assert.match(
          world.verdicts[0] ?? "",
          /ProtectionRefused .*text for nginx\.conf is never taken from an object/,
        );
      }
      assert.doesNotMatch(await conf(world), /X-Injected|SecRule|listen 1;/);
    },
};

test("what an annotation says is what a client meets", { timeout: 300_000 }, async (t) => {
  const body: PodAnswer = (_, { url = "" }) => {
    const [, size] = /^\/([0-9]+)k$/.exec(url) ?? [];
    if (url === "/404") return { status: 404 };
    return size === undefined ? undefined : { body: "x".repeat(Number(size) * 1024) };
  };
  const pod = await testPod(t, "127.25.120.1", "web", undefined, body);
  const next = await testPod(t, "127.25.120.2", "next");
  const pods = [pod];
  const world = await servedWorld(t, { web: pods, next: [next] });
  // Each case reloads nginx, which closes connections that are kept: a request may just be under way on one.
  const nginx: TestNginx = {
    ...world.nginx,
    get: (path, options) => world.nginx.get(path, { fresh: true, ...options }),
  };
  for (const [names, run] of Object.entries(cases)) {
    await t.test(names, async (own) => {
      // Whatever a case that failed has left.
      pods.splice(1);
      pod.frozen = false;
      world.configMaps.clear();
      await run({
        nginx,
        secrets: world.secrets,
        configMaps: world.configMaps,
        show: world.show,
        get verdicts() {
          return world.verdicts;
        },
        get profiles() {
          return world.profiles;
        },
        pod,
        next,
        pods,
        t: own,
        with: (annotations, more = {}) => world.show({ annotations, hosts, ...more }),
        statuses: async (count) => {
          const answers = await Promise.all(Array.from({ length: count }, () => nginx.get("/")));
          return answers.map(({ status }) => status);
        },
      });
    });
  }
});

test("each annotation of the reference stands in a test on a real nginx", () => {
  const page = readFileSync(join(import.meta.dirname, "../../../docs/reference/annotations.md"), "utf8");
  const [own = ""] = page.split("## On a ServiceImport");
  const names = [...own.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, name = ""]) => name);
  assert.ok(names.length > 90, `${names.length} annotations`);
  const tests = readdirSync(import.meta.dirname)
    .filter((file) => /^nginx-.*\.test\.ts$/.test(file))
    .map((file) => readFileSync(join(import.meta.dirname, file), "utf8"))
    .join("\n");
  const missing = names.filter((name) => !new RegExp(`(?<![-\\w])${name}(?![-\\w])`).test(tests));
  assert.deepEqual(missing, []);
});
