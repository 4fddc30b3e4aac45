// custom-http-errors: who answers what a peer has failed to.
import assert from "node:assert/strict";
import { test } from "node:test";
import { testPod } from "./testing/proxy-world.ts";
import { servedWorld } from "./testing/served-world.ts";

const HOST = "shop.example.test";

test("the default backend answers statuses that its object names, and is told what it was", async (t) => {
  let status = 200;
  const web = await testPod(t, "127.25.90.1", "web", undefined, () => ({ status, body: `web ${status}` }));
  const errors = await testPod(t, "127.25.90.2", "errors", undefined, (_, { headers }) => ({
    status: Number(headers["x-code"]),
    body: `sorry for ${headers["x-code"]}`,
  }));
  const annotations = { "custom-http-errors": "404,503, 502", "default-backend": "pages" };
  const world = await servedWorld(
    t,
    { web: [web], pages: [errors] },
    { name: "front", annotations, hosts: { [HOST]: ["P / -> web", "P /cart -> web"] } },
  );
  const { nginx } = world;
  assert.deepEqual(world.verdicts, []);
  assert.equal((await nginx.get("/")).body, "web 200");
  status = 404;
  const { status: seen, body } = await nginx.get("/cart/x?a=1", {
    method: "POST",
    body: "12345",
    headers: { accept: "application/json", "x-request-id": "id-1", "x-code": "999", "x-sluice-code": "418" },
  });
  assert.deepEqual([seen, body], [404, "sorry for 404"]);
  const { headers, url, body: sent } = errors.last;
  assert.deepEqual([url, sent, headers["content-length"], headers.host], ["/", "", undefined, HOST]);
  assert.deepEqual(
    Object.fromEntries(
      Object.entries(headers).filter(([name]) => /^x-(code|format|orig|namesp|ingr|serv|request)/.test(name)),
    ),
    {
      "x-code": "404",
      "x-format": "application/json",
      "x-original-uri": "/cart/x?a=1",
      "x-namespace": "shop",
      "x-ingress-name": "front",
      "x-service-name": "web",
      "x-service-port": "80",
      "x-request-id": "id-1",
    },
  );
  // A status that is not named is the peer's own.
  status = 500;
  assert.equal((await nginx.get("/")).body, "web 500");
  // nginx's own, where no peer answers.
  await web.close();
  assert.deepEqual(await nginx.get("/").then((answer) => [answer.status, answer.body]), [
    502,
    "sorry for 502",
  ]);
  // Nobody is there to say sorry: the status stays.
  await errors.close();
  const alone = await nginx.get("/");
  assert.equal(alone.status, 502);
  assert.doesNotMatch(alone.body, /sorry/);
});

test("who is refused is shown the page of the default backend, and the peer is not asked", async (t) => {
  const web = await testPod(t, "127.25.92.1", "web");
  const errors = await testPod(t, "127.25.92.2", "errors", undefined, (_, { headers }) => ({
    status: Number(headers["x-code"]),
    body: "sorry",
  }));
  const pages = { "custom-http-errors": "401,403,500", "default-backend": "pages" };
  // Nobody answers there: of whom nobody knows whether he may come in, 500.
  const unanswered = { ...pages, "auth-url": "http://127.25.92.9:9/" };
  const denied = { ...pages, "denylist-source-range": "0.0.0.0/0" };
  const world = await servedWorld(
    t,
    { web: [web], pages: [errors] },
    { name: "denied", annotations: denied, hosts: { [HOST]: ["P / -> web"] } },
    { name: "asked", annotations: unanswered, hosts: { "asked.example.test": ["P / -> web"] } },
  );
  assert.deepEqual(world.verdicts, []);
  for (const [host, status] of [
    [HOST, 403],
    ["asked.example.test", 500],
  ] as const) {
    for (const method of ["GET", "POST"]) {
      const answer = await world.nginx.get("/", { host, method });
      assert.deepEqual([answer.status, answer.body === "web"], [status, false], `${method} ${host}`);
    }
  }
  assert.equal(web.requests, 0);
});

test("without a default backend a named status stays, and the peer's text goes", async (t) => {
  const web = await testPod(t, "127.25.91.1", "web", undefined, () => ({
    status: 404,
    body: "a stack trace",
  }));
  const world = await servedWorld(
    t,
    { web: [web] },
    {
      annotations: { "custom-http-errors": "404" },
      hosts: { [HOST]: ["P / -> web"], "plain.example.test": ["P / -> web"] },
    },
  );
  const answer = await world.nginx.get("/");
  assert.deepEqual(
    [answer.status, answer.body, answer.headers["x-sluice-reason"]],
    [404, "404\n", "error-page"],
  );
  // A client cannot ask for one.
  const forged = await world.nginx.get("/", {
    host: "nobody.example.test",
    headers: { "x-sluice-code": "418" },
  });
  assert.equal(forged.status, 404);
  await world.show({ annotations: { "custom-http-errors": "404, 200" }, hosts: { [HOST]: ["P / -> web"] } });
  assert.match(
    world.verdicts.join("\n"),
    /AnnotationInvalid .*custom-http-errors.* is not up to 64 statuses/,
  );
  assert.equal((await world.nginx.get("/")).body, "a stack trace");
});
