// `test` of every workspace package: all of its *.test.ts with Node's own runner, two files at a time. Arguments: test
// files (all by default), and options of `node --test`, e.g. `--test-name-pattern=claims`.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { node24, noNode24 } from "./node24.mjs";
import { runChild } from "./run-child.mjs";

const here = dirname(fileURLToPath(import.meta.url));

/** @param {string} folder @returns {string[]} */
function testFiles(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => {
      if (entry.name === "node_modules" || entry.name.startsWith(".")) return [];
      const path = folder === "." ? entry.name : join(folder, entry.name);
      if (entry.isDirectory()) return testFiles(path);
      return entry.name.endsWith(".test.ts") ? [path] : [];
    })
    .sort();
}

const node = node24(dirname(here));
if (node === null) {
  process.stderr.write(`sluice: ${noNode24}\n`);
  process.exit(69);
}
const args = process.argv.slice(2);
const options = args.filter((a) => a.startsWith("-"));
const named = args.filter((a) => !a.startsWith("-"));
const files = named.length > 0 ? named : testFiles(".");
/** Folder in which scripts/test.ts finds one report a package; unset when a package is tested by itself. */
const reports = process.env["SLUICE_TEST_REPORTS"];
const reporters = ["--test-reporter=spec", "--test-reporter-destination=stdout"];
if (reports !== undefined) {
  const { name } = JSON.parse(readFileSync("package.json", "utf8"));
  const report = join(reports, `${name.replaceAll("/", "+")}.json`);
  // Empty until the runner has its sums: a suite that crashed is told by that.
  writeFileSync(
    report,
    files.length === 0 ? '{"tests":0,"passed":0,"failed":0,"skipped":0,"ms":0,"failures":[]}\n' : "",
  );
  reporters.push(`--test-reporter=${join(here, "test-report.mjs")}`, `--test-reporter-destination=${report}`);
}
if (files.length === 0) process.exit(0);
process.exitCode = await runChild(
  node,
  [
    `--import=${pathToFileURL(join(here, "leave-at-exit.mjs"))}`,
    "--test",
    "--test-concurrency=2",
    "--test-timeout=300000",
    ...reporters,
    ...options,
    ...files,
  ],
  // Child processes of tests find the same Node first.
  { env: { ...process.env, PATH: `${dirname(node)}:${process.env["PATH"]}` } },
);
