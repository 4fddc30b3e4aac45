// Values of annotations about which requests a canary takes.
import { reader, type ValueReader } from "./annotation-values.ts";
import { checkRegex } from "./path-regex.ts";

/** nginx finds a header by its name in lower case with _ for -. */
export const headerVariable: ValueReader<string> = reader(
  "a header's name of letters, digits, - and _, up to 128",
  (text) => (/^[A-Za-z0-9_-]{1,128}$/.test(text) ? text.toLowerCase().replaceAll("-", "_") : null),
);

// biome-ignore lint/suspicious/noControlCharactersInRegex: no header holds one
const CONTROL = /[\x00-\x1f\x7f]/;

export const headerText: ValueReader<string> = reader(
  "up to 1024 characters without control characters",
  (text) => (text !== "" && text.length <= 1024 && text.isWellFormed() && !CONTROL.test(text) ? text : null),
);

/** Case counts, and it may be found anywhere, as in ingress-nginx; what PCRE may be asked is as for paths. */
export const headerRegex: ValueReader<string> = reader(
  "a regular expression (docs/reference/routing.md says which are refused)",
  (text) => (text !== "" && checkRegex(text).ok ? text : null),
);
