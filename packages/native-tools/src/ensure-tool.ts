import { randomBytes } from "node:crypto";
import { access, constants, mkdir, readFile, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { ToolMissingError } from "@sluice/contracts";
import { fetchPackages, libraryFolders } from "./debian-packages.ts";
import { type DebianRelease, writeLauncher } from "./debian-release.ts";
import { lockFile } from "./file-lock.ts";
import { buildGoModule } from "./go-module.ts";
import { type NginxModules, nginxModules, probeNginx } from "./nginx-modules.ts";
import { runCommand } from "./run-command.ts";
import { type ToolFacts, type ToolName, toolList } from "./tool-list.ts";

export interface Tool {
  readonly name: ToolName;
  /** Absolute path of the program. */
  readonly path: string;
  readonly version: string;
  readonly source: "env" | "path" | "cache";
  /** What must be in its environment, e.g. LD_LIBRARY_PATH; empty for an installed one. */
  readonly env: Readonly<Record<string, string>>;
  /** Of nginx: what its configuration must say to have Lua; empty for the others. */
  readonly modules: NginxModules;
}

export interface EnsureOptions {
  readonly signal: AbortSignal;
  /** Told once when something is being fetched. */
  log?(message: string): void;
  /** Default: `sluice` in XDG_CACHE_HOME or ~/.cache. */
  readonly cacheDir?: string;
  /** Where the environment comes from; default process.env. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** Milliseconds for everything: other processes' downloads, package lists and our own download. */
const FETCH_MS = 300_000;
/** The same where a program is built. */
const BUILD_MS = 600_000;
const noModules: NginxModules = { loadModules: [], luaPackagePath: "", luaPackageCpath: "" };

function defaultCacheDir(environment: Readonly<Record<string, string | undefined>>): string {
  const base = environment["XDG_CACHE_HOME"] || join(environment["HOME"] || homedir(), ".cache");
  return join(base, "sluice");
}

/** Where a tool may lie, and what it needs there. */
interface Place {
  readonly path: string;
  readonly source: Tool["source"];
  /** The folder that packages were unpacked into; null: it is installed. */
  readonly root: string | null;
  readonly env: Readonly<Record<string, string>>;
}

/** @returns its version, or why it has none that is known */
async function versionOf(
  facts: ToolFacts,
  { path, source, env }: Place,
  signal: AbortSignal,
): Promise<{ readonly version: string } | { readonly problem: string }> {
  // `wrk -v` exits 1 after printing: only the text counts.
  const { status, output } = await runCommand(path, facts.versionArgs, { signal, timeoutMs: 20_000, env });
  const version = facts.versionPattern.exec(output)?.[1];
  const said = output.trim().split("\n")[0] ?? "";
  if (version === undefined) {
    return {
      problem: status === 0 && said !== "" ? `${path} says no version but "${said}"` : `${path} does not run`,
    };
  }
  if (source !== "cache" && !recentEnough(version, facts.atLeast)) {
    return { problem: `${path} is ${version}, older than ${facts.atLeast.join(".")}` };
  }
  if (facts.before !== undefined && recentEnough(version, facts.before)) {
    return {
      problem: `${path} is ${version}, a version that is not known here: ${facts.atLeast.join(".")} or later, before ${facts.before.join(".")}`,
    };
  }
  return { version };
}

export function recentEnough(version: string, [major, minor]: readonly [number, number]): boolean {
  const [a = 0, b = 0] = version.split(".").map(Number);
  return a > major || (a === major && b >= minor);
}

/** The tool at a place, or why it will not do. */
async function inspect(name: ToolName, place: Place, signal: AbortSignal): Promise<Tool | string> {
  const { path, source, root, env } = place;
  const found = await versionOf(toolList[name], place, signal);
  if ("problem" in found) return found.problem;
  const { version } = found;
  if (name !== "nginx") return { name, path, version, source, env, modules: noModules };
  const modules = await nginxModules(path, root, env, signal);
  const problem = await probeNginx(path, modules, env, signal);
  return problem === null ? { name, path, version, source, env, modules } : problem;
}

const installedAt = (path: string, source: "env" | "path"): Place => ({ path, source, root: null, env: {} });

async function onPath(
  facts: ToolFacts,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<string | null> {
  const program = facts.binary.split("/").at(-1)!;
  // Debian keeps servers in sbin, which is not on an ordinary user's PATH.
  const folders = [...(environment["PATH"] ?? "").split(delimiter), "/usr/local/sbin", "/usr/sbin"];
  for (const folder of folders) {
    if (folder === "") continue;
    const path = join(folder, program);
    if (await exists(path, constants.X_OK)) return path;
  }
  return null;
}

async function exists(path: string, mode: number = constants.F_OK): Promise<boolean> {
  try {
    await access(path, mode);
    return true;
  } catch {
    // Not there and not ours to run come to the same.
    return false;
  }
}

/** Debian releases and architectures do not share libraries, so neither do their caches. */
async function platform(): Promise<string> {
  const release = await readFile("/etc/os-release", "utf8").catch(() => "");
  const id = /^ID="?([a-z0-9.-]+)/m.exec(release)?.[1] ?? process.platform;
  const version = /^VERSION_ID="?([a-z0-9.-]+)/m.exec(release)?.[1] ?? "0";
  return `${id}-${version}-${process.arch}`;
}

interface Fetch {
  readonly cacheDir: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  log(message: string): void;
}

/** Fetches or builds it into `folder`. @returns why it cannot be had, or null */
async function fill(name: ToolName, folder: string, fetch: Fetch): Promise<string | null> {
  const facts = toolList[name];
  if (facts.goModule !== undefined) return buildGoModule(facts.goModule, folder, fetch);
  const source = { ...fetch, aptDir: join(fetch.cacheDir, "apt") };
  return fetchPackages(facts.packages, (root) => loadedFiles(name, root), folder, source);
}

async function fillFromRelease(
  name: ToolName,
  release: DebianRelease,
  folder: string,
  fetch: Fetch,
): Promise<string | null> {
  const source = { ...fetch, aptDir: join(fetch.cacheDir, "apt"), release };
  const loaded = () => loadedFiles(name, folder);
  const problem = await fetchPackages([release.packages], loaded, folder, source);
  if (problem !== null) return problem;
  const libraries = await libraryFolders(folder);
  return writeLauncher(folder, toolList[name].binary, libraries, await loaded(), fetch.signal);
}

/** What is in the cache at `root`, put there by `fill` where it is not there yet. */
async function fetched(
  name: ToolName,
  root: string,
  look: () => Promise<Place>,
  fill: (folder: string) => Promise<string | null>,
  signal: AbortSignal,
): Promise<Tool | string> {
  const cached = async () => {
    const place = await look();
    return (await exists(place.path)) ? inspect(name, place, signal) : "not fetched yet";
  };
  const before = await cached();
  if (typeof before !== "string") return before;
  await using _lock = await lockFile(`${root}.lock`, signal);
  const meanwhile = await cached();
  if (typeof meanwhile !== "string") return meanwhile;

  const fresh = `${root}.${process.pid}-${randomBytes(4).toString("hex")}`;
  try {
    const problem = await fill(fresh);
    if (problem !== null) return problem;
    // Complete or not there at all: other processes look for the folder without asking for the lock.
    await rm(root, { recursive: true, force: true });
    await rename(fresh, root).catch((error: NodeJS.ErrnoException) => {
      // Two processes that both found an abandoned lock may both have fetched; the first to finish serves both.
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  return cached();
}

async function fromCache(name: ToolName, fetch: Fetch): Promise<Tool | string> {
  const facts = toolList[name];
  const base = join(fetch.cacheDir, "tools", await platform());
  const root = join(base, name);
  return fetched(
    name,
    root,
    async () => {
      const folders = await libraryFolders(root);
      const env: Record<string, string> =
        folders.length === 0 ? {} : { LD_LIBRARY_PATH: folders.join(delimiter) };
      return { path: join(root, facts.binary), source: "cache", root, env };
    },
    (folder) => {
      fetch.log(`${facts.goModule === undefined ? "fetching" : "building"} ${name} into ${base}`);
      return fill(name, folder, fetch);
    },
    fetch.signal,
  );
}

/** @param id such as `debian-13` */
async function fromRelease(
  name: ToolName,
  id: string,
  release: DebianRelease,
  fetch: Fetch,
): Promise<Tool | string> {
  const base = join(fetch.cacheDir, "tools", `${id}-${process.arch}`);
  // Beside what a machine of that release keeps there, which has its libc from the system.
  const root = join(base, `${name}-with-libc`);
  const path = join(root, "bin", toolList[name].binary.split("/").at(-1)!);
  return fetched(
    name,
    root,
    () => Promise.resolve({ path, source: "cache", root, env: {} }),
    (folder) => {
      fetch.log(`fetching ${name} of ${id} into ${base}`);
      return fillFromRelease(name, release, folder, fetch);
    },
    fetch.signal,
  );
}

async function loadedFiles(name: ToolName, root: string): Promise<string[]> {
  const program = join(root, toolList[name].binary);
  return name === "nginx" ? [program, ...(await luaModuleFiles(root))] : [program];
}

async function luaModuleFiles(root: string): Promise<string[]> {
  const modules = await nginxModules("", root, {}, AbortSignal.timeout(1000));
  return modules.loadModules.map((line) => line.slice("load_module ".length, -1));
}

/**
 * A program that Sluice needs: from its variable (SLUICE_NGINX, NATS_SERVER, KUBECTL, WRK), from PATH when there and recent
 * enough, from the user's cache, or fetched into it from Debian's packages without touching the system. A variable holds
 * a path or the name of a release, e.g. `SLUICE_NGINX=debian-13`: that one's packages, whatever is installed.
 * @throws ToolMissingError with the command that installs it
 */
export async function ensureTool(name: ToolName, options: EnsureOptions): Promise<Tool> {
  const facts = toolList[name];
  const environment = options.environment ?? process.env;
  const limit = facts.goModule === undefined ? FETCH_MS : BUILD_MS;
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(limit)]);
  const cacheDir = options.cacheDir ?? defaultCacheDir(environment);
  const fetch: Fetch = { cacheDir, environment, signal, log: options.log ?? (() => {}) };
  const said = environment[facts.env];
  if (said !== undefined && said !== "") {
    const release = facts.releases?.[said];
    const tool =
      release === undefined
        ? await inspect(name, installedAt(said, "env"), signal)
        : await fromRelease(name, said, release, fetch);
    if (typeof tool !== "string") return tool;
    throw new ToolMissingError(`${facts.env}=${said}: ${tool}; unset it, or install one: ${facts.install}`);
  }
  const reasons: string[] = [];
  const installed = await onPath(facts, environment);
  if (installed !== null) {
    const tool = await inspect(name, installedAt(installed, "path"), signal);
    if (typeof tool !== "string") return tool;
    reasons.push(tool);
  }
  try {
    await mkdir(cacheDir, { recursive: true });
    const tool = await fromCache(name, fetch);
    if (typeof tool !== "string") return tool;
    reasons.push(tool);
  } catch (error) {
    options.signal.throwIfAborted();
    reasons.push(error instanceof Error ? error.message : String(error));
  }
  throw new ToolMissingError(`${name} cannot be had (${reasons.join("; ")}); install it: ${facts.install}`);
}
