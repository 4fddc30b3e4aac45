// The one launcher behind `npm start`, `npm test`, `npm run check|bench|chaos|simulate|fuzz|sluice` and ./sluice. Plain JavaScript,
// because it runs before anything is installed: it must suit Node 20 (what distributions ship) as well as Node 24.
// It installs what the lock file names, then hands over to the Node 24 that was installed with it.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { install } from "./install.mjs";
import { node24, noNode24 } from "./node24.mjs";
import { runChild } from "./run-child.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const scripts = new Map([
  ["start", "scripts/start.ts"],
  ["test", "scripts/test.ts"],
  ["check", "scripts/check.ts"],
  ["bench", "tests/bench/main.ts"],
  ["chaos", "tests/chaos/main.ts"],
  ["test:cluster", "tests/cluster/main.ts"],
  ["test:netns", "tests/netns/main.ts"],
  ["test:nginx", "tests/nginx/main.ts"],
  ["simulate", "tests/simulation/main.ts"],
  ["fuzz", "tests/fuzz/main.ts"],
  ["sluice", "packages/cli/src/main.ts"],
]);

/** @param {string} message @param {number} code @returns {never} */
function die(message, code) {
  process.stderr.write(`sluice: ${message}\n`);
  process.exit(code);
}

const [name, ...rest] = process.argv.slice(2);
const script = scripts.get(name ?? "");
if (script === undefined) die(`usage: node scripts/run.mjs ${[...scripts.keys()].join("|")} [arguments]`, 64);
const failure = await install(root);
if (failure !== null) die(failure.message, failure.code);
const node = node24(root) ?? die(noNode24, 69);
try {
  process.exitCode = await runChild(
    node,
    ["--disable-warning=ExperimentalWarning", join(root, script), ...rest],
    {
      env: {
        ...process.env,
        // turbo finds neither pnpm nor node otherwise.
        PATH: [join(root, "node_modules", ".bin"), dirname(node), process.env["PATH"]].join(":"),
        SLUICE_LAUNCHER_PID: String(process.pid),
      },
    },
  );
} catch (error) {
  die(`${node} could not be started: ${error instanceof Error ? error.message : String(error)}`, 1);
}
