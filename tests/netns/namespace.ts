import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { NamespaceError } from "@sluice/contracts";

const execute = promisify(execFile);

async function inPath(command: string): Promise<boolean> {
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"];
  const found = folders.map((folder) =>
    access(join(folder, command), constants.X_OK).then(
      () => true,
      () => false,
    ),
  );
  return (await Promise.all(found)).includes(true);
}

/** @throws NamespaceError where this process cannot make network namespaces, with what would let it */
export async function requireNamespaces(): Promise<void> {
  if (process.getuid?.() !== 0) {
    throw new NamespaceError("only root makes network namespaces, and this process is not root");
  }
  const missing: string[] = [];
  for (const [command, source] of [
    ["ip", "iproute2"],
    ["unshare", "util-linux"],
    ["nsenter", "util-linux"],
  ] as const) {
    if (!(await inPath(command))) missing.push(`${command} (package ${source})`);
  }
  if (missing.length > 0) throw new NamespaceError(`not there: ${missing.join(", ")}`);
  try {
    await execute("unshare", ["--net", "--", "ip", "link", "set", "lo", "up"], { env: environment() });
  } catch (cause) {
    throw new NamespaceError(`a network namespace cannot be made: ${String(cause)}`, { cause });
  }
}

/** Where distributions keep `ip`, whoever asks. */
function environment(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` };
}

/** Runs Node in a network namespace of its own, in which loopback is up; it ends with this process. */
export function nodeInNamespace(args: readonly string[], stdio: "inherit" | "pipe"): ChildProcess {
  return spawn(
    "unshare",
    ["--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", process.execPath, ...args],
    { stdio: ["ignore", stdio, "inherit"], env: environment() },
  );
}

/** @throws Error with what the command said */
export async function ip(args: readonly string[], pid?: number): Promise<void> {
  const all = pid === undefined ? ["ip", ...args] : ["nsenter", "--target", `${pid}`, "--net", "ip", ...args];
  await execute(all[0]!, all.slice(1), { env: environment() });
}

/** A process in a namespace of its own that has said that it is ready. */
export async function namespaceOf(
  script: string,
  args: readonly string[],
): Promise<{ readonly child: ChildProcess; readonly pid: number }> {
  const child = spawn(
    "unshare",
    ["--net", "--", process.execPath, "--disable-warning=ExperimentalWarning", script, ...args],
    {
      stdio: ["pipe", "pipe", "inherit"],
      env: environment(),
    },
  );
  await said(child, "ready");
  // unshare becomes what it starts.
  return { child, pid: child.pid! };
}

/** Waits for a line of its output. */
export async function said(child: ChildProcess, line: string): Promise<void> {
  const exited = once(child, "exit").then(([code]) => {
    throw new Error(`a process in a namespace ended with ${String(code)} before it said ${line}`);
  });
  const heard = new Promise<void>((resolve) => {
    let text = "";
    const listen = (chunk: Buffer) => {
      text += chunk.toString();
      if (!text.includes(`${line}\n`)) return;
      child.stdout?.off("data", listen);
      resolve();
    };
    child.stdout?.on("data", listen);
  });
  await Promise.race([heard, exited]);
  exited.catch(() => {});
}
