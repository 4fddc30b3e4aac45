// Requests that can be read in more than one way, byte by byte; docs/reference/routing.md is made from the same table.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import type { PathEntry } from "./nginx-row.ts";
import { type Http2Case, http2Table } from "./testing/http2-table.ts";
import { testNginx } from "./testing/proxy-world.ts";
import { sendRawHttp2 } from "./testing/raw-http2.ts";
import { type RawPeer, rawPeer, sendRaw } from "./testing/raw-peer.ts";
import { type Asked, type RequestCase, requestTable } from "./testing/request-table.ts";

const at = (path: string, upstream: string, type: "E" | "P" = "P"): PathEntry => [
  type,
  path,
  upstream,
  "default",
];

async function world(t: TestContext) {
  const nginx = await testNginx(t, { workers: 1, https: true });
  const names: readonly Asked["peer"][] = ["root", "cart", "exact", "other", "wild", "default", "idn"];
  const peers = await Promise.all(names.map((name, i) => rawPeer(t, `127.21.10.${i + 1}`, name)));
  await nginx.apply(
    ...peers.map(({ row }) => row),
    {
      k: "route",
      host: "shop.example.test",
      paths: [at("/", "root"), at("/cart", "cart"), at("/exact", "exact", "E")],
    },
    { k: "route", host: "other.example.test", paths: [at("/", "other")] },
    { k: "route", host: "*.wild.example.test", paths: [at("/", "wild")] },
    { k: "route", host: "xn--bcher-kva.example.test", paths: [at("/", "idn")] },
    { k: "route", host: "", paths: [at("/", "default")] },
  );
  return { address: nginx.options.httpAddress, secure: nginx.options.httpsAddress ?? "", peers };
}

/** What reached peers meanwhile. */
function reached(peers: readonly RawPeer[]): { asked: Asked; text: string }[] {
  return peers.flatMap(({ name, requests }) =>
    requests.splice(0).map((text) => {
      const target = /^\S+ (.*) HTTP\/1\.1\r\n/.exec(text)?.[1] ?? "";
      const hosts = [...text.matchAll(/^host: (.*)\r$/gim)].map((match) => match[1]);
      const asked = {
        peer: name as Asked["peer"],
        target,
        host: hosts.join("+"),
        body: text.slice(text.indexOf("\r\n\r\n") + 4),
      };
      return { asked, text };
    }),
  );
}

const whole = (asked: Asked): Asked => ({
  target: "/",
  host: "shop.example.test",
  body: "",
  ...asked,
});

for (const [group, cases] of Object.entries(requestTable)) {
  test(`${group.toLowerCase()} that can be read in more than one way are read as the table says`, async (t) => {
    const { address, peers } = await world(t);
    const all = cases.flatMap(({ raw, ...rest }) => [raw].flat().map((each) => ({ ...rest, raw: each })));
    for (const { what, raw, answer } of all) {
      const said = await sendRaw(address, raw, t.signal);
      const seen = reached(peers);
      const statuses = [...said.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));
      if (typeof answer === "number") {
        assert.deepEqual(
          { statuses, reached: seen.map(({ text }) => text) },
          { statuses: [answer], reached: [] },
          what,
        );
        continue;
      }
      const expected = [answer].flat();
      assert.deepEqual(
        { statuses, asked: seen.map(({ asked }) => asked) },
        { statuses: expected.map(() => 200), asked: expected.map(whole) },
        what,
      );
      for (const { text } of seen) {
        assert.doesNotMatch(text, /^(upgrade|proxy|x_forwarded_for|transfer-encoding)\b/im, what);
        assert.match(text, /^x-forwarded-for: 127\.0\.0\.1\r$/im, what);
      }
    }
  });
}

test("requests over HTTP/2 that can be read in more than one way are read as the table says", async (t) => {
  const { secure, peers } = await world(t);
  const cases = http2Table.flatMap(({ requests, ...rest }) =>
    requests.map((request) => ({
      ...rest,
      request,
      what: `${rest.what}: ${JSON.stringify(request).slice(0, 300)}`,
    })),
  );
  for (const { what, answer, peerSees, request } of cases) {
    const said = await sendRawHttp2(secure, request, t.signal);
    const seen = reached(peers);
    const refused = typeof answer !== "object";
    const outcome = answer === "refused" && (said === "reset" || said === 400) ? "refused" : said;
    assert.deepEqual(
      { said: outcome, asked: seen.map(({ asked }) => asked) },
      refused ? { said: answer, asked: [] } : { said: 200, asked: [whole(answer)] },
      what,
    );
    for (const { text } of seen) {
      assert.doesNotMatch(text, /^(upgrade|proxy|x_forwarded_for|transfer-encoding|x-b)\b/im, what);
      assert.match(text, /^x-forwarded-proto: https\r$/im, what);
      if (peerSees !== undefined) assert.match(text, peerSees, what);
    }
  }
});

const page = new URL("../../../docs/reference/routing.md", import.meta.url);

function row({ what, answer, note = "" }: RequestCase | Http2Case): string {
  const outcome =
    typeof answer !== "object"
      ? `${answer}`
      : [answer]
          .flat()
          .map(({ peer, host }) => `${peer}${host === undefined ? "" : `, \`Host: ${host}\``}`)
          .join("; ");
  return `| ${printable(what)} | ${printable(outcome)} | ${note} |`;
}

function printable(text: string): string {
  const shown = Buffer.from(text, "latin1").toString("utf8");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: showing them is the point
  return shown.replace(/[\x00-\x1f]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

function render(rules: string): string {
  const tables = Object.entries(requestTable).flatMap(([group, cases]) => [
    `### ${group}`,
    "",
    "| what comes | who is asked | |",
    "|---|---|---|",
    ...cases.map(row),
    "",
  ]);
  const overHttp2 = [
    "### HTTP/2",
    "",
    "*refused*: 400, or the stream or the connection ends without an answer, as the version of nginx has it.",
    "",
    "| what comes | who is asked | |",
    "|---|---|---|",
    ...http2Table.map(row),
    "",
  ];
  return `${rules}${MARK}\n\n${[...tables, ...overHttp2].join("\n")}`;
}

const MARK = "<!-- From here on made from the table that the tests send. -->";

test("the table of docs/reference/routing.md is the one that is sent", () => {
  const text = readFileSync(page, "utf8");
  const [rules] = text.split(MARK);
  const made = render(rules ?? "");
  if (process.env["UPDATE_DOCS"] === "1") writeFileSync(page, made);
  assert.equal(readFileSync(page, "utf8"), made);
});
