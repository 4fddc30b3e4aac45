import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { arch, platform, tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { afterEach, beforeEach, describe, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";

const repository = dirname(dirname(fileURLToPath(import.meta.url)));
const PATIENCE = { timeout: 60_000 };

/** Every Node on PATH, one of a major version: on a developer's machine that is the distribution's beside our own. */
function nodesOnPath(): Map<number, string> {
  const nodes = new Map<number, string>();
  for (const folder of new Set((process.env["PATH"] ?? "").split(delimiter))) {
    const node = join(folder, "node");
    if (!existsSync(node)) continue;
    const version = execFileSync(node, ["--version"], { encoding: "utf8" });
    const major = Number(/^v([0-9]+)/.exec(version)?.[1]);
    if (major >= 20 && !nodes.has(major)) nodes.set(major, node);
  }
  return nodes;
}

// What `npm start` runs in the fixture: says who it is, then does what its first argument asks.
const START = `
import { appendFileSync } from "node:fs";
const [what, ...rest] = process.argv.slice(2);
const node: string = process.versions.node;
const say = () => console.log(JSON.stringify({ node, rest, launcher: process.env.SLUICE_LAUNCHER_PID }));
if (what !== "wait") say();
if (what === "exit") process.exit(Number(rest[0]));
if (what === "wait") {
  process.on("SIGTERM", () => { appendFileSync(rest[0]!, "SIGTERM"); process.exit(7); });
  // Only now: whoever reads it may send the signal at once.
  say();
  setInterval(() => {}, 1000);
}
if (what === "hang") setInterval(() => {}, 1000);
`;

// Stands for pnpm: says when it begins and ends, and takes until the file `go` is there.
const PNPM = `#!/bin/sh
echo "begin $CI $*" >> pnpm.log
until [ -e go ]; do sleep 0.05; done
[ ! -e broken ] || { echo "cannot reach the moon" >&2; exit 9; }
echo end >> pnpm.log
`;

let root = "";

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "sluice-run-"));
  for (const file of ["run.mjs", "install.mjs", "node24.mjs", "run-child.mjs"]) {
    cpSync(join(repository, "scripts", file), join(root, "scripts", file));
  }
  cpSync(join(repository, "sluice"), join(root, "sluice"));
  mkdirSync(join(root, "node_modules", ".bin"), { recursive: true });
  mkdirSync(join(root, "packages/cli/src"), { recursive: true });
  const scripts = { start: "node scripts/run.mjs start" };
  const about = { name: "fixture", type: "module", packageManager: "pnpm@12.0.0", scripts };
  writeFileSync(join(root, "package.json"), JSON.stringify(about));
  writeFileSync(join(root, "pnpm-lock.yaml"), "");
  writeFileSync(join(root, "pnpm-workspace.yaml"), "");
  writeFileSync(join(root, "scripts/start.ts"), START);
  writeFileSync(join(root, "packages/cli/src/main.ts"), "console.log(process.cwd(), process.argv.slice(2));");
  writeFileSync(join(root, "go"), "");
  for (const [name, text] of Object.entries({ pnpm: PNPM, turbo: "#!/bin/sh\n" })) {
    writeFileSync(join(root, "node_modules/.bin", name), text);
    chmodSync(join(root, "node_modules/.bin", name), 0o755);
  }
  mkdirSync(join(root, `node_modules/node-${platform()}-${arch()}/bin`), { recursive: true });
  symlinkSync(process.execPath, join(root, `node_modules/node-${platform()}-${arch()}/bin/node`));
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

interface Run {
  readonly child: ChildProcess;
  readonly stdout: string;
  readonly stderr: string;
  readonly ended: Promise<number | NodeJS.Signals>;
}

function run(t: TestContext, command: string, args: readonly string[], cwd = root): Run {
  // A test that npm runs must not be taken for npm's child.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("npm_")));
  const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  t.after(() => killGroup(child.pid));
  const said = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].setEncoding("utf8").on("data", (text: string) => {
      said[stream] += text;
    });
  }
  const ended = new Promise<number | NodeJS.Signals>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve(code ?? signal ?? 0));
  });
  return {
    child,
    ended,
    get stdout() {
      return said.stdout;
    },
    get stderr() {
      return said.stderr;
    },
  };
}

/** A group of its own, so that a test that fails leaves nothing behind. */
function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

const started = (t: TestContext, one: Run) => t.waitFor(() => assert.match(one.stdout, /\n/), PATIENCE);
const gone = (pid: number) => () => assert.throws(() => process.kill(pid, 0));

for (const [major, node] of nodesOnPath()) {
  const launch = (t: TestContext, ...args: string[]) => run(t, node, ["scripts/run.mjs", ...args]);

  describe(`run.mjs from Node ${major}`, () => {
    test("runs Node 24 with the arguments as they were, and exits with its code", async (t) => {
      const one = launch(t, "start", "exit", "3", "two words", "--flag=*");
      assert.equal(await one.ended, 3, one.stderr);
      const said = JSON.parse(one.stdout);
      assert.equal(said.node, process.versions.node);
      assert.deepEqual(said.rest, ["3", "two words", "--flag=*"]);
      assert.equal(said.launcher, String(one.child.pid));
    });

    test("hands SIGTERM on, and ends when the child has ended", async (t) => {
      const one = launch(t, "start", "wait", join(root, "signals"));
      await started(t, one);
      one.child.kill("SIGTERM");
      assert.equal(await one.ended, 7);
      assert.equal(readFileSync(join(root, "signals"), "utf8"), "SIGTERM");
    });

    test("outlives Ctrl-C, which the terminal sends to the child too", async (t) => {
      const one = launch(t, "start", "wait", join(root, "signals"));
      await started(t, one);
      one.child.kill("SIGINT");
      one.child.kill("SIGTERM");
      assert.equal(await one.ended, 7);
    });

    test("exits with 128 + n when signal n ended the child", async (t) => {
      const one = launch(t, "start", "hang");
      await started(t, one);
      one.child.kill("SIGTERM");
      assert.equal(await one.ended, 128 + 15);
    });

    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      test(`stops the child in order when npm alone got ${signal}`, async (t) => {
        const one = run(t, node, [npmOf(node), "start", "--silent", "--", "wait", join(root, "signals")]);
        await started(t, one);
        const launcher = Number(JSON.parse(one.stdout).launcher);
        one.child.kill(signal);
        await t.waitFor(() => assert.equal(readFileSync(join(root, "signals"), "utf8"), "SIGTERM"), PATIENCE);
        await t.waitFor(gone(launcher), PATIENCE);
      });
    }

    test("takes itself where no Node is packaged, if it is new enough, else says what to install", async (t) => {
      rmSync(join(root, `node_modules/node-${platform()}-${arch()}`), { recursive: true });
      const one = launch(t, "start", "exit", "0");
      assert.equal(await one.ended, major >= 24 ? 0 : 69);
      if (major < 24) assert.match(one.stderr, /Install Node 24/);
    });

    test("installs once, and again when the lock file says something else", async (t) => {
      assert.equal(await launch(t, "start", "exit", "0").ended, 0);
      assert.equal(await launch(t, "start", "exit", "0").ended, 0);
      const log = () => readFileSync(join(root, "pnpm.log"), "utf8").split("\n").filter(Boolean);
      assert.equal(log().length, 2);
      assert.match(log()[0]!, /^begin true install --frozen-lockfile/);
      writeFileSync(join(root, "pnpm-lock.yaml"), "other: 1\n");
      assert.equal(await launch(t, "start", "exit", "0").ended, 0);
      assert.equal(log().length, 4);
    });

    test("of two first starts one installs and the other waits", async (t) => {
      rmSync(join(root, "go"));
      const both = [launch(t, "start", "exit", "0"), launch(t, "start", "exit", "0")];
      await t.waitFor(() => assert.ok(both.some((one) => /waiting for it/.test(one.stderr))), PATIENCE);
      writeFileSync(join(root, "go"), "");
      assert.deepEqual(await Promise.all(both.map((one) => one.ended)), [0, 0]);
      assert.equal(readFileSync(join(root, "pnpm.log"), "utf8").match(/begin/g)?.length, 1);
    });

    test("a failed install says what to do, on stderr, and is tried again", async (t) => {
      writeFileSync(join(root, "broken"), "");
      const one = launch(t, "start", "exit", "0");
      assert.equal(await one.ended, 1);
      assert.equal(one.stdout, "");
      assert.match(one.stderr, /cannot reach the moon/);
      assert.match(one.stderr, /failed with code 9.*run the command again/s);
      rmSync(join(root, "broken"));
      assert.equal(await launch(t, "start", "exit", "0").ended, 0);
    });

    test("a lock whose process was killed keeps nobody waiting", async (t) => {
      rmSync(join(root, "go"));
      const killed = launch(t, "start", "exit", "0");
      await t.waitFor(() => assert.ok(existsSync(join(root, "pnpm.log"))), PATIENCE);
      killed.child.kill("SIGKILL");
      await killed.ended.catch(() => {});
      writeFileSync(join(root, "go"), "");
      const next = [launch(t, "start", "exit", "0"), launch(t, "start", "exit", "0")];
      assert.deepEqual(await Promise.all(next.map((one) => one.ended)), [0, 0]);
      assert.ok(!existsSync(join(root, ".sluice/install.lock")));
    });

    test("a script that does not exist is a usage error that names those that do", async (t) => {
      const one = launch(t, "strat");
      assert.equal(await one.ended, 64);
      assert.equal(
        one.stderr,
        "sluice: usage: node scripts/run.mjs start|test|check|bench|chaos|test:cluster|test:netns|test:nginx|simulate|fuzz|sluice [arguments]\n",
      );
    });
  });
}

/** npm's own entry, so that this Node runs it whatever stands first on PATH. */
function npmOf(node: string): string {
  const beside = join(dirname(node), "npm");
  if (existsSync(beside)) return beside;
  const found = (process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "npm"));
  return found.find((path) => existsSync(path)) ?? beside;
}

test("./sluice runs from another folder and through symbolic links", async (t) => {
  mkdirSync(join(root, "elsewhere"));
  symlinkSync("../sluice", join(root, "elsewhere/first"));
  symlinkSync(join(root, "elsewhere/first"), join(root, "elsewhere/second"));
  const one = run(t, join(root, "elsewhere/second"), ["get", "two words"], tmpdir());
  assert.equal(await one.ended, 0, one.stderr);
  assert.match(one.stdout, /\[ 'get', 'two words' \]/);
  assert.ok(one.stdout.startsWith(tmpdir()));
});
