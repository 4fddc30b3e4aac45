// What stands in the access log: read back from a real nginx.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { type TestContext, test } from "node:test";
import { accessLogFields, accessLogPathOf } from "./access-log.ts";
import type { NginxRow } from "./nginx-row.ts";
import { peersRow, type TestNginx, testNginx, testPod } from "./testing/proxy-world.ts";
import { sendRaw } from "./testing/raw-peer.ts";

const HOST = "shop.example.test";
const soon = { timeout: 60_000, interval: 50 };

type Line = Readonly<Record<string, string | number>>;

const route: NginxRow = {
  k: "route",
  host: HOST,
  paths: [
    ["P", "/", "web", "default"],
    ["P", "/quiet", "web", "default", { unlogged: true }],
    ["P", "/none", "nobody", "default"],
  ],
  sources: [["shop", "front", "web"]],
  of: [1, 1, 1],
};

async function lines(nginx: TestNginx): Promise<Line[]> {
  const text = await readFile(accessLogPathOf(nginx.options.dir), "utf8");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Line);
}

/** Lines once there are so many. */
async function logged(t: TestContext, nginx: TestNginx, count: number): Promise<Line[]> {
  await t.waitFor(async () => assert.ok((await lines(nginx)).length >= count), soon);
  return lines(nginx);
}

test("a line says who asked for what, which rule took it, and who answered, retries and all", async (t) => {
  const nginx = await testNginx(t, { workers: 1, accessLog: "file" });
  const one = await testPod(t, "127.25.70.1", "one");
  const gone = await testPod(t, "127.25.70.2", "gone");
  await gone.close();
  await nginx.apply(peersRow("web", "member1", one), { k: "upstream", id: "nobody" }, route);
  const headers = {
    "user-agent": 'a "b" \\ c',
    referer: "https://www.example.test/x?token=secret",
    "x-request-id": "id-1",
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  };
  await nginx.get("/cart/%41?password=secret", { headers, method: "POST", body: "12345" });
  await nginx.get("/quiet/x");
  await nginx.get("/none/x");
  await nginx.get("/", { host: "other.example.test" });
  await nginx.apply(peersRow("web", "member1", gone), peersRow("web", "member2", one));
  for (let i = 0; i < 2; i++) await nginx.get("/retried", { fresh: true });
  const seen = await logged(t, nginx, 5);
  assert.equal(seen.length, 5);
  assert.doesNotMatch(JSON.stringify(seen), /secret|quiet/);
  const [first, none, other, ...rest] = seen;
  assert.deepEqual(
    Object.keys(first ?? {}),
    accessLogFields.map(([name]) => name),
  );
  const { time, timestamp, duration_seconds, request_bytes, response_bytes, body_bytes, ...whole } =
    first ?? {};
  assert.ok(Math.abs(Date.parse(String(time)) - Number(timestamp) * 1000) < 2000);
  assert.ok(
    Number(duration_seconds) >= 0 && Number(request_bytes) > 5 && Number(response_bytes) > Number(body_bytes),
  );
  assert.ok(Number(body_bytes) >= 3);
  const peer = `${one.address}:${one.port}`;
  const { upstream_connect_time, upstream_header_time, upstream_response_time, ...said } = whole;
  for (const seconds of [upstream_connect_time, upstream_header_time, upstream_response_time]) {
    assert.match(String(seconds), /^\d\.\d{3}$/);
  }
  assert.deepEqual(said, {
    request_id: "id-1",
    trace_id: "0af7651916cd43dd8448eb211c80319c",
    remote_addr: "127.0.0.1",
    method: "POST",
    scheme: "http",
    host: HOST,
    path: "/cart/%41",
    protocol: "HTTP/1.1",
    status: 200,
    route_host: HOST,
    route_path: "/",
    namespace: "shop",
    ingress: "front",
    service: "web",
    cluster: "member1",
    peer,
    upstream_addr: peer,
    upstream_status: "200",
    reason: "",
    user_agent: 'a "b" \\ c',
    referer: "https://www.example.test/x",
  });
  assert.deepEqual(
    [none?.["status"], none?.["reason"], none?.["route_path"], none?.["cluster"], none?.["peer"]],
    [503, "no-peers", "/none", "", ""],
  );
  assert.deepEqual(
    [other?.["status"], other?.["reason"], other?.["route_path"], other?.["namespace"]],
    [404, "no-route", "", ""],
  );
  const retried = rest.find((line) => String(line["upstream_addr"]).includes(","));
  assert.ok(retried, JSON.stringify(rest));
  assert.equal(retried["upstream_addr"], `${gone.address}:${gone.port}, ${peer}`);
  assert.equal(retried["upstream_status"], "502, 200");
  assert.deepEqual([retried["status"], retried["cluster"], retried["peer"]], [200, "member2", peer]);
});

test("docs/reference/access-log.md lists what a line says", async () => {
  const page = new URL("../../../docs/reference/access-log.md", import.meta.url);
  const text = await readFile(page, "utf8");
  const rows = accessLogFields.map(
    ([name, { text: variable }, kind, meaning]) => `| \`${name}\` | ${kind} | \`${variable}\` | ${meaning} |`,
  );
  const table = ["| field | kind | nginx's variable | what it says |", "|---|---|---|---|", ...rows].join(
    "\n",
  );
  const expected = text.replace(/\| field \|.*?\n(?=\n)/s, `${table}\n`);
  if (process.env["UPDATE_DOCS"] === "1") await writeFile(page, expected);
  assert.equal(await readFile(page, "utf8"), expected, "UPDATE_DOCS=1 writes it anew");
});

/** Bytes that hurt: quotes, line ends where they may stand, controls, broken and overlong UTF-8, what looks like a line. */
const HOSTILE = [
  '"}\\n{"status":200,"path":"/forged',
  "\\",
  '\\"',
  "\u2028\u2029",
  "\x7f\x80\xff",
  "\xc0\xaf\xe0\x80\x80\xed\xa0\x80\xf4\x90\x80\x80",
  "\xc3",
  "\xc3\xa9",
  "\t\t",
];

/** A seeded draw, so that a failure can be told again. */
function drawn(seed: Buffer): (n: number) => number {
  let at = 0;
  return (n) => seed.readUInt16LE((at++ * 2) % (seed.length - 2)) % n;
}

test("no request, whatever its bytes, forges a line or breaks one", async (t) => {
  const nginx = await testNginx(t, { workers: 1, accessLog: "file" });
  const one = await testPod(t, "127.25.71.1", "one");
  await nginx.apply(peersRow("web", "member1", one), route);
  const seed = randomBytes(8192);
  t.diagnostic(`seed ${seed.subarray(0, 16).toString("hex")}`);
  const draw = drawn(seed);
  const text = () => {
    let out = "";
    for (let i = draw(4); i >= 0; i--) {
      out += draw(3) === 0 ? HOSTILE[draw(HOSTILE.length)] : String.fromCharCode(1 + draw(255));
    }
    // What would end a header line is another request, which nginx reads or refuses as such.
    return out.replaceAll(/[\r\n]/g, "");
  };
  const count = 300;
  for (let i = 0; i < count; i++) {
    const path = text().replaceAll(" ", "");
    const request = `GET /${path}?${path} HTTP/1.1\r\nHost: ${draw(2) === 0 ? HOST : text()}\r\n`;
    const headers = `User-Agent: ${text()}\r\nReferer: ${text()}\r\nX-Request-Id: ${text()}\r\ntraceparent: ${text()}\r\n`;
    await sendRaw(nginx.options.httpAddress, `${request}${headers}Connection: close\r\n\r\n`, t.signal);
  }
  await nginx.get("/the-last-one");
  const raw = async () => (await readFile(accessLogPathOf(nginx.options.dir), "latin1")).split("\n");
  await t.waitFor(async () => assert.match((await raw()).at(-2) ?? "", /the-last-one/), soon);
  const all = (await raw()).slice(0, -1);
  assert.equal(all.length, count + 1);
  const names = JSON.stringify(accessLogFields.map(([name]) => name));
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  for (const line of all) {
    const parsed = JSON.parse(utf8.decode(Buffer.from(line, "latin1"))) as Line;
    assert.equal(JSON.stringify(Object.keys(parsed)), names);
    assert.notEqual(parsed["path"], "/forged");
    assert.ok(Number.isInteger(parsed["status"]));
  }
});
