// Who may come in and how often, from what annotations say to what a client meets.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { testPod } from "./testing/proxy-world.ts";
import { servedWorld } from "./testing/served-world.ts";

const HOST = "shop.example.test";
const patience = { timeout: 60_000, interval: 20 };
const base64 = (text: string) => Buffer.from(text).toString("base64");
const basic = (text: string) => ({ headers: { authorization: `Basic ${base64(text)}` } });

async function world(t: TestContext, range: number) {
  const pod = await testPod(t, `127.25.${range}.1`, "web");
  const served = await servedWorld(t, { web: [pod] });
  return {
    ...served,
    pod,
    with: async (annotations: Readonly<Record<string, string>>) => {
      await served.show({ annotations, hosts: { [HOST]: ["P / -> web"] } });
      return served.verdicts;
    },
  };
}

test("lists of addresses and limits reach the client, and of two objects on one host each path has its own", async (t) => {
  const { nginx, show } = await world(t, 100);
  await show(
    { annotations: { "denylist-source-range": "127.0.0.0/8" }, hosts: { [HOST]: ["P /shut -> web"] } },
    {
      annotations: { "limit-rpm": "1", "limit-burst-multiplier": "1" },
      hosts: { [HOST]: ["P /few -> web"] },
    },
    { hosts: { [HOST]: ["P / -> web"] } },
  );
  const statuses = async (path: string) => {
    const seen: number[] = [];
    for (let i = 0; i < 3; i++) seen.push((await nginx.get(path)).status);
    return seen;
  };
  assert.deepEqual(await statuses("/shut"), [403, 403, 403]);
  assert.deepEqual(await statuses("/few"), [200, 200, 503]);
  assert.deepEqual(await statuses("/"), [200, 200, 200]);
});

test("passwords of a Secret, as lines and as a map, let in; a Secret that is not there closes and says so", async (t) => {
  const { nginx, secrets, with: show } = await world(t, 101);
  const asked = { "auth-type": "basic", "auth-secret": "users", "auth-realm": "The shop" };
  assert.deepEqual(await show(asked), []);
  // Nobody has looked yet whether it is there: nobody is let in.
  assert.equal((await nginx.get("/", basic("alice:x"))).status, 503);
  secrets.set("users", {
    auth: base64("# staff\nalice:{PLAIN}x\nbob:$apr1$abcdefgh$T64oOxnD8c28.dQa.2Lty1\n"),
  });
  assert.deepEqual(await show(asked), []);
  await t.waitFor(async () => assert.equal((await nginx.get("/", basic("alice:x"))).status, 200), patience);
  assert.equal((await nginx.get("/", basic("bob:open sesame"))).status, 200);
  const { status, headers } = await nginx.get("/");
  assert.deepEqual([status, headers["www-authenticate"]], [401, 'Basic realm="The shop"']);
  secrets.set("users", { carol: base64("{PLAIN}y") });
  const [verdict = ""] = await show(asked);
  assert.match(verdict, /ProtectionRefused .*Secret shop\/users cannot be used: it has no auth/);
  assert.equal((await nginx.get("/", basic("alice:x"))).status, 503);
  assert.deepEqual(await show({ ...asked, "auth-secret-type": "auth-map" }), []);
  await t.waitFor(async () => assert.equal((await nginx.get("/", basic("carol:y"))).status, 200), patience);
  assert.equal((await nginx.get("/", basic("alice:x"))).status, 401);
});

test("auth-url, auth-signin and auth-response-headers reach the client, and a redirect goes before all of it", async (t) => {
  const { nginx, pod, with: show } = await world(t, 102);
  const service = await testPod(t, "127.25.102.9", "asked", undefined, (_, request) => ({
    status: request.headers.cookie === "session=alice" ? 200 : 401,
  }));
  service.server.prependListener("request", (_request, response) => response.setHeader("x-user", "alice"));
  const asked = {
    "auth-url": `http://${service.address}:${service.port}/verify/$namespace/$service_name?rd=$request_uri`,
    "auth-signin": "https://login.$host/start?rd=$escaped_request_uri",
    "auth-response-headers": "X-User",
    satisfy: "all",
  };
  // The host in auth-signin is a name or $host, not both.
  const [verdict = ""] = await show(asked);
  assert.match(verdict, /AnnotationInvalid .*auth-signin/);
  assert.deepEqual(
    await show({ ...asked, "auth-signin": "https://$host/start?rd=$escaped_request_uri" }),
    [],
  );
  await t.waitFor(async () => assert.equal((await nginx.get("/x?y")).status, 302), patience);
  assert.equal((await nginx.get("/x?y")).headers.location, `https://${HOST}/start?rd=%2Fx%3Fy`);
  assert.equal(service.last.url, "/verify/shop/web?rd=/x?y");
  assert.equal((await nginx.get("/", { headers: { cookie: "session=alice" } })).status, 200);
  assert.equal(pod.last.headers["x-user"], "alice");
  const before = service.requests;
  await show({
    ...asked,
    "permanent-redirect": "https://new.example.test/",
    "denylist-source-range": "127.0.0.0/8",
  });
  assert.equal((await nginx.get("/")).status, 301);
  assert.equal(service.requests, before);
});

test("what protects and cannot be read closes its object, and no other", async (t) => {
  const { nginx, show } = await world(t, 103);
  for (const annotations of [
    { "allowlist-source-range": "127.0.0.0/8, everybody" },
    { "auth-url": "https://user:password@auth.example.test/" },
    { "auth-type": "digest", "auth-secret": "users" },
    { "auth-secret": "users" },
    { "auth-response-headers": "X-User: x" },
    { "auth-response-headers": "X-User, host" },
    { "auth-snippet": "proxy_set_header X y;" },
    { "configuration-snippet": "deny all;" },
  ]) {
    await show({ annotations, hosts: { [HOST]: ["P /a -> web"] } }, { hosts: { [HOST]: ["P / -> web"] } });
    assert.deepEqual(
      [(await nginx.get("/a")).status, (await nginx.get("/")).status],
      [503, 200],
      JSON.stringify(annotations),
    );
  }
});
