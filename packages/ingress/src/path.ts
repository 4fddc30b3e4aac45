import { checkRegex } from "./path-regex.ts";

export type PathType = "Exact" | "Prefix";

export type PathCheck =
  | {
      readonly ok: true;
      readonly type: PathType;
      /** What is compared; a Prefix without its closing slash, which the rule of matching ignores. */
      readonly path: string;
      /** The same with its closing slash, if it has one. */
      readonly written: string;
    }
  | { readonly ok: false; readonly field: "path" | "pathType"; readonly why: string };

const TYPES = new Set(["Exact", "Prefix", "ImplementationSpecific"]);
/** What Ingress v1 refuses too: a proxy would normalise these away and match something else. */
const SEQUENCES = ["//", "/./", "/../", "%2f", "%2F"];
const SUFFIXES = ["/..", "/."];
/** nginx's default bound on a whole request line is 8 KiB. */
const MAX_PATH = 4096;

/** A request's path is compared decoded; so is a rule's. @returns null: it is no UTF-8 in percent-encoding */
function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (error instanceof URIError) return null;
    throw error;
  }
}

/** ImplementationSpecific means Prefix. @param regex its object says that paths are regular expressions */
export function checkPath(path: unknown, pathType: unknown, regex: boolean): PathCheck {
  if (typeof pathType !== "string" || !TYPES.has(pathType)) {
    return { ok: false, field: "pathType", why: "is none of Exact, Prefix and ImplementationSpecific" };
  }
  const bad = (why: string): PathCheck => ({ ok: false, field: "path", why });
  const own = pathType === "ImplementationSpecific";
  const type = pathType === "Exact" ? "Exact" : "Prefix";
  const given = own && (path === undefined || path === null || path === "") ? "/" : path;
  if (typeof given !== "string" || !given.startsWith("/")) return bad("does not begin with /");
  if (regex) {
    const check = checkRegex(given);
    return check.ok
      ? { ok: true, type, path: given, written: given }
      : bad(`as regular expression ${check.why}`);
  }
  if (given.length > MAX_PATH) return bad(`is longer than ${MAX_PATH} characters`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the point
  if (/[\x00-\x20\x7f?#]/.test(given)) return bad("holds a blank, a control character, ? or #");
  if (own && /[()[\]{}^$*+|\\]/.test(given)) {
    return bad("is a regular expression; add the annotation use-regex, or write a plain path");
  }
  const text = given.isWellFormed() ? decoded(given) : null;
  if (text === null) return bad("holds a % that begins no percent-encoded UTF-8; write %25 for % itself");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the point
  if (/[\x00-\x1f\x7f]/.test(text)) return bad("holds a percent-encoded control character");
  for (const each of [given, text]) {
    const sequence = SEQUENCES.find((s) => each.includes(s)) ?? SUFFIXES.find((s) => each.endsWith(s));
    if (sequence !== undefined) return bad(`holds ${sequence}; write the path without it`);
  }
  const closed = type === "Prefix" && text.length > 1 && text.endsWith("/");
  return { ok: true, type, path: closed ? text.slice(0, -1) : text, written: text };
}

/** As it stands in a URL. */
export function encodedPath(path: string): string {
  return encodeURI(path).replace(/[?#[\]]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
