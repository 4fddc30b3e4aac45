// What annotations say, from the object to the request: the model makes the rows, a real nginx serves them.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type PodAnswer, type TestNginx, type TestPod, testPod } from "./testing/proxy-world.ts";
import { servedWorld } from "./testing/served-world.ts";

const HOST = "shop.example.test";

/** An nginx in front of pods that serve `shop/web`, under an object with these annotations. */
async function serving(
  t: TestContext,
  annotations: Readonly<Record<string, string>>,
  pods: readonly TestPod[],
): Promise<TestNginx> {
  const world = await servedWorld(t, { web: pods }, { annotations, hosts: { [HOST]: ["P / -> web"] } });
  assert.deepEqual(world.verdicts, []);
  const settings = Object.keys(annotations).filter((name) => !/redirect|app-root/.test(name));
  assert.equal(world.profiles, settings.length === 0 ? 0 : 1);
  return world.nginx;
}

const pods = (t: TestContext, n: number, answer?: PodAnswer): Promise<TestPod[]> =>
  Promise.all(
    ["one", "two", "three"].map((name, i) => testPod(t, `127.25.${n}.${i + 1}`, name, undefined, answer)),
  );

async function statuses(nginx: TestNginx, count: number, more: Parameters<TestNginx["get"]>[1] = {}) {
  const seen: number[] = [];
  for (let i = 0; i < count; i++) seen.push((await nginx.get("/", more)).status);
  return seen;
}

for (const { annotations, failures } of [
  { annotations: {}, failures: false },
  { annotations: { "proxy-next-upstream-tries": "1" }, failures: true },
  { annotations: { "proxy-next-upstream": "off" }, failures: true },
]) {
  const said = Object.entries(annotations).map(([name, value]) => `${name}: ${value}`)[0] ?? "nothing said";
  test(`with ${said} a peer that refuses ${failures ? "costs its request" : "costs none"}`, async (t) => {
    const [one, two, three] = await pods(t, 40);
    const nginx = await serving(t, annotations, [one!, two!, three!]);
    await two!.close();
    const seen = await statuses(nginx, 6, { fresh: true });
    assert.deepEqual([...new Set(seen)].sort(), failures ? [200, 502] : [200]);
  });
}

test("an answer that proxy-next-upstream names is not taken from this peer, and is no failure of it", async (t) => {
  const answer: PodAnswer = ({ name }) => (name === "one" ? { status: 503, body: "busy" } : undefined);
  const all = await pods(t, 41, answer);
  const plain = await serving(t, {}, all);
  assert.deepEqual([...new Set(await statuses(plain, 6))].sort(), [200, 503]);
  const elsewhere = await serving(t, { "proxy-next-upstream": "error timeout http_503" }, all);
  assert.deepEqual([...new Set(await statuses(elsewhere, 12))], [200]);
});

test("a POST is tried elsewhere only where non_idempotent is asked for", async (t) => {
  const answer: PodAnswer = ({ name }) => (name === "one" ? { status: 503, body: "busy" } : undefined);
  const all = await pods(t, 42, answer);
  const post = { method: "POST", body: "x" };
  const careful = await serving(t, { "proxy-next-upstream": "error timeout http_503" }, all);
  assert.deepEqual([...new Set(await statuses(careful, 6, post))].sort(), [200, 503]);
  const bold = await serving(t, { "proxy-next-upstream": "error timeout http_503 non_idempotent" }, all);
  assert.deepEqual([...new Set(await statuses(bold, 6, post))], [200]);
});

test("a body is measured by its own object's limit, and 0 is none", async (t) => {
  const [one] = await pods(t, 43);
  const body = "x".repeat(2 * 1024 * 1024);
  const status = async (annotations: Readonly<Record<string, string>>) =>
    (await (await serving(t, annotations, [one!])).get("/", { method: "POST", body })).status;
  assert.equal(await status({}), 413);
  assert.equal(await status({ "proxy-body-size": "3m" }), 200);
  assert.equal(await status({ "proxy-body-size": "0" }), 200);
  assert.equal(await status({ "proxy-body-size": "1k" }), 413);
});

test("a response's header that does not fit into the buffer needs a larger one", async (t) => {
  const large = { "x-large": "y".repeat(6000) };
  const [one] = await pods(t, 44);
  one!.server.prependListener("request", (_request, response) =>
    response.setHeader("x-large", large["x-large"]),
  );
  const small = await serving(t, {}, [one!]);
  assert.equal((await small.get("/")).status, 502);
  const buffered = {
    "proxy-buffer-size": "16k",
    "proxy-buffers-number": "2",
    "client-body-buffer-size": "64k",
  };
  const nginx = await serving(t, buffered, [one!]);
  assert.equal((await nginx.get("/")).status, 200);
});

test("the peer is spoken to in the version that proxy-http-version says", async (t) => {
  const [one] = await pods(t, 45);
  const versions: string[] = [];
  one!.server.prependListener("request", (request) => versions.push(request.httpVersion));
  await (await serving(t, {}, [one!])).get("/");
  assert.equal(versions.at(-1), "1.1");
  await (await serving(t, { "proxy-http-version": "1.0" }, [one!])).get("/");
  assert.equal(versions.at(-1), "1.0");
});

// Where the default profile is the only one the balancer finds the redirect, else the step before it does.
for (const more of [{}, { "proxy-read-timeout": "61" }]) {
  const where = Object.keys(more).length === 0 ? "the default profile" : "another profile";
  test(`/ goes to the app root on the host that was asked for, and all else to the peers, with ${where}`, async (t) => {
    const [one] = await pods(t, 46);
    const nginx = await serving(t, { "app-root": "/app/", ...more }, [one!]);
    const root = await nginx.get("/");
    assert.equal(root.status, 302);
    assert.equal(root.headers.location, `http://${HOST}/app/`);
    assert.equal(root.body, "");
    assert.equal(
      (await nginx.get("/", { host: `${HOST}:8080` })).headers.location,
      `http://${HOST}:8080/app/`,
    );
    assert.equal((await nginx.get("/?x=1")).status, 302);
    assert.equal((await nginx.get("/app/")).body, "one");
    assert.equal((await nginx.get("/", { method: "POST", body: "x" })).status, 302);
  });
}

test("a redirect is answered without a peer, with its code", async (t) => {
  const to = "https://www.example.test/new?x=1";
  const nginx = await serving(t, { "permanent-redirect": to, "permanent-redirect-code": "308" }, []);
  const { status, headers } = await nginx.get("/anything?y=2");
  assert.deepEqual({ status, location: headers.location }, { status: 308, location: to });
});
