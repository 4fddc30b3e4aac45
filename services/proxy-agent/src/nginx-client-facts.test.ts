// What a peer is told of its client, and by whose word.
import assert from "node:assert/strict";
import type { IncomingHttpHeaders } from "node:http";
import { type TestContext, test } from "node:test";
import type { NginxOptions } from "./prepare-nginx.ts";
import {
  peersRow,
  routeRow,
  type TestNginx,
  type TestPod,
  testNginx,
  testPod,
} from "./testing/proxy-world.ts";
import { sendRaw } from "./testing/raw-peer.ts";

const HOST = "shop.example.test";
const LIES = {
  "x-forwarded-for": "192.0.2.1, 198.51.100.7",
  "x-forwarded-proto": "https",
  "x-forwarded-host": "other.example.test",
  "x-forwarded-port": "8443",
  "x-forwarded-scheme": "https",
  "x-scheme": "https",
  "x-real-ip": "192.0.2.1",
  forwarded: "for=192.0.2.1;proto=https;host=other.example.test",
};

async function world(
  t: TestContext,
  range: number,
  options: Pick<NginxOptions, "clients" | "requestIds">,
): Promise<{
  nginx: TestNginx;
  pod: TestPod;
  told(headers?: Record<string, string>): Promise<IncomingHttpHeaders>;
}> {
  const nginx = await testNginx(t, { workers: 1, ...options });
  const pod = await testPod(t, `127.25.${range}.1`, "web");
  await nginx.apply(peersRow("web", "member1", pod), routeRow(HOST, "web"));
  return {
    nginx,
    pod,
    async told(headers = {}) {
      assert.equal((await nginx.get("/", { headers })).status, 200);
      return pod.last.headers;
    },
  };
}

const facts = (headers: IncomingHttpHeaders) =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => /forwarded|scheme|real-ip/.test(name)));

test("nobody is believed about a client unless an operator says so", async (t) => {
  const { nginx, told } = await world(t, 80, {});
  const port = nginx.options.httpAddress.split(":")[1];
  const expected = {
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-proto": "http",
    "x-forwarded-scheme": "http",
    "x-scheme": "http",
    "x-forwarded-host": HOST,
    "x-forwarded-port": port,
    "x-real-ip": "127.0.0.1",
  };
  assert.deepEqual(facts(await told()), expected);
  // What was said before stands under a name of its own, as in ingress-nginx.
  assert.deepEqual(facts(await told(LIES)), {
    ...expected,
    "x-original-forwarded-for": LIES["x-forwarded-for"],
  });
});

test("whoever is trusted is believed, from the last hop back to the first that nobody vouches for", async (t) => {
  const { told } = await world(t, 81, {
    clients: { from: ["127.0.0.0/8", "198.51.100.0/24"], forwardedHeaders: true },
  });
  assert.deepEqual(facts(await told(LIES)), {
    "x-forwarded-for": "192.0.2.1",
    "x-forwarded-proto": "https",
    "x-forwarded-scheme": "https",
    "x-scheme": "https",
    "x-forwarded-host": "other.example.test",
    "x-forwarded-port": "8443",
    "x-original-forwarded-for": LIES["x-forwarded-for"],
    "x-real-ip": "192.0.2.1",
  });
  // Only as far as it is what it should be.
  const odd = { "x-forwarded-proto": "javascript", "x-forwarded-host": "a b", "x-forwarded-port": "1e9" };
  const said = facts(await told({ ...odd, "x-forwarded-for": "203.0.113.5, 192.0.2.9" }));
  assert.equal(said["x-forwarded-for"], "192.0.2.9");
  assert.deepEqual([said["x-forwarded-proto"], said["x-forwarded-host"]], ["http", HOST]);
  assert.notEqual(said["x-forwarded-port"], "1e9");
});

test("trust in others is none in this one", async (t) => {
  const { told } = await world(t, 82, {
    clients: { from: ["192.0.2.0/24"], forwardedHeaders: true, fullForwardedFor: true },
  });
  const said = facts(await told(LIES));
  assert.deepEqual(
    [said["x-forwarded-for"], said["x-real-ip"], said["x-forwarded-proto"], said["x-forwarded-host"]],
    ["127.0.0.1", "127.0.0.1", "http", HOST],
  );
});

test("the whole of X-Forwarded-For goes on where that is asked for, and another header may say who the client is", async (t) => {
  const { told } = await world(t, 83, {
    clients: {
      from: ["127.0.0.1"],
      forwardedHeaders: true,
      forwardedForHeader: "X-Client-Address",
      fullForwardedFor: true,
    },
  });
  const said = facts(await told({ ...LIES, "x-client-address": "203.0.113.5" }));
  assert.equal(said["x-real-ip"], "203.0.113.5");
  assert.equal(said["x-forwarded-for"], `${LIES["x-forwarded-for"]}, 127.0.0.1`);
  assert.equal(facts(await told({ "x-client-address": "203.0.113.5" }))["x-forwarded-for"], "127.0.0.1");
});

test("PROXY protocol says who the client is where it is trusted; without it nobody is served", async (t) => {
  const { nginx, pod } = await world(t, 84, { clients: { from: ["127.0.0.0/8"], proxyProtocol: true } });
  const request = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n`;
  const hello = "PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\n";
  assert.match(await sendRaw(nginx.options.httpAddress, hello + request, t.signal), /^HTTP\/1\.1 200 /);
  assert.equal(pod.last.headers["x-forwarded-for"], "203.0.113.9");
  assert.equal(pod.last.headers["x-real-ip"], "203.0.113.9");
  const before = pod.requests;
  assert.doesNotMatch(await sendRaw(nginx.options.httpAddress, request, t.signal), / 200 /);
  assert.equal(pod.requests, before);
});

test("PROXY protocol of somebody who is not trusted is read, and not believed", async (t) => {
  const { nginx, pod } = await world(t, 85, { clients: { from: [], proxyProtocol: true } });
  const request = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`;
  const hello = "PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\n";
  assert.match(await sendRaw(nginx.options.httpAddress, hello + request, t.signal), /^HTTP\/1\.1 200 /);
  assert.equal(pod.last.headers["x-real-ip"], "127.0.0.1");
});

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const GOOD = [
  `00-${TRACE}-b7ad6b7169203331-01`,
  `00-${TRACE}-b7ad6b7169203331-00`,
  `01-${TRACE}-b7ad6b7169203331-01`,
  `cc-${TRACE}-b7ad6b7169203331-01-what-comes-later`,
];
const BAD = [
  "x",
  `ff-${TRACE}-b7ad6b7169203331-01`,
  `00-${TRACE}-b7ad6b7169203331-01-more`,
  `00-${TRACE}-b7ad6b7169203331`,
  `00-${TRACE.toUpperCase()}-b7ad6b7169203331-01`,
  `00-${"0".repeat(32)}-b7ad6b7169203331-01`,
  `00-${TRACE}-${"0".repeat(16)}-01`,
  `01-${TRACE}-b7ad6b7169203331-01x`,
];

test("a valid traceparent goes on with its tracestate, an invalid one and its tracestate do not", async (t) => {
  const { told } = await world(t, 86, {});
  for (const traceparent of GOOD) {
    const said = await told({ traceparent, tracestate: "a=1" });
    assert.deepEqual([said["traceparent"], said["tracestate"]], [traceparent, "a=1"]);
  }
  for (const traceparent of BAD) {
    const said = await told({ traceparent, tracestate: "a=1" });
    assert.deepEqual([said["traceparent"], said["tracestate"]], [undefined, undefined], traceparent);
  }
  assert.equal((await told({ tracestate: "a=1" }))["tracestate"], undefined);
});

test("where traces are begun a request without a valid one gets its own", async (t) => {
  const { told } = await world(t, 87, { requestIds: { traces: true } });
  const own = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01$/;
  const seen = new Set<string>();
  for (const headers of [{}, {}, ...BAD.map((traceparent) => ({ traceparent, tracestate: "a=1" }))]) {
    const { traceparent, tracestate } = await told(headers as Record<string, string>);
    assert.match(String(traceparent), own);
    assert.equal(tracestate, undefined);
    seen.add(String(traceparent));
  }
  assert.equal(seen.size, BAD.length + 2);
  assert.equal((await told({ traceparent: GOOD[0]! }))["traceparent"], GOOD[0]);
});

test("a request keeps its id if it can stand in a log, else it gets one; none where none are made", async (t) => {
  const { told } = await world(t, 88, {});
  assert.equal((await told({ "x-request-id": "abc-1" }))["x-request-id"], "abc-1");
  for (const id of ["", "a b", "x".repeat(129)]) {
    assert.match(String((await told({ "x-request-id": id }))["x-request-id"]), /^[0-9a-f]{32}$/);
  }
  const { told: bare } = await world(t, 89, { requestIds: { generate: false } });
  assert.equal((await bare())["x-request-id"], undefined);
  assert.equal((await bare({ "x-request-id": "abc-1" }))["x-request-id"], "abc-1");
});
