// `test` of every workspace package: all of its *.test.ts with Node's own runner, serial, so that figures and ports
// of one file never depend on another's.
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";

const wanted = process.argv.slice(2);
const files = wanted.length > 0 ? wanted : globSync("**/*.test.ts", { exclude: ["node_modules/**"] }).sort();
if (files.length === 0) process.exit(0);
const { status } = spawnSync(
  process.execPath,
  ["--test", "--test-concurrency=2", "--test-timeout=300000", ...files],
  {
    stdio: "inherit",
  },
);
process.exit(status ?? 1);
