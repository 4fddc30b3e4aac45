import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type DebianRelease, releaseOptions } from "./debian-release.ts";
import { type CommandResult, runCommand } from "./run-command.ts";
import { libraryPackages } from "./tool-list.ts";

export interface PackageSource {
  /** Folder for package lists of our own, used where the system's are empty or old. */
  readonly aptDir: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  /** Absent: this machine's own. */
  readonly release?: DebianRelease;
  log(message: string): void;
}

/** Milliseconds for the lists of a whole Debian release over a slow line, and for the 13 MB of packages. */
const UPDATE_MS = 120_000;
const DOWNLOAD_MS = 120_000;

// As root, apt would drop to its user `_apt`, which may not write into a home folder.
const asWeAre = ["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2"];

async function ownLists(source: PackageSource): Promise<string[]> {
  const lists = join(source.aptDir, "lists");
  const cache = join(source.aptDir, "cache");
  await mkdir(join(lists, "partial"), { recursive: true });
  await mkdir(join(cache, "archives", "partial"), { recursive: true });
  return ["-o", `Dir::State::Lists=${lists}`, "-o", `Dir::Cache=${cache}`];
}

/** Downloads packages into `into`, with fresh lists of our own when the system's do not do. */
async function download(
  names: readonly string[],
  into: string,
  source: PackageSource,
): Promise<CommandResult> {
  const { signal, environment, release } = source;
  const options = { cwd: into, signal, environment, timeoutMs: DOWNLOAD_MS };
  if (release === undefined) {
    const first = await runCommand("apt-get", [...asWeAre, "download", ...names], options);
    if (first.status === 0 || first.output.includes("ENOENT")) return first;
  }
  const own = release === undefined ? await ownLists(source) : await releaseOptions(release.codename, source);
  if ("problem" in own) return { status: null, output: own.problem };
  const again = [...asWeAre, ...own, "download", ...names];
  const kept = await runCommand("apt-get", again, options);
  if (kept.status === 0) return kept;
  source.log("fetching package lists");
  // One unreachable third-party source makes `update` fail although Debian's lists came: the download decides.
  const update = await runCommand("apt-get", [...asWeAre, ...own, "update"], {
    signal,
    environment,
    timeoutMs: UPDATE_MS,
  });
  const last = await runCommand("apt-get", again, options);
  return last.status === 0 ? last : { status: last.status, output: `${update.output}${last.output}` };
}

/** Puts the files of packages into `root`. Nothing is installed and none of their scripts runs. */
async function unpack(
  names: readonly string[],
  root: string,
  source: PackageSource,
): Promise<{ readonly problem: string | null }> {
  const debs = `${root}.debs`;
  await mkdir(debs, { recursive: true });
  try {
    const fetched = await download(names, debs, source);
    if (fetched.status !== 0) return { problem: lastLine(fetched.output) };
    for (const file of (await readdir(debs)).sort()) {
      const done = await runCommand("dpkg-deb", ["-x", join(debs, file), root], {
        signal: source.signal,
        environment: source.environment,
        timeoutMs: 60_000,
      });
      if (done.status !== 0) return { problem: lastLine(done.output) };
    }
    return { problem: null };
  } finally {
    await rm(debs, { recursive: true, force: true });
  }
}

function lastLine(output: string): string {
  const lines = output.trim().split("\n");
  return lines.findLast((line) => line.startsWith("E:")) ?? lines.at(-1) ?? "no output";
}

/** Folders of shared libraries in an unpacked tree, e.g. `usr/lib/x86_64-linux-gnu`. */
export async function libraryFolders(root: string): Promise<string[]> {
  const found: string[] = [];
  for (const base of ["lib", "usr/lib"]) {
    const entries = await readdir(join(root, base), { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      if (entry.isDirectory() && entry.name.includes("-linux-")) found.push(join(root, base, entry.name));
    }
  }
  return found;
}

/** Libraries that neither the system nor the unpacked tree has. */
async function missingLibraries(
  root: string,
  files: readonly string[],
  signal: AbortSignal,
): Promise<string[]> {
  const env = { LD_LIBRARY_PATH: (await libraryFolders(root)).join(":") };
  const { output } = await runCommand("ldd", files, { signal, timeoutMs: 30_000, env });
  return [...new Set([...output.matchAll(/^\s*(\S+) => not found/gm)].map((match) => match[1]!))];
}

/** The first of the sets that can be had; what is said of the first counts where none can. */
async function unpackOneOf(
  sets: readonly (readonly string[])[],
  root: string,
  source: PackageSource,
): Promise<string | null> {
  let said: string | null = null;
  for (const names of sets) {
    const { problem } = await unpack(names, root, source);
    if (problem === null) return null;
    said ??= problem;
  }
  return said ?? "no package is known for it";
}

/**
 * Unpacks the packages of one of `sets` under `root`, then those of the libraries that `loaded` (paths under root) still
 * miss. Of another release all must be in the set.
 * @returns why it cannot be had, or null
 */
export async function fetchPackages(
  sets: readonly (readonly string[])[],
  loaded: (root: string) => Promise<readonly string[]>,
  root: string,
  source: PackageSource,
): Promise<string | null> {
  await mkdir(root, { recursive: true });
  const problem = await unpackOneOf(sets, root, source);
  if (problem !== null || source.release !== undefined) return problem;
  // A library may need another one; three rounds are more than any tool here has levels.
  for (let round = 0; round < 3; round++) {
    const missing = await missingLibraries(root, await loaded(root), source.signal);
    if (missing.length === 0) return null;
    for (const soname of missing) {
      const holders = libraryPackages.find(([pattern]) => pattern.test(soname))?.[1] ?? [];
      const lacking = await unpackOneOf(
        holders.map((name) => [name]),
        root,
        source,
      );
      if (lacking !== null) return `${soname}: ${lacking}`;
    }
  }
  return null;
}
