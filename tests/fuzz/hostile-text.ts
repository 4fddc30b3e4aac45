import type { SeededRandom } from "../simulation/seeded-random.ts";
import { published } from "./published.ts";

/** What means something to nginx, to Lua, to HTTP, to a file system or to JavaScript, and what only looks like it. */
// biome-ignore-start format: a table of texts
// biome-ignore-start lint/suspicious/noTemplateCurlyInString: variables of nginx
const FRAGMENTS: readonly string[] = [
  '"',
  "'",
  ";",
  "{",
  "}",
  "}}",
  "#",
  "\\",
  '\\"',
  "\\\\",
  "`",
  "$",
  "${",
  "$host",
  "${host}",
  "$1",
  "$10",
  "\n",
  "\r",
  "\r\n",
  "\0",
  "\t",
  "\v",
  "\x1b",
  "\x7f",
  "\x80",
  " ",
  "  ",
  "]]",
  "[[",
  "]=]",
  "--",
  "--[[",
  "..",
  "%s",
  "%1",
  "%%",
  "%0a",
  "%0d%0a",
  "%00",
  "%2e%2e%2f",
  "%2f",
  "%5c",
  "%",
  "%zz",
  "%ff",
  "../",
  "/../",
  "/./",
  "//",
  "/..",
  "\\..\\",
  "\r\nX-Injected: 1\r\n",
  "\nreturn 200;",
  "; deny all;",
  "} server { listen 1; }",
  '"; include /etc/passwd; "',
  "\u00a0",
  "\u0085",
  "\u2028",
  "\u2029",
  "\ufeff",
  "\u202e",
  "\u200b",
  "\u037e",
  "\uff1b",
  "\uff5b",
  "\uff02",
  "\u2019",
  "\u0000",
  "\ud800",
  "\udc00",
  "\u{1f600}",
  "\u0130",
  "\u017f",
  "\u212a",
  "\u0663",
  "\ufb03",
  "e\u0301",
  "1e3",
  "0x10",
  "-1",
  "+1",
  "1.5",
  "00",
  "99999999999999999999",
  "NaN",
  "Infinity",
  "1_000",
  "10mm",
  "1k1",
  "__proto__",
  "constructor",
  "toString",
  "prototype",
  "null",
  "undefined",
  "[object Object]",
  "*",
  "~",
  "^",
  "(?:",
  "(a+)+$",
  "[",
  "(?{",
  "|",
  "javascript:",
  "data:",
  "file:///etc/passwd",
  "unix:/tmp/x.sock",
  "@",
  "[::1]",
  "169.254.169.254",
  "0",
  ",",
  ", ",
  "=",
  "&",
  "?",
  "<",
  ">",
];
// biome-ignore-end lint/suspicious/noTemplateCurlyInString: variables of nginx
// biome-ignore-end format: a table of texts
const LENGTHS: readonly number[] = [63, 64, 128, 253, 254, 1024, 2048, 2049, 4096, 5000];

/** A text that nobody would write by mistake. */
export function hostileText(random: SeededRandom): string {
  switch (random.between(0, 5)) {
    case 0:
      return random.pick(published).text;
    case 1:
      return random.pick(FRAGMENTS).repeat(random.pick([1, 1, 2, 3, 100]));
    case 2:
      return String.fromCharCode(
        ...Array.from({ length: random.between(1, 12) }, () => random.between(0, 0x7f)),
      );
    case 3:
      return random.pick(["a", "9", "/", "a/", "a.", "(", "$1", "%41"]).repeat(random.pick(LENGTHS));
    default:
      return Array.from({ length: random.between(1, 5) }, () => random.pick(FRAGMENTS)).join(
        random.pick(["", "", " ", "a"]),
      );
  }
}

/** The text with something hostile in it. */
export function spoiled(random: SeededRandom, text: string): string {
  const at = random.pick([0, text.length, random.between(0, text.length)]);
  switch (random.between(0, 6)) {
    case 0:
      return text + hostileText(random);
    case 1:
      return text.toUpperCase();
    case 2:
      return text.slice(0, at);
    case 3:
      return text + text;
    case 4:
      return text.slice(0, at) + random.pick(LENGTHS.map((length) => "x".repeat(length))) + text.slice(at);
    default:
      return text.slice(0, at) + random.pick(FRAGMENTS) + text.slice(at);
  }
}
