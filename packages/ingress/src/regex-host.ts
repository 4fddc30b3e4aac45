// Hosts whose paths are regular expressions. As in ingress-nginx one path that is one makes all of its host so, whoever
// they belong to: nginx would look at the others only when no expression matches.
import type { RoutePath } from "@sluice/contracts";
import { pathsAt } from "./by-host.ts";
import type { CompiledIngress, CompiledPath } from "./compile-ingress.ts";
import { checkRegex, literalRegex } from "./path-regex.ts";

/** Each costs every request that no earlier one matches, and each worker the time to compile it. */
export const MAX_REGEXES = 1000;

export type PathText = Pick<RoutePath, "path" | "regex">;

export function hasRegexes(host: string, ingresses: readonly CompiledIngress[]): boolean {
  return ingresses.some(({ paths }) => pathsAt(paths, host).some((path) => path.regex));
}

/** What paths of a host become. */
export class RegexTexts {
  /** Of Exact paths that do not ask for expressions themselves. */
  readonly #exact: ReadonlySet<string>;
  /** Of a host with very many paths only those that ask become expressions: no other object's path is lost by it. */
  readonly #all: boolean;

  constructor(host: string, ingresses: readonly CompiledIngress[]) {
    const paths = ingresses.flatMap((ingress) => pathsAt(ingress.paths, host));
    this.#all = paths.length <= MAX_REGEXES;
    this.#exact = new Set(paths.filter(({ type }) => type === "Exact").map(({ written }) => written));
  }

  of({ type, path, written, regex, literal }: CompiledPath): PathText {
    if (regex && literal !== true) return { path: written, regex: true };
    if (literal === true || !this.#all) return { path };
    // What was written as a plain path is read as an expression as well, if it can be.
    const text = checkRegex(written).ok ? written : literalRegex(written);
    const closed = type === "Prefix" && !text.endsWith("/") && this.#exact.has(written);
    return { path: closed ? `${text}/` : text, regex: true };
  }
}
