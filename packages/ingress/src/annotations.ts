const PREFIX = "nginx.ingress.kubernetes.io/";
const LISTS = new Set(["whitelist-source-range", "allowlist-source-range", "denylist-source-range"]);
/** Directives by which a snippet guards: serving without them would open what was closed. */
const GUARDS = /\b(deny|allow|auth_[a-z_]+|return|access_by_lua\w*|ssl_verify_client)\b/;

export interface AnnotationReading {
  /** Full names that this version gives no meaning, sorted. */
  readonly ignored: readonly string[];
  /** Full names of those that asked for protection, sorted: their MCI must not be served without it. */
  readonly protection: readonly string[];
}

function protects(name: string, value: string): boolean {
  if (value.trim() === "") return false; // ingress-nginx reads an empty value as not set
  if (name.startsWith("auth-") || LISTS.has(name)) return true;
  return name.endsWith("-snippet") && GUARDS.test(value);
}

/** Which annotations of ingress-nginx an MCI carries, told apart by what leaving them out would mean. */
export function readAnnotations(annotations: ReadonlyMap<string, string>): AnnotationReading {
  const ignored: string[] = [];
  const protection: string[] = [];
  for (const [key, value] of annotations) {
    if (!key.startsWith(PREFIX)) continue;
    if (protects(key.slice(PREFIX.length), value)) protection.push(key);
    else ignored.push(key);
  }
  return { ignored: ignored.sort(), protection: protection.sort() };
}
