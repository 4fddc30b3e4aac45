import { isBuiltin } from "node:module";
import { posix } from "node:path";

/** A file of the checkout; `path` from its root, with slashes. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

export interface RuleBreach {
  readonly path: string;
  readonly line: number;
  readonly problem: string;
}

interface Import {
  readonly specifier: string;
  readonly line: number;
}

const SANDBOX = "packages/kube-sandbox";
/** Packages that compute and nothing else: whoever needs I/O passes it in. */
const PURE = ["packages/contracts", "packages/ingress"];
const IO = /^(node:)?(fs|fs\/promises|net|http|http2|https|tls|dgram|dns|child_process|worker_threads)$/;
/** The one file outside services/ that starts them. */
const STARTER = "packages/cli/src/up.ts";

// Biome puts an import at the start of its line, so that the text of a fixture is not taken for one. Comments are blanked.
const STATIC = /^(?:import|export)\b(?:[^"'`;]*?\bfrom)?\s*["']([^"'\n]+)["']/gm;
const DYNAMIC = /\bimport\(\s*["']([^"'\n]+)["']/g;

function importsOf({ text }: SourceFile): Import[] {
  const blank = (comment: string) => comment.replace(/[^\n]/g, " ");
  const code = text.replace(/^\s*\/\/.*$/gm, blank).replace(/^\s*\/\*[\s\S]*?\*\//gm, blank);
  return [STATIC, DYNAMIC].flatMap((pattern) =>
    [...code.matchAll(pattern)].map((match) => ({
      specifier: match[1]!,
      line: code.slice(0, match.index).split("\n").length,
    })),
  );
}

/** The workspace package that a path belongs to, e.g. `services/aggregator`; `tests` and `scripts` are one each. */
function packageOf(path: string): string | null {
  return /^(?:(?:packages|services)\/[^/]+|tests|scripts)(?=\/)/.exec(path)?.[0] ?? null;
}

function problemOf(
  file: SourceFile,
  specifier: string,
  packages: ReadonlyMap<string, string>,
): string | null {
  const own = packageOf(file.path);
  if (own === null) return null;
  if (specifier.startsWith(".")) {
    const target = posix.join(posix.dirname(file.path), specifier);
    return target.startsWith(`${own}/`) ? null : `${specifier} leaves the package: import it by its name`;
  }
  const isTest = file.path.endsWith(".test.ts");
  if (PURE.includes(own) && !isTest && isBuiltin(specifier) && IO.test(specifier)) {
    return `${own} does no I/O: it must not import ${specifier}`;
  }
  const name = specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
  if (name === "@kubernetes/client-node" && own !== "packages/kube") {
    return `only packages/kube imports ${name}: it takes a second to load`;
  }
  const target = packages.get(name);
  if (target === undefined || target === own) return null;
  if (target === SANDBOX && own !== "tests" && own !== "scripts") {
    return "only scripts/ and tests/ import the sandbox: a service knows clusters by their kubeconfigs";
  }
  if (target.startsWith("services/")) {
    if (own.startsWith("services/")) return `a service imports packages only, never ${target}`;
    if (own.startsWith("packages/") && file.path !== STARTER) return `only ${STARTER} imports services`;
  }
  return null;
}

/**
 * Imports that the layout of the project does not allow.
 * @param packages name → folder of every workspace package, e.g. `@sluice/bus` → `packages/bus`
 */
export function importBreaches(
  files: readonly SourceFile[],
  packages: ReadonlyMap<string, string>,
): RuleBreach[] {
  return files
    .filter((file) => /\.(ts|mjs|js)$/.test(file.path))
    .flatMap((file) =>
      importsOf(file).flatMap(({ specifier, line }) => {
        const problem = problemOf(file, specifier, packages);
        return problem === null ? [] : [{ path: file.path, line, problem }];
      }),
    );
}

/** Folders of services and packages that do not say what they are. */
export function missingReadmes(paths: readonly string[], folders: readonly string[]): RuleBreach[] {
  return folders
    .filter((folder) => /^(packages|services)\//.test(folder) && !paths.includes(`${folder}/README.md`))
    .map((folder) => ({
      path: `${folder}/README.md`,
      line: 1,
      problem: "is missing: say what this folder is",
    }));
}

function breachesByLine(file: SourceFile, problem: (line: string) => string | null): RuleBreach[] {
  return file.text.split("\n").flatMap((text, index) => {
    const found = problem(text);
    return found === null ? [] : [{ path: file.path, line: index + 1, problem: found }];
  });
}

/**
 * Documents that name a folder of somebody's machine.
 * @param own absolute folders of this machine: the checkout's and the home folder
 */
export function machinePaths(files: readonly SourceFile[], own: readonly string[]): RuleBreach[] {
  const folders = [
    ...own.map((path) => path.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")),
    "/home/\\w+",
    "/Users/\\w+",
    "/root",
  ];
  const pattern = new RegExp(`(?<![\\w.~-])(?:${folders.join("|")})(?![\\w-])`);
  return files
    .filter((file) => file.path.endsWith(".md") || file.path.startsWith("docs/"))
    .flatMap((file) =>
      breachesByLine(file, (line) => {
        const found = pattern.exec(line);
        return found === null ? null : `names ${found[0]}, a folder of one machine`;
      }),
    );
}

/** Addresses of a registry where they would decide from where everybody installs. */
export function registryAddresses(files: readonly SourceFile[]): RuleBreach[] {
  const patterns: Readonly<Record<string, RegExp>> = {
    // A message of a deprecated package may hold a link; it is a text, nothing is fetched from there.
    "pnpm-lock.yaml": /^(?!\s*deprecated:).*(?:\btarball:|\bresolved:|https?:\/\/)/,
    ".npmrc": /\bregistry\s*=|https?:\/\//,
    "pnpm-workspace.yaml": /\bregistry|https?:\/\//i,
  };
  return files.flatMap((file) => {
    const pattern = patterns[posix.basename(file.path)];
    if (pattern === undefined) return [];
    return breachesByLine(file, (line) =>
      pattern.test(line) ? `pins where packages come from: ${line.trim()}` : null,
    );
  });
}
