// Which Node runs the project: plain JavaScript, because it is asked before anything else can run.
import { existsSync } from "node:fs";
import { arch, platform } from "node:os";
import { join } from "node:path";

/**
 * The Node 24 that was installed from the lock file, else the Node that runs this when it is new enough.
 * @param {string} root folder of the checkout
 * @returns {string | null} path of the executable; null: there is none
 */
export function node24(root) {
  const packaged = join(root, "node_modules", `node-${platform()}-${arch()}`, "bin", "node");
  if (existsSync(packaged)) return packaged;
  return Number(process.versions.node.split(".")[0]) >= 24 ? process.execPath : null;
}

/** What to tell a person when there is none. */
export const noNode24 =
  `no Node 24 for ${platform()}-${arch()} among the installed packages, and this is Node ` +
  `${process.versions.node}. Install Node 24 or later, then run this again.`;
