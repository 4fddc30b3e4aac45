import { randomBytes } from "node:crypto";
import { access, constants, mkdir, readFile, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { ToolMissingError } from "@sluice/contracts";
import { fetchPackages, libraryFolders } from "./debian-packages.ts";
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

async function versionOf(
  facts: ToolFacts,
  path: string,
  env: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<string | null> {
  // `wrk -v` exits 1 after printing: only the text counts.
  const { output } = await runCommand(path, facts.versionArgs, { signal, timeoutMs: 20_000, env });
  return facts.versionPattern.exec(output)?.[1] ?? null;
}

export function recentEnough(version: string, [major, minor]: readonly [number, number]): boolean {
  const [a = 0, b = 0] = version.split(".").map(Number);
  return a > major || (a === major && b >= minor);
}

/** The tool at a place, or why it will not do. */
async function inspect(
  name: ToolName,
  path: string,
  source: Tool["source"],
  root: string | null,
  signal: AbortSignal,
): Promise<Tool | string> {
  const facts = toolList[name];
  const folders = root === null ? [] : await libraryFolders(root);
  const env: Record<string, string> =
    folders.length === 0 ? {} : { LD_LIBRARY_PATH: folders.join(delimiter) };
  const version = await versionOf(facts, path, env, signal);
  if (version === null) return `${path} does not run`;
  if (source !== "cache" && !recentEnough(version, facts.atLeast)) {
    return `${path} is ${version}, older than ${facts.atLeast.join(".")}`;
  }
  if (name !== "nginx") return { name, path, version, source, env, modules: noModules };
  const modules = await nginxModules(path, root, env, signal);
  const problem = await probeNginx(path, modules, env, signal);
  return problem === null ? { name, path, version, source, env, modules } : problem;
}

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

async function fetched(
  name: ToolName,
  facts: ToolFacts,
  cacheDir: string,
  environment: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
  log: (message: string) => void,
): Promise<Tool | string> {
  const base = join(cacheDir, "tools", await platform());
  const root = join(base, name);
  const cached = async () =>
    (await exists(join(root, facts.binary)))
      ? inspect(name, join(root, facts.binary), "cache", root, signal)
      : "not fetched yet";
  const before = await cached();
  if (typeof before !== "string") return before;
  await using _lock = await lockFile(`${root}.lock`, signal);
  const meanwhile = await cached();
  if (typeof meanwhile !== "string") return meanwhile;

  const fresh = `${root}.${process.pid}-${randomBytes(4).toString("hex")}`;
  try {
    log(`${facts.goModule === undefined ? "fetching" : "building"} ${name} into ${base}`);
    const problem =
      facts.goModule === undefined
        ? await fetchPackages(
            facts.packages,
            async (dir) => [join(dir, facts.binary), ...(name === "nginx" ? await luaModuleFiles(dir) : [])],
            fresh,
            { aptDir: join(cacheDir, "apt"), environment, signal, log },
          )
        : await buildGoModule(facts.goModule, fresh, { environment, signal });
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

async function luaModuleFiles(root: string): Promise<string[]> {
  const modules = await nginxModules("", root, {}, AbortSignal.timeout(1000));
  return modules.loadModules.map((line) => line.slice("load_module ".length, -1));
}

/**
 * A program that Sluice needs: from its variable (NGINX, NATS_SERVER, KUBECTL, WRK), from PATH when there and recent
 * enough, from the user's cache, or fetched into it from Debian's packages without touching the system.
 * @throws ToolMissingError with the command that installs it
 */
export async function ensureTool(name: ToolName, options: EnsureOptions): Promise<Tool> {
  const facts = toolList[name];
  const environment = options.environment ?? process.env;
  const limit = facts.goModule === undefined ? FETCH_MS : BUILD_MS;
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(limit)]);
  const said = environment[facts.env];
  if (said !== undefined && said !== "") {
    const tool = await inspect(name, said, "env", null, signal);
    if (typeof tool !== "string") return tool;
    throw new ToolMissingError(`${facts.env}=${said}: ${tool}; unset it, or install one: ${facts.install}`);
  }
  const reasons: string[] = [];
  const installed = await onPath(facts, environment);
  if (installed !== null) {
    const tool = await inspect(name, installed, "path", null, signal);
    if (typeof tool !== "string") return tool;
    reasons.push(tool);
  }
  try {
    const cacheDir = options.cacheDir ?? defaultCacheDir(environment);
    await mkdir(cacheDir, { recursive: true });
    const tool = await fetched(name, facts, cacheDir, environment, signal, options.log ?? (() => {}));
    if (typeof tool !== "string") return tool;
    reasons.push(tool);
  } catch (error) {
    options.signal.throwIfAborted();
    reasons.push(error instanceof Error ? error.message : String(error));
  }
  throw new ToolMissingError(`${name} cannot be had (${reasons.join("; ")}); install it: ${facts.install}`);
}
