// One child in the foreground: what run.mjs, test-package.mjs, test.ts and check.ts have in common. It must suit Node 20.
import { spawn } from "node:child_process";
import { constants } from "node:os";

/** How often we look whether npm or pnpm, our parent, is still there, ms. */
const PARENT_POLL_MS = 250;

/**
 * Runs a command until it ends and hands every signal on to it. A terminal sends Ctrl-C to the whole foreground group:
 * the child has SIGINT already and is closing in order, so that one is not sent twice.
 * npm passes SIGTERM on but cannot pass on its own SIGKILL: when it has gone, its process id stops being our parent's.
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
    const parent = process.ppid;
    const poll =
      process.env["npm_lifecycle_event"] === undefined
        ? undefined
        : setInterval(() => {
            if (process.ppid !== parent) child.kill("SIGTERM");
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
