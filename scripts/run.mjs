// The one launcher behind `npm start`, `npm test`, `npm run check|bench|sluice`. Plain JavaScript, because it is the
// only file that runs before anything is installed: it must suit Node 20 (what distributions ship) as well as Node 24.
// It installs what the lock file names, then hands over to the Node 24 that was installed with it.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { arch, constants, platform } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");
const bin = join(root, "node_modules", ".bin");
const scripts = {
  start: ["scripts/start.ts"],
  test: ["scripts/test.ts"],
  check: ["scripts/check.ts"],
  bench: ["tests/bench/main.ts"],
  sluice: ["packages/cli/src/main.ts"],
};

function die(message, code = 1) {
  process.stderr.write(`sluice: ${message}\n`);
  process.exit(code);
}

/** True when node_modules was installed from this very lock file and these very package.json files. */
function installed(stamp, lock) {
  if (!existsSync(stamp) || !existsSync(join(bin, "turbo"))) return false;
  return readFileSync(stamp, "utf8") === lock;
}

function lockStamp() {
  const files = ["pnpm-lock.yaml", "package.json", "pnpm-workspace.yaml"];
  return files
    .map((f) => `${f} ${statSync(join(root, f)).mtimeMs} ${statSync(join(root, f)).size}`)
    .join("\n");
}

function install() {
  const stamp = join(root, "node_modules", ".sluice-installed");
  const lock = lockStamp();
  if (installed(stamp, lock)) return;
  const { packageManager } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const args = ["install", "--frozen-lockfile", "--prod=false", "--prefer-offline", "--reporter=append-only"];
  const own = join(bin, "pnpm");
  const [command, argv] = existsSync(own) ? [own, args] : ["npx", ["--yes", packageManager, ...args]];
  process.stderr.write(`sluice: installing dependencies with ${packageManager}\n`);
  // Its report goes to stderr, because stdout is for the answer of the command that was asked for.
  const done = spawnSync(command, argv, {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
    env: { ...process.env, CI: "true" },
  });
  if (done.error)
    die(`${command} could not be started: ${done.error.message}. Install npm, then run this again.`);
  if (done.status !== 0) {
    process.stderr.write(`${done.stdout}${done.stderr}`);
    die(`${command} ${argv.join(" ")} failed with code ${done.status}`);
  }
  writeFileSync(stamp, lock);
}

/** Node 24 from the locked optional dependency, else this Node when it is new enough. */
function node24() {
  const packaged = join(root, "node_modules", `node-${platform()}-${arch()}`, "bin", "node");
  if (existsSync(packaged)) return packaged;
  if (Number(process.versions.node.split(".")[0]) >= 24) return process.execPath;
  return die(
    `no Node 24 for ${platform()}-${arch()} in the npm registry, and this is Node ${process.versions.node}. ` +
      "Install Node 24 or later, then run this again.",
    69,
  );
}

const [name, ...rest] = process.argv.slice(2);
const script = scripts[name];
if (script === undefined)
  die(`usage: node scripts/run.mjs ${Object.keys(scripts).join("|")} [arguments]`, 64);
install();
const node = node24();
const child = spawn(node, ["--disable-warning=ExperimentalWarning", join(root, script[0]), ...rest], {
  stdio: "inherit",
  // turbo finds neither pnpm nor node otherwise.
  env: {
    ...process.env,
    PATH: [bin, join(node, ".."), process.env.PATH].join(delimiter),
    SLUICE_LAUNCHER_PID: String(process.pid),
  },
});
// A terminal sends Ctrl-C to the whole foreground group: the child has it already and is closing in order.
process.on("SIGINT", () => {});
for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
child.on("error", (error) => die(`${node} could not be started: ${error.message}`));
child.on("exit", (code, signal) => {
  process.exit(signal === null ? (code ?? 1) : 128 + (constants.signals[signal] ?? 0));
});
