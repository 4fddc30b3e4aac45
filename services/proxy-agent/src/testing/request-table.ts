// What is done with requests that can be read in more than one way: each row is sent to a real nginx, and all of them are
// the table of docs/reference/routing.md.

export interface RequestCase {
  /** For the page; what is between `` is text that is sent. */
  readonly what: string;
  /** The bytes, one a character; of several each is sent, and answered alike. */
  readonly raw: string | readonly string[];
  /** A status that nginx answers with, asking nobody; or who is asked, for what. */
  readonly answer: number | Asked | readonly Asked[];
  readonly note?: string;
}

export interface Asked {
  /** The route's peer. */
  readonly peer: "root" | "cart" | "exact" | "other" | "wild" | "default" | "idn";
  /** What stands in its request line; absent: what came. */
  readonly target?: string;
  /** The Host that it sees; absent: shop.example.test. */
  readonly host?: string;
  readonly body?: string;
}

const HOST = "Host: shop.example.test\r\n";
const END = "Connection: close\r\n\r\n";
const post = (headers: string, body: string) => `POST / HTTP/1.1\r\n${HOST}${headers}${END}${body}`;

const at = (path: string, answer: number | Asked["peer"], note?: string): RequestCase => ({
  what: `path \`${path.length > 60 ? `${path.slice(0, 3)}...` : path}\``,
  raw: `GET ${path} HTTP/1.1\r\n${HOST}${END}`,
  answer: typeof answer === "number" ? answer : { peer: answer, target: path },
  ...(note === undefined ? {} : { note }),
});

const named = (host: string, answer: number | Asked, note?: string): RequestCase => ({
  what: `\`Host: ${host}\``,
  raw: `GET / HTTP/1.1\r\nHost: ${host}\r\n${END}`,
  answer: typeof answer === "number" ? answer : { host, ...answer },
  ...(note === undefined ? {} : { note }),
});

const headed = (
  what: string,
  headers: string,
  answer: RequestCase["answer"],
  note?: string,
): RequestCase => ({
  what,
  raw: `GET / HTTP/1.1\r\n${HOST}${headers}${END}`,
  answer,
  ...(note === undefined ? {} : { note }),
});

/** Routes: shop.example.test with / (root), Prefix /cart (cart), Exact /exact (exact); other.example.test; and so on. */
export const requestTable: Readonly<Record<string, readonly RequestCase[]>> = {
  Paths: [
    at(
      "/c%61rt",
      "cart",
      "percent-encoding is taken off before paths are compared; the peer gets the path as it came",
    ),
    at("/%2563art", "root", "once, not twice"),
    at("/cart%2fa", "cart", "an encoded slash is a slash"),
    at("//cart///a", "cart", "slashes in a row are one"),
    at("/cart//", "cart", "an empty segment at the end is none"),
    at("/./cart/.", "cart", "`.` is nothing"),
    at("/x/../cart", "cart", "`..` takes a segment away"),
    at("/x%2f%2e%2e%2fcart", "cart", "encoded or not"),
    at("/cart/../../x", 400, "nothing is above /"),
    at("/x\\..\\cart", "root", "a backslash is a letter"),
    at("/cart;x=1", "root", "so is a semicolon: /cart;x=1 is another segment than /cart"),
    at("/CART", "root", "case counts, but in regular expressions"),
    at("/exact/", "root", "an Exact path has no closing slash but its own"),
    at("/cart?a=/exact", "cart", "the query is not looked at"),
    at("/cart#x", "cart", "nor is a fragment, which a client should keep for itself"),
    at("/a%00b", 400),
    at("/a%zz", 400),
    at("/a b", 400),
    at("/a\x01b", 400, "a control character"),
    at("/\xc3\xa9", "root", "bytes that should have been encoded go on as they are"),
    at(`/${"a".repeat(8000)}`, "root", "8,000 characters"),
    at(`/${"a".repeat(9000)}`, 414, "more than fits into 8 KiB with its method and version"),
  ],
  Hosts: [
    named(
      "SHOP.Example.TEST",
      { peer: "root", host: "shop.example.test" },
      "compared, and passed on, in lower case",
    ),
    named("shop.example.test:8080", { peer: "root" }, "the port is not compared, and passed on"),
    named("shop.example.test:80x", { peer: "root", host: "shop.example.test" }, "what is no port is dropped"),
    named("shop.example.test.", { peer: "root", host: "shop.example.test" }, "the root's dot is dropped"),
    named("shop.example.test..", 400),
    named("a.wild.example.test", { peer: "wild" }, "a wildcard is one label"),
    named("a.b.wild.example.test", { peer: "default" }, "not two"),
    named(".wild.example.test", { peer: "default" }, "nor none"),
    named("*.wild.example.test", { peer: "default" }, "the name of the wildcard itself is nobody's"),
    named(
      "xn--bcher-kva.example.test",
      { peer: "idn" },
      "an IDN is compared in its ASCII form; a rule must be written so",
    ),
    named(
      "b\xc3\xbccher.example.test",
      { peer: "default" },
      "in another form it is no host that a rule can have",
    ),
    named("[::1]:80", { peer: "default" }),
    named("a@shop.example.test", { peer: "default" }, "whatever is no rule's host is the default's"),
    named("shop.example.test,other.example.test", { peer: "default" }),
    named("shop.example.test/x", 400),
    named("shop example", 400),
    {
      what: "a second `Host`, another or the same",
      raw: ["Host: other.example.test\r\n", HOST].map((second) => `GET / HTTP/1.1\r\n${HOST}${second}${END}`),
      answer: 400,
    },
    { what: "no `Host`, HTTP/1.1", raw: `GET / HTTP/1.1\r\n${END}`, answer: 400 },
    { what: "`Host:` with nothing behind it", raw: `GET / HTTP/1.1\r\nHost:\r\n${END}`, answer: 400 },
    {
      what: "no `Host`, HTTP/1.0",
      raw: "GET / HTTP/1.0\r\n\r\n",
      answer: { peer: "default", target: "/", host: "_" },
      note: "HTTP/1.1 wants one, and so the peer gets one",
    },
  ],
  "Request lines": [
    {
      what: "`GET http://other.example.test/x`, `Host: shop.example.test`",
      raw: `GET http://other.example.test/x HTTP/1.1\r\n${HOST}${END}`,
      answer: { peer: "other", target: "/x", host: "other.example.test" },
      note: "absolute form: its host counts, for the route and for the peer (RFC 9112 3.2.2)",
    },
    {
      what: "`GET http://shop.example.test?x=1`",
      raw: `GET http://shop.example.test?x=1 HTTP/1.1\r\n${HOST}${END}`,
      answer: { peer: "root", target: "/?x=1" },
    },
    {
      what: "`GET http://u@other.example.test/`",
      raw: `GET http://u@other.example.test/ HTTP/1.1\r\n${HOST}${END}`,
      answer: 400,
    },
    { what: "`OPTIONS *`", raw: `OPTIONS * HTTP/1.1\r\n${HOST}${END}`, answer: 400 },
    { what: "`CONNECT`", raw: `CONNECT other.example.test:80 HTTP/1.1\r\n${HOST}${END}`, answer: 400 },
    { what: "`TRACE`", raw: `TRACE / HTTP/1.1\r\n${HOST}${END}`, answer: 405 },
    { what: "a method in lower case", raw: `get / HTTP/1.1\r\n${HOST}${END}`, answer: 400 },
    { what: "HTTP/2.0 in a request line", raw: `GET / HTTP/2.0\r\n${HOST}${END}`, answer: 505 },
    {
      what: "empty lines before it",
      raw: `\r\n\r\nGET /cart HTTP/1.1\r\n${HOST}${END}`,
      answer: { peer: "cart", target: "/cart" },
      note: "passed over (RFC 9112 2.2)",
    },
    {
      what: "lines that end with LF alone",
      raw: "GET /cart HTTP/1.1\nHost: shop.example.test\nConnection: close\n\n",
      answer: { peer: "cart", target: "/cart" },
      note: "read, and written anew with CR LF",
    },
  ],
  Headers: [
    headed("a line folded onto a next one", "X-A: 1\r\n folded\r\n", 400),
    headed("a blank before the colon", "X-A : 1\r\n", 400),
    headed("CR alone in a value", "X-A: 1\rX-B: 2\r\n", 400),
    headed("NUL in a value", "X-A: a\0b\r\n", 400),
    headed("a name with nothing in it", ": x\r\n", 400),
    headed(
      "a line without a colon",
      "garbage\r\n",
      { peer: "root", target: "/" },
      "taken for a header without a value",
    ),
    headed(
      "a name with _ in it",
      "X_Forwarded_For: 192.0.2.1\r\n",
      { peer: "root", target: "/" },
      "left out: many a peer takes it for -",
    ),
    headed("a line over 8 KiB", `X-A: ${"a".repeat(9000)}\r\n`, 400),
    headed(
      "more than 32 KiB in all",
      Array.from({ length: 40 }, (_, i) => `X-${i}: ${"a".repeat(1000)}\r\n`).join(""),
      400,
    ),
    headed(
      "`Upgrade: h2c`",
      "Upgrade: h2c\r\n",
      { peer: "root", target: "/" },
      "not passed on: what came through that tunnel would meet no route",
    ),
    headed(
      "`Connection: X-Forwarded-For`",
      "Connection: X-Forwarded-For\r\n",
      { peer: "root", target: "/" },
      "takes nothing away: what we say of a request stays",
    ),
    headed("`Proxy`", "Proxy: http://192.0.2.1/\r\n", { peer: "root", target: "/" }, "left out (httpoxy)"),
  ],
  Bodies: [
    {
      what: "`Content-Length` and `Transfer-Encoding`",
      raw: post(
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        `0\r\n\r\nGET /cart HTTP/1.1\r\n${HOST}\r\n`,
      ),
      answer: 400,
    },
    {
      what: "two `Content-Length`, equal or not",
      raw: [3, 2].map((second) => post(`Content-Length: 3\r\nContent-Length: ${second}\r\n`, "abc")),
      answer: 400,
    },
    { what: "`Content-Length: 3, 3`", raw: post("Content-Length: 3, 3\r\n", "abc"), answer: 400 },
    { what: "`Content-Length: +3`", raw: post("Content-Length: +3\r\n", "abc"), answer: 400 },
    { what: "`Content-Length: -1`", raw: post("Content-Length: -1\r\n", ""), answer: 400 },
    {
      what: "two `Transfer-Encoding`",
      raw: post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
      answer: 400,
    },
    {
      what: "`Transfer-Encoding: gzip, chunked`",
      raw: post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
      answer: 501,
    },
    {
      what: "`Transfer-Encoding: identity`",
      raw: post("Transfer-Encoding: identity\r\nContent-Length: 3\r\n", "abc"),
      answer: 501,
    },
    {
      what: "`Transfer-Encoding: xchunked`",
      raw: post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
      answer: 501,
    },
    {
      what: "`Transfer-Encoding` with a tab before chunked",
      raw: post("Transfer-Encoding:\tchunked\r\n", "0\r\n\r\n"),
      answer: 501,
    },
    {
      what: "`Transfer-Encoding : chunked`",
      raw: post("Transfer-Encoding : chunked\r\nContent-Length: 3\r\n", "abc"),
      answer: 400,
    },
    {
      what: "`Transfer-Encoding` folded",
      raw: post("Transfer-Encoding:\r\n chunked\r\nContent-Length: 3\r\n", "abc"),
      answer: 400,
    },
    {
      what: "chunks in HTTP/1.0",
      raw: `POST / HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
      answer: 400,
    },
    {
      what: "a chunk whose size is no number",
      raw: post("Transfer-Encoding: chunked\r\n", "-1\r\nabc\r\n0\r\n\r\n"),
      answer: 400,
    },
    {
      what: "a chunk whose size overflows",
      raw: post("Transfer-Encoding: chunked\r\n", `${"f".repeat(18)}\r\nabc\r\n0\r\n\r\n`),
      answer: 400,
    },
    {
      what: "a chunk's extension, LF alone, a trailer",
      raw: post("Transfer-Encoding: chunked\r\n", "3;a=b\nabc\r\n0\r\nHost: other.example.test\r\n\r\n"),
      answer: { peer: "root", target: "/", body: "abc" },
      note: "read; the peer gets the body alone, with its length",
    },
    {
      what: "a GET with a body",
      raw: `GET / HTTP/1.1\r\n${HOST}Content-Length: 3\r\n${END}abc`,
      answer: { peer: "root", target: "/", body: "abc" },
    },
    {
      what: "two requests in one packet",
      raw: `GET / HTTP/1.1\r\n${HOST}\r\nGET /cart HTTP/1.1\r\n${HOST}${END}`,
      answer: [
        { peer: "root", target: "/" },
        { peer: "cart", target: "/cart" },
      ],
      note: "each goes its own way",
    },
  ],
};
