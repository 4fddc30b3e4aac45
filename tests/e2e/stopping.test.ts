import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePort } from "@sluice/native-tools";

const root = fileURLToPath(new URL("../..", import.meta.url));
const START_MS = 120_000;
const GONE_MS = 60_000;

interface Started extends AsyncDisposable {
  readonly stateDir: string;
  readonly child: ChildProcess;
  readonly said: () => string;
}

/** Processes whose command line names the state folder. */
function processesOf(stateDir: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
        return command.includes(stateDir) ? [`${pid} ${command}`] : [];
      } catch {
        // It ended while we looked.
        return [];
      }
    });
}

/** Unix sockets anywhere below the folder. */
function socketsIn(stateDir: string): string[] {
  return readdirSync(stateDir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isSocket())
    .map((entry) => join(entry.parentPath, entry.name));
}

async function started(run: (args: string[]) => [string, string[]], extra: string[] = []): Promise<Started> {
  const stateDir = await mkdtemp(join(tmpdir(), "sluice-stop-"));
  const args = ["--state-dir", stateDir, "--http-port", String(await freePort())];
  args.push("--gateway-port", String(await freePort()), "--empty", ...extra);
  const [command, argv] = run(args);
  const child = spawn(command, argv, { cwd: root, stdio: ["ignore", "pipe", "pipe"], detached: true });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
  }
  const deadline = performance.now() + START_MS;
  while (!existsSync(join(stateDir, "run.json")) || !text.includes("Sluice is up")) {
    assert.ok(performance.now() < deadline && child.exitCode === null, `did not start:\n${text}`);
    await delay(50);
  }
  return {
    stateDir,
    child,
    said: () => text,
    // A case that fails leaves no world behind for the next one.
    async [Symbol.asyncDispose]() {
      if (!existsSync(join(stateDir, "run.json"))) return;
      const { pid } = JSON.parse(readFileSync(join(stateDir, "run.json"), "utf8")) as { pid: number };
      process.kill(pid, "SIGTERM");
      await nothingIsLeft({ stateDir, said: () => text });
    },
  };
}

async function nothingIsLeft({ stateDir, said }: Pick<Started, "stateDir" | "said">): Promise<void> {
  const deadline = performance.now() + GONE_MS;
  let left = ["?"];
  while (left.length > 0 && performance.now() < deadline) {
    left = [...processesOf(stateDir), ...socketsIn(stateDir)];
    await delay(50);
  }
  assert.deepEqual(left, [], `left after ${GONE_MS / 1000} s; it said:\n${said()}`);
  assert.ok(existsSync(join(stateDir, "kubeconfig", "hub")), "kubeconfigs stay");
  assert.ok(readdirSync(join(stateDir, "logs")).length > 0, "logs stay");
  assert.ok(!existsSync(join(stateDir, "lock")) || processesOf(stateDir).length === 0);
  await rm(stateDir, { recursive: true, force: true });
}

const npm = (args: string[]): [string, string[]] => ["npm", ["start", "--silent", "--", ...args]];

/** Pids of a process's children, by name of their command. */
function childOf(pid: number, word: string): number {
  for (const name of readdirSync("/proc").filter((entry) => /^[0-9]+$/.test(entry))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
      if (parent !== pid) continue;
      if (readFileSync(`/proc/${name}/cmdline`, "utf8").includes(word)) return Number(name);
      const deeper = childOf(Number(name), word);
      if (deeper !== 0) return deeper;
    } catch {
      // It ended while we looked.
    }
  }
  return 0;
}

test("Ctrl-C in a terminal ends everything", { timeout: 240_000 }, async () => {
  // script(1) gives it a terminal; the byte 3 on its input is Ctrl-C.
  const stateDir = await mkdtemp(join(tmpdir(), "sluice-stop-"));
  const ports = [await freePort(), await freePort()];
  const command = `npm start --silent -- --empty --state-dir ${stateDir} --http-port ${ports[0]} --gateway-port ${ports[1]}`;
  const child = spawn("script", ["-qefc", command, "/dev/null"], {
    cwd: root,
    stdio: ["pipe", "pipe", "inherit"],
  });
  let text = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const deadline = performance.now() + START_MS;
  while (!text.includes("Sluice is up")) {
    assert.ok(performance.now() < deadline && child.exitCode === null, `did not start:\n${text}`);
    await delay(50);
  }
  child.stdin?.write("\x03");
  await exited;
  await nothingIsLeft({ stateDir, said: () => text });
});

test("SIGTERM to npm alone ends everything", { timeout: 240_000 }, async () => {
  await using run = await started(npm);
  run.child.kill("SIGTERM");
  await nothingIsLeft(run);
});

test("SIGKILL to npm ends everything", { timeout: 240_000 }, async () => {
  await using run = await started(npm);
  run.child.kill("SIGKILL");
  await nothingIsLeft(run);
});

test("SIGKILL to the launcher behind npm ends everything, also with a process a service", {
  timeout: 240_000,
}, async () => {
  await using run = await started(npm, ["--processes"]);
  const launcher = childOf(run.child.pid ?? 0, "run.mjs");
  assert.ok(launcher > 0, "the launcher is found");
  process.kill(launcher, "SIGKILL");
  await nothingIsLeft(run);
});

test("a second start in the same folder, and a port that is taken, are clear errors", {
  timeout: 240_000,
}, async () => {
  await using run = await started(npm);
  const again = async (args: string[]) => {
    const child = spawn("npm", ["start", "--silent", "--", ...args], {
      cwd: root,
      stdio: ["ignore", "ignore", "pipe"],
    });
    let text = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    const code = await new Promise<number | null>((resolve) => child.once("exit", resolve));
    return { code, text };
  };
  const { proxy } = JSON.parse(readFileSync(join(run.stateDir, "run.json"), "utf8")) as {
    proxy: { http: string };
  };
  const taken = new URL(proxy.http).port;
  const second = await again(["--empty", "--state-dir", run.stateDir]);
  assert.equal(second.code, 69);
  assert.match(second.text, /SLUICE_UP_ALREADY_RUNNING/);
  assert.match(second.text, /--state-dir/);
  const other = await mkdtemp(join(tmpdir(), "sluice-stop-"));
  const port = await again([
    "--empty",
    "--state-dir",
    other,
    "--http-port",
    taken,
    "--gateway-port",
    String(await freePort()),
  ]);
  assert.equal(port.code, 69);
  assert.match(port.text, /SLUICE_UP_PORT_TAKEN/);
  assert.match(port.text, /--http-port/);
  assert.deepEqual(processesOf(other), []);
  const wrong = await again(["--members", "none"]);
  assert.equal(wrong.code, 64);
  assert.match(wrong.text, /--members=none: write a whole number/);
  run.child.kill("SIGTERM");
  await nothingIsLeft(run);
  await rm(other, { recursive: true, force: true });
});
