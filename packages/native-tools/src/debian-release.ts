// Programs of another Debian release than this machine's: whence its packages come, and how its programs run here.
import { chmod, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { runCommand } from "./run-command.ts";

/** A release by the name of its folders on a mirror, e.g. `trixie`, and packages that are all its program needs. */
export interface DebianRelease {
  readonly codename: string;
  /** With libc itself: nothing of this machine's is loaded. */
  readonly packages: readonly string[];
}

export interface ReleaseSource {
  /** Folder for package lists of our own. */
  readonly aptDir: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** Debian's keys, as every Debian has them; those of a release come with it about two years ahead. */
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/**
 * Options with which apt knows that release alone: from the mirrors that this machine uses, signed by Debian, with lists
 * in a folder of their own. What is installed here, and from where, counts for nothing.
 * @returns options, or why there are none
 */
export async function releaseOptions(
  codename: string,
  source: ReleaseSource,
): Promise<readonly string[] | { readonly problem: string }> {
  const folder = join(source.aptDir, codename);
  await mkdir(join(folder, "lists", "partial"), { recursive: true });
  await mkdir(join(folder, "cache", "archives", "partial"), { recursive: true });
  // Nothing is fetched by it, so that nobody need be root for it.
  const ask = ["-o", "Debug::NoLocking=true", "update", "--print-uris"];
  const { status, output } = await runCommand("apt-get", ask, {
    signal: source.signal,
    timeoutMs: 30_000,
    environment: source.environment,
  });
  const here = await readFile("/etc/os-release", "utf8").catch(() => "");
  const sources = releaseSources(output, /^VERSION_CODENAME=([a-z]+)/m.exec(here)?.[1] ?? "stable", codename);
  if (status !== 0 || sources === "") {
    return { problem: `apt knows no mirror of Debian: ${output.trim().split("\n").at(-1) || "no answer"}` };
  }
  const file = join(folder, "debian.sources");
  await writeFile(file, sources);
  return [
    `Dir::State::Lists=${folder}/lists`,
    `Dir::Cache=${folder}/cache`,
    `Dir::Etc::sourcelist=${file}`,
    "Dir::Etc::sourceparts=-",
    "Dir::Etc::preferences=-",
    "Dir::Etc::preferencesparts=-",
    "Dir::State::status=/dev/null",
    "APT::Default-Release=",
  ].flatMap((option) => ["-o", option]);
}

/**
 * The sources of one release, on the mirrors of another one.
 * @param uris what `apt-get update --print-uris` says
 * @param here the release of this machine
 */
export function releaseSources(uris: string, here: string, codename: string): string {
  // `bookworm`, `bookworm-updates`, `bookworm-security`; not what others than Debian serve beside.
  const pattern = /^'([^']+)\/dists\/([a-z]+)(|-updates|-security)\/InRelease'/gm;
  const found = [...uris.matchAll(pattern)].filter(([, , suite]) =>
    [here, "stable", "oldstable", "testing", "sid"].includes(suite ?? ""),
  );
  const stanzas = found.map(([, uri, , kind]) =>
    [
      "Types: deb",
      `URIs: ${uri}`,
      `Suites: ${codename}${kind}`,
      "Components: main",
      "Targets: Packages",
      `Signed-By: ${KEYRING}`,
      "",
    ].join("\n"),
  );
  return [...new Set(stanzas)].join("\n");
}

async function loaderIn(folder: string): Promise<string | null> {
  const name = (await readdir(folder)).find((file) => /^ld-linux.*\.so\.[0-9]+$/.test(file));
  return name === undefined ? null : join(folder, name);
}

/**
 * Writes `<root>/bin/<program>`: it starts the program with its own release's loader and libraries. A variable of the
 * environment could not do that: this machine's shell would load that libc too.
 * @param folders of libraries in `root`, as absolute paths
 * @param loaded files that the program maps, itself among them
 * @returns why it cannot run, or null
 */
export async function writeLauncher(
  root: string,
  binary: string,
  folders: readonly string[],
  loaded: readonly string[],
  signal: AbortSignal,
): Promise<string | null> {
  const folder = folders[0];
  const loader = folder === undefined ? null : await loaderIn(folder);
  if (folder === undefined || loader === null) return "its packages have no loader of programs";
  for (const file of loaded) {
    const { status, output } = await runCommand(loader, ["--library-path", folder, "--list", file], {
      signal,
      timeoutMs: 30_000,
    });
    // What its packages lack is not looked for here: two releases' libraries do not mix.
    const foreign =
      status === 0
        ? output.match(/\S+ => (?!\S*\/ld-linux)\S+/g)?.find((line) => !line.includes(root))
        : output;
    if (foreign !== undefined) return `${file} needs what its packages lack: ${foreign.trim()}`;
  }
  const program = binary.split("/").at(-1)!;
  // Relative to itself: the folder is renamed once it is complete.
  const path = (absolute: string) => `"$root/${relative(root, absolute)}"`;
  const launcher = join(root, "bin", program);
  await mkdir(dirname(launcher), { recursive: true });
  await writeFile(
    launcher,
    [
      "#!/bin/sh",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's
      'root="${0%/*}/.."',
      `exec ${path(loader)} --library-path ${path(folder)} --argv0 ${program} "$root/${binary}" "$@"`,
      "",
    ].join("\n"),
  );
  await chmod(launcher, 0o755);
  return null;
}
