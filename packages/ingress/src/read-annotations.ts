import {
  type Annotation,
  balanceAnnotations,
  redirectAnnotations,
  routeAnnotations,
  settingAnnotations,
} from "./annotation-table.ts";
import type { BalancePolicy } from "./balance.ts";
import { quote } from "./objects.ts";
import type { ProfileSettings } from "./profile.ts";
import type { RedirectPolicy } from "./redirect.ts";
import type { RoutePolicy } from "./route-policy.ts";

const PREFIX = "nginx.ingress.kubernetes.io/";
const LISTS = new Set(["whitelist-source-range", "allowlist-source-range", "denylist-source-range"]);
/** Directives by which a snippet guards: serving without them would open what was closed. */
const GUARDS = /\b(deny|allow|auth_[a-z_]+|return|access_by_lua\w*|ssl_verify_client)\b/;

const byName = <Said>(all: readonly Annotation<Said>[]) => new Map(all.map((each) => [each.name, each]));
const settingOf = byName(settingAnnotations);
const redirectOf = byName(redirectAnnotations);
const routeOf = byName(routeAnnotations);
const balanceOf = byName(balanceAnnotations);

export interface AnnotationReading {
  /** What those of the table say. */
  readonly settings: Partial<ProfileSettings>;
  readonly redirects: RedirectPolicy;
  readonly routes: RoutePolicy;
  readonly balance: BalancePolicy;
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
  const redirects: RedirectPolicy = {};
  const routes: RoutePolicy = {};
  const balance: BalancePolicy = {};
  const take = <Said>(key: string, value: string, annotation: Annotation<Said>, into: Partial<Said>) => {
    const reading = annotation.read(value);
    if (reading.ok) {
      Object.assign(into, reading.said);
      return;
    }
    const instead = annotation.unsaid === "" ? "it is as if it were not there" : `${annotation.unsaid} holds`;
    invalid.push(`metadata.annotations[${key}]: ${quote(value)} ${reading.why}; ${instead} until then`);
  };
  for (const [key, value] of [...annotations].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!key.startsWith(PREFIX)) continue;
    const name = key.slice(PREFIX.length);
    const setting = settingOf.get(name);
    const redirect = redirectOf.get(name);
    const route = routeOf.get(name);
    const balancing = balanceOf.get(name);
    // ingress-nginx reads an empty value as not set.
    if (value.trim() === "") {
      if ([setting, redirect, route, balancing].every((known) => known === undefined)) ignored.push(key);
    } else if (setting !== undefined) take(key, value, setting, settings);
    else if (redirect !== undefined) take(key, value, redirect, redirects);
    else if (route !== undefined) take(key, value, route, routes);
    else if (balancing !== undefined) take(key, value, balancing, balance);
    else if (protects(name, value)) protection.push(key);
    else ignored.push(key);
  }
  return { settings, redirects, routes, balance, invalid, ignored, protection };
}
