export type PathType = "Exact" | "Prefix";

export type PathCheck =
  | { readonly ok: true; readonly type: PathType; readonly path: string }
  | { readonly ok: false; readonly field: "path" | "pathType"; readonly why: string };

const TYPES = new Set(["Exact", "Prefix", "ImplementationSpecific"]);
/** What Ingress v1 refuses too: a proxy would normalise these away and match something else. */
const SEQUENCES = ["//", "/./", "/../", "%2f", "%2F"];
const SUFFIXES = ["/..", "/."];
/** nginx's default bound on a whole request line is 8 KiB. */
const MAX_PATH = 4096;

/** ImplementationSpecific means Prefix. A Prefix loses its closing slash, which the rule of matching ignores. */
export function checkPath(path: unknown, pathType: unknown): PathCheck {
  if (typeof pathType !== "string" || !TYPES.has(pathType)) {
    return { ok: false, field: "pathType", why: "is none of Exact, Prefix and ImplementationSpecific" };
  }
  const bad = (why: string): PathCheck => ({ ok: false, field: "path", why });
  const own = pathType === "ImplementationSpecific";
  const text = own && (path === undefined || path === null || path === "") ? "/" : path;
  if (typeof text !== "string" || !text.startsWith("/")) return bad("does not begin with /");
  if (text.length > MAX_PATH) return bad(`is longer than ${MAX_PATH} characters`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the point
  if (/[\x00-\x20\x7f?#]/.test(text)) return bad("holds a blank, a control character, ? or #");
  const sequence = SEQUENCES.find((s) => text.includes(s)) ?? SUFFIXES.find((s) => text.endsWith(s));
  if (sequence !== undefined) return bad(`holds ${sequence}; write the path without it`);
  if (own && /[()[\]{}^$*+|\\]/.test(text)) {
    return bad("is a regular expression, which is not supported yet; write pathType Prefix and a plain path");
  }
  if (pathType === "Exact") return { ok: true, type: "Exact", path: text };
  return { ok: true, type: "Prefix", path: text.length > 1 && text.endsWith("/") ? text.slice(0, -1) : text };
}
