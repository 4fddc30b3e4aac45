import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Which commit lies in a folder: its short id, with `+changes` where files differ from it; `unknown` where git says nothing. */
export async function checkedOut(dir: string): Promise<string> {
  try {
    const { stdout: id } = await run("git", ["rev-parse", "--short", "HEAD"], { cwd: dir });
    const { stdout: changed } = await run("git", ["status", "--porcelain", "--untracked-files=no"], {
      cwd: dir,
    });
    return `${id.trim()}${changed === "" ? "" : "+changes"}`;
  } catch {
    // No git, or no checkout: results are worth something without it.
    return "unknown";
  }
}
