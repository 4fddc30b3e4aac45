// The same for requests over HTTP/2, header by header: what a client of Node's would never send, too.
import type { RawHttp2Request } from "./raw-http2.ts";
import type { Asked } from "./request-table.ts";

export interface Http2Case {
  readonly what: string;
  /** Each is sent, and answered alike. */
  readonly requests: readonly RawHttp2Request[];
  /** `refused`: 400, or the stream or the connection ends without an answer, as the version of nginx has it. */
  readonly answer: number | "refused" | Asked;
  readonly note?: string;
  /** Must stand in what a peer gets. */
  readonly peerSees?: RegExp;
}

type Header = readonly [name: string, value: string];

const PLAIN = { ":method": "GET", ":scheme": "https", ":path": "/", ":authority": "shop.example.test" };
const root: Asked = { peer: "root", target: "/" };

/** null: left out. */
function pseudo(other: Readonly<Record<string, string | null>> = {}): Header[] {
  return Object.entries({ ...PLAIN, ...other }).flatMap(([name, value]): Header[] =>
    value === null ? [] : [[name, value]],
  );
}

type Others = Readonly<Record<string, string | null>>;
type More = Pick<Http2Case, "note" | "peerSees">;

/** @param others what each request has in place of, or without, the ordinary ones */
const asked = (
  what: string,
  others: readonly Others[],
  answer: Http2Case["answer"],
  note?: string,
): Http2Case => ({
  what,
  requests: others.map((other) => ({ headers: pseudo(other) })),
  answer,
  ...(note === undefined ? {} : { note }),
});

/** @param sets what each request has behind the ordinary ones */
const headed = (
  what: string,
  sets: readonly (readonly Header[])[],
  answer: Http2Case["answer"],
  more: More = {},
): Http2Case => ({
  what,
  requests: sets.map((headers) => ({ headers: [...pseudo(), ...headers] })),
  answer,
  ...more,
});

const posted = (
  what: string,
  sets: readonly (readonly Header[])[],
  body: string | undefined,
  answer: Http2Case["answer"],
  note?: string,
): Http2Case => ({
  what,
  requests: sets.map((headers) => ({
    headers: [...pseudo({ ":method": "POST" }), ...headers],
    ...(body === undefined ? {} : { body }),
  })),
  answer,
  ...(note === undefined ? {} : { note }),
});

const authority = (...texts: readonly (string | null)[]): Others[] =>
  texts.map((text) => ({ ":authority": text }));
const path = (...texts: readonly (string | null)[]): Others[] => texts.map((text) => ({ ":path": text }));
const method = (...texts: readonly (string | null)[]): Others[] => texts.map((text) => ({ ":method": text }));
const scheme = (...texts: readonly (string | null)[]): Others[] => texts.map((text) => ({ ":scheme": text }));
const hosts = (...texts: readonly string[]): RawHttp2Request => ({
  headers: [...pseudo({ ":authority": null }), ...texts.map((text): Header => ["host", text])],
});
const values = (...texts: readonly string[]): Header[][] => texts.map((text) => [["x-a", text]]);
const lengths = (...texts: readonly string[]): Header[] => texts.map((text) => ["content-length", text]);

/** Routes and peers are those of the other table. */
export const http2Table: readonly Http2Case[] = [
  asked(
    "`:authority: SHOP.Example.TEST:8443`",
    authority("SHOP.Example.TEST:8443"),
    { ...root, host: "shop.example.test:8443" },
    "read as a Host is",
  ),
  asked("`:authority: shop.example.test.`", authority("shop.example.test."), root),
  asked("`:authority: a@shop.example.test`", authority("a@shop.example.test"), {
    peer: "default",
    target: "/",
    host: "a@shop.example.test",
  }),
  asked("`:authority: shop.example.test/x`, or an empty one", authority("shop.example.test/x", ""), 400),
  asked("`:authority` with CR LF in it", authority("shop.example.test\r\nX-A: 1"), "refused"),
  { what: "`host` in place of `:authority`", requests: [hosts("shop.example.test")], answer: root },
  headed(
    "`host` beside `:authority`, another or the same",
    [[["host", "other.example.test"]], [["host", "shop.example.test"]]],
    400,
  ),
  { what: "two `host`", requests: [hosts("shop.example.test", "other.example.test")], answer: 400 },
  headed(
    "two `:authority`, or two `:path`",
    [[[":authority", "other.example.test"]], [[":path", "/cart"]]],
    400,
  ),
  asked("neither `:authority` nor `host`", authority(null), 400),
  asked(
    "`:path: //cart/%2e`",
    path("//cart/%2e"),
    { peer: "cart", target: "//cart/%2e" },
    "read as in HTTP/1",
  ),
  asked("`:path: /../x`", path("/../x"), 400),
  asked(
    "`:path: http://other.example.test/x`, `cart`, `*`, an empty one, or none",
    path("http://other.example.test/x", "cart", "*", "", null),
    400,
    "there is no absolute form",
  ),
  asked("`:path` with a blank or a control character", path("/a b", "/a\x01b", "/a%00b"), 400),
  asked("`:path` with CR LF in it", path("/ HTTP/1.1\r\nX-A: 1"), "refused"),
  asked("`:path` of more than 8 KiB", path(`/${"a".repeat(9000)}`), "refused"),
  asked("`:method: get`, `GET /cart`, or none", method("get", "GET /cart", null), 400),
  asked("`:method: CONNECT` or `TRACE`", method("CONNECT", "TRACE"), 405),
  asked(
    "`:scheme: http`, or another",
    scheme("http", "ftp"),
    root,
    "peers are told https: what the connection is",
  ),
  asked("`:scheme: https://x/?`, or none", scheme("https://x/?", null), 400),
  headed("`:status`, or another name with a colon before it", [[[":status", "200"]], [[":x", "1"]]], 400),
  headed(
    "a name in upper case, with a blank, a colon or CR LF in it, or with nothing in it",
    ["X-A", "x a", "x:a", "x\r\nhost: other.example.test", ""].map((name) => [[name, "1"]]),
    "refused",
  ),
  headed("CR, LF or NUL in a value", values("1\r\nx-b: 2", "1\nx-b: 2", "1\rx", "a\0b"), "refused"),
  headed("a header over 8 KiB", values("a".repeat(9000)), "refused"),
  headed(
    "`upgrade`, whatever it says",
    [
      [
        ["connection", "upgrade"],
        ["upgrade", "websocket"],
      ],
      [["upgrade", "h2c"]],
    ],
    400,
    { note: "nginx would take all that comes on the connection for that one stream's" },
  ),
  headed("`connection: x-forwarded-for`", [[["connection", "x-forwarded-for"]]], root, {
    note: "takes nothing away",
    peerSees: /^x-forwarded-for: 127\.0\.0\.1\r$/im,
  }),
  headed("`x_forwarded_for`", [[["x_forwarded_for", "192.0.2.1"]]], root, { note: "left out" }),
  headed("`proxy`", [[["proxy", "http://192.0.2.1/"]]], root, { note: "left out" }),
  headed(
    "two `cookie`",
    [
      [
        ["cookie", "a=1"],
        ["cookie", "b=2"],
      ],
    ],
    root,
    { note: "become one", peerSees: /^cookie: a=1; b=2\r$/im },
  ),
  posted(
    "a body without `content-length`",
    [[]],
    "abc",
    { ...root, body: "abc" },
    "the peer gets it with its length",
  ),
  posted(
    "`transfer-encoding: chunked`, and a body that looks like chunks",
    [[["transfer-encoding", "chunked"]]],
    "0\r\n\r\nGET /cart",
    { ...root, body: "0\r\n\r\nGET /cart" },
    "the header is left out, the body is the body",
  ),
  posted("`content-length` that is more than the body, or less", [lengths("5"), lengths("2")], "abc", 400),
  posted("`content-length` without a body", [lengths("5")], undefined, 400),
  posted("two `content-length`, or `+3`", [lengths("3", "3"), lengths("+3")], "abc", 400),
];
