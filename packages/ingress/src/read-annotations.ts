import { settingAnnotations } from "./annotation-table.ts";
import { quote } from "./objects.ts";
import type { ProfileSettings } from "./profile.ts";

const PREFIX = "nginx.ingress.kubernetes.io/";
const LISTS = new Set(["whitelist-source-range", "allowlist-source-range", "denylist-source-range"]);
/** Directives by which a snippet guards: serving without them would open what was closed. */
const GUARDS = /\b(deny|allow|auth_[a-z_]+|return|access_by_lua\w*|ssl_verify_client)\b/;

const settingsByName = new Map(settingAnnotations.map((each) => [each.name, each]));

export interface AnnotationReading {
  /** What those of the table say. */
  readonly settings: Partial<ProfileSettings>;
  /** One line for each whose text is not of its shape; its default holds. */
  readonly invalid: readonly string[];
  /** Full names that this version gives no meaning, sorted. */
  readonly ignored: readonly string[];
  /** Full names of those that asked for protection, sorted: their MCI must not be served without it. */
  readonly protection: readonly string[];
}

function protects(name: string, value: string): boolean {
  if (name.startsWith("auth-") || LISTS.has(name)) return true;
  return name.endsWith("-snippet") && GUARDS.test(value);
}

/** Which annotations of ingress-nginx an MCI carries, told apart by what leaving them out would mean. */
export function readAnnotations(annotations: ReadonlyMap<string, string>): AnnotationReading {
  const ignored: string[] = [];
  const protection: string[] = [];
  const invalid: string[] = [];
  const settings: Partial<ProfileSettings> = {};
  for (const [key, value] of [...annotations].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!key.startsWith(PREFIX)) continue;
    const name = key.slice(PREFIX.length);
    const known = settingsByName.get(name);
    // ingress-nginx reads an empty value as not set.
    if (value.trim() === "") {
      if (known === undefined) ignored.push(key);
    } else if (known !== undefined) {
      const reading = known.read(value);
      if (reading.ok) Object.assign(settings, reading.setting);
      else
        invalid.push(
          `metadata.annotations[${key}]: ${quote(value)} ${reading.why}; ${known.unsaid} holds until then`,
        );
    } else if (protects(name, value)) protection.push(key);
    else ignored.push(key);
  }
  return { settings, invalid, ignored, protection };
}
