/** Where a path below /api or /apis leads. */
export interface ResourcePath {
  group: string;
  version: string;
  /** "" for cluster-scoped resources and for lists over all namespaces. */
  namespace: string;
  plural: string;
  /** "" for the collection. */
  name: string;
  subresource: string;
}

/** Parses `/api/v1/namespaces/shop/services/echo/status` and its like; undefined when it is no resource's path. */
export function parseResourcePath(path: string): ResourcePath | undefined {
  const parts = path.split("/").filter((part) => part !== "");
  let tokens: string[];
  try {
    tokens = parts.map((part) => decodeURIComponent(part));
  } catch {
    // A malformed escape is a path that nothing serves.
    return undefined;
  }
  const root = tokens.shift();
  let group = "";
  if (root === "apis") group = tokens.shift() ?? "";
  else if (root !== "api") return undefined;
  const version = tokens.shift() ?? "";
  if (tokens.length === 0) return undefined;
  let namespace = "";
  // `/namespaces/shop` and `/namespaces/shop/status` are about the namespace itself.
  if (tokens[0] === "namespaces" && tokens.length > 2 && !isOwnSubresource(tokens)) {
    namespace = tokens[1] ?? "";
    tokens = tokens.slice(2);
  }
  const [plural = "", name = "", subresource = "", ...rest] = tokens;
  if (rest.length > 0) return undefined;
  return { group, version, namespace, plural, name, subresource };
}

function isOwnSubresource(tokens: string[]): boolean {
  return tokens.length === 3 && (tokens[2] === "status" || tokens[2] === "finalize");
}
