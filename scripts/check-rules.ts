// `npm run check:rules`: what no other tool holds — who imports whom, and what files must and must not say.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  importBreaches,
  machinePaths,
  missingReadmes,
  registryAddresses,
  type SourceFile,
} from "./source-rules.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const paths = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
  cwd: root,
  encoding: "utf8",
  maxBuffer: 1 << 26,
})
  .split("\n")
  .filter((path) => path !== "" && existsSync(join(root, path)));
const files: SourceFile[] = paths
  .filter((path) => /\.(ts|mjs|js|md|yaml|html)$|(^|\/)\.npmrc$/.test(path))
  .map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));
const packages = new Map(
  paths
    .filter((path) => /^((packages|services)\/[^/]+|tests|scripts)\/package\.json$/.test(path))
    .map((path) => [JSON.parse(readFileSync(join(root, path), "utf8")).name as string, dirname(path)]),
);

const breaches = [
  ...importBreaches(files, packages),
  ...missingReadmes(paths, [...packages.values()]),
  ...machinePaths(
    files,
    [root, homedir()].filter((path) => path.length > 1),
  ),
  ...registryAddresses(files),
];
for (const { path, line, problem } of breaches) process.stdout.write(`${path}:${line}: ${problem}\n`);
process.stdout.write(`${breaches.length} breaches in ${files.length} files\n`);
process.exitCode = breaches.length === 0 ? 0 : 1;
