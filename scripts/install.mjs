// Installs what the lock file names, once for each state of it. Like run.mjs it must suit Node 20.
import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { runChild } from "./run-child.mjs";

/** How often a waiting process looks whether the other one has installed, ms. */
const LOCK_POLL_MS = 200;

/** @param {unknown} error @param {string} code */
const isCode = (error, code) => error instanceof Error && "code" in error && error.code === code;

/** What node_modules must be like, as a hash: another hash means another install. @param {string} root */
function wanted(root) {
  const hash = createHash("sha256");
  for (const file of ["pnpm-lock.yaml", "package.json", "pnpm-workspace.yaml"])
    hash.update(readFileSync(join(root, file)));
  return hash.digest("hex");
}

/** @param {string} path @returns {string | null} null: there is no such file */
function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (isCode(error, "ENOENT")) return null;
    throw error;
  }
}

/** @param {string} lock @returns {number | null} process that holds the lock; null: nobody who lives */
function holderOf(lock) {
  const pid = Number(read(lock));
  if (!Number.isInteger(pid) || pid <= 0) return null;
  try {
    process.kill(pid, 0);
    return pid;
  } catch (error) {
    return isCode(error, "EPERM") ? pid : null;
  }
}

/**
 * Creates `path` with our pid in it, at once: nobody ever sees it empty.
 * @param {string} path @returns {boolean} false: it exists
 */
function claim(path) {
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, `${process.pid}`);
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if (isCode(error, "EEXIST")) return false;
    throw error;
  } finally {
    rmSync(draft);
  }
}

/**
 * Removes the lock of a process that was killed. Only one may look and remove at a time: between another's look and its
 * removal the lock could have become somebody's.
 * @param {string} lock
 */
function breakLock(lock) {
  const guard = `${lock}.break`;
  let fd;
  try {
    fd = openSync(guard, "wx");
  } catch (error) {
    if (isCode(error, "EEXIST")) return;
    throw error;
  }
  try {
    if (holderOf(lock) === null) rmSync(lock, { force: true });
  } finally {
    closeSync(fd);
    rmSync(guard);
  }
}

/** @param {string} lock */
async function takeLock(lock) {
  for (let told = false; !claim(lock); ) {
    const holder = holderOf(lock);
    if (holder === null) breakLock(lock);
    else if (!told) {
      process.stderr.write(`sluice: process ${holder} is installing in this folder; waiting for it\n`);
      told = true;
    }
    await delay(LOCK_POLL_MS);
  }
}

/**
 * @param {string} root folder of the checkout
 * @returns {Promise<{ message: string, code: number } | null>} why it failed and with which code to exit; null: all is there
 */
export async function install(root) {
  const bin = join(root, "node_modules", ".bin");
  const stamp = join(root, "node_modules", ".sluice-installed");
  const done = () => existsSync(join(bin, "turbo")) && read(stamp) === wanted(root);
  if (done()) return null;
  mkdirSync(join(root, ".sluice"), { recursive: true });
  const lock = join(root, ".sluice", "install.lock");
  await takeLock(lock);
  try {
    if (done()) return null;
    const { packageManager } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const args = [
      "install",
      "--frozen-lockfile",
      "--prod=false",
      "--prefer-offline",
      "--reporter=append-only",
    ];
    const own = join(bin, "pnpm");
    const [command, argv] = existsSync(own) ? [own, args] : ["npx", ["--yes", packageManager, ...args]];
    const state = wanted(root);
    process.stderr.write(`sluice: installing dependencies with ${packageManager}\n`);
    // From here on node_modules is in no known state.
    rmSync(stamp, { force: true });
    const log = join(root, ".sluice", "install.log");
    const fd = openSync(log, "w");
    const code = await runChild(command, argv, {
      cwd: root,
      // Into a file, because stdout is for the answer of the command that was asked for, and a failure for its report.
      stdio: ["ignore", fd, fd],
      env: { ...process.env, CI: "true" },
    }).finally(() => closeSync(fd));
    if (code === 0) {
      writeFileSync(stamp, state);
      return null;
    }
    if (code > 128) return { message: "the install was interrupted; run the command again", code };
    process.stderr.write(readFileSync(log, "utf8"));
    const again = `${command} ${argv.join(" ")}`;
    return {
      message:
        `installing the dependencies failed with code ${code}; the report is above and in ${log}. See that the network ` +
        `can be reached and the disk is not full, and run the command again. By hand: CI=true ${again}`,
      code: 1,
    };
  } catch (error) {
    if (!isCode(error, "ENOENT")) throw error;
    return { message: "npx could not be started: install npm, then run the command again", code: 69 };
  } finally {
    rmSync(lock, { force: true });
  }
}
