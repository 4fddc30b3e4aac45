// One child in the foreground: what run.mjs, test-package.mjs, test.ts and check.ts have in common. It must suit Node 20.
import { execFileSync, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";

/** How often we look whether npm or pnpm is still there, ms. */
const PARENT_POLL_MS = 250;

/** @param {number} pid @returns {{ name: string, parent: number }} */
function processInfo(pid) {
  // A small machine has no `ps`, and not every system has /proc.
  const [text, pattern] = existsSync("/proc/self/stat")
    ? [readFileSync(`/proc/${pid}/stat`, "utf8"), /\((?<name>.*)\) \S+ (?<parent>[0-9]+)/]
    : [
        execFileSync("ps", ["-o", "ppid=,comm=", "-p", String(pid)], { encoding: "utf8" }),
        /(?<parent>[0-9]+)\s+(?<name>.*\S)/,
      ];
  const found = pattern.exec(text)?.groups;
  return { name: found?.["name"] ?? "", parent: Number(found?.["parent"] ?? 0) };
}

/**
 * npm and pnpm start a script through a shell. Where that shell stays (dash does), it hands no signal on and outlives
 * an npm that was killed: so its parent is watched beside it.
 * @returns {(() => boolean) | null} whether whoever started this script has gone; null: it was started by hand
 */
function starterGone() {
  if (process.env["npm_lifecycle_event"] === undefined) return null;
  const parent = process.ppid;
  const { name, parent: grandparent } = processInfo(parent);
  const shell = /(^|\/)[a-z]*sh$/.test(name);
  return () => {
    if (process.ppid !== parent) return true;
    if (!shell) return false;
    try {
      process.kill(grandparent, 0);
      return false;
    } catch {
      return true; // EPERM cannot be: it started us under our own user
    }
  };
}

/**
 * Runs a command until it ends and hands every signal on to it. A terminal sends Ctrl-C to the whole foreground group:
 * the child has SIGINT already and is closing in order, so that one is not sent twice. When npm or pnpm, which started
 * us, has gone, the child is told to stop.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {import("node:child_process").SpawnOptions} options
 * @returns {Promise<number>} exit code; 128 + n when signal n ended it
 */
export function runChild(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: "inherit", ...options });
    const forward = /** @type {const} */ (["SIGTERM", "SIGHUP"]).map((signal) => {
      const handler = () => child.kill(signal);
      process.on(signal, handler);
      return () => process.off(signal, handler);
    });
    const ignore = () => {};
    process.on("SIGINT", ignore);
    const gone = starterGone();
    const poll =
      gone === null
        ? undefined
        : setInterval(() => {
            if (!gone()) return;
            clearInterval(poll); // once: to some a second signal means "at once"
            child.kill("SIGTERM");
          }, PARENT_POLL_MS);
    const cleanUp = () => {
      clearInterval(poll);
      process.off("SIGINT", ignore);
      for (const off of forward) off();
    };
    child.once("error", (error) => {
      cleanUp();
      reject(error);
    });
    child.once("exit", (code, signal) => {
      cleanUp();
      resolve(signal === null ? (code ?? 1) : 128 + (constants.signals[signal] ?? 0));
    });
  });
}
