import { parseArgs } from "node:util";
import { startSandbox } from "./sandbox.ts";
import { stderrLogger } from "./stderr-logger.ts";

const USAGE = "usage: node packages/kube-sandbox/src/main.ts --members N --state-dir DIR [--parent-pid PID]";
/** How soon a sandbox notices that its parent is gone. */
const PARENT_CHECK_MS = 1000;

interface Arguments {
  members: number;
  stateDir: string;
  parentPid: number | undefined;
}

function parse(): Arguments | string {
  let values: { members?: string; "state-dir"?: string; "parent-pid"?: string };
  try {
    ({ values } = parseArgs({
      options: {
        members: { type: "string" },
        "state-dir": { type: "string" },
        "parent-pid": { type: "string" },
      },
    }));
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const members = Number(values.members ?? "2");
  const parentPid = values["parent-pid"] === undefined ? undefined : Number(values["parent-pid"]);
  const stateDir = values["state-dir"];
  if (!Number.isInteger(members) || members < 0 || members > 240)
    return "--members takes a whole number from 0 to 240";
  if (stateDir === undefined) return "--state-dir is missing: name the folder for kubeconfigs";
  if (parentPid !== undefined && !(Number.isInteger(parentPid) && parentPid > 0))
    return "--parent-pid takes a process id";
  return { members, stateDir, parentPid };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it is there, but somebody else's.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

async function main(): Promise<number> {
  const args = parse();
  if (typeof args === "string") {
    process.stderr.write(`${args}\n${USAGE}\n`);
    return 64;
  }
  const { members, stateDir, parentPid } = args;
  const stop = new AbortController();
  for (const name of ["SIGTERM", "SIGINT"] as const) process.on(name, () => stop.abort());
  const log = stderrLogger();
  const sandbox = await startSandbox({ members, stateDir, signal: stop.signal, log });
  const clusters = Object.fromEntries(
    [...sandbox.clusters].map(([name, { url }]) => {
      const podRange = sandbox.podRanges.get(name);
      return [
        name,
        { url, kubeconfig: sandbox.kubeconfigs.get(name), ...(podRange === undefined ? {} : { podRange }) },
      ];
    }),
  );
  process.stdout.write(`${JSON.stringify({ clusters, control: sandbox.control, pid: process.pid })}\n`);
  const ended = new Promise<void>((resolve) =>
    stop.signal.addEventListener("abort", () => resolve(), { once: true }),
  );
  const watching =
    parentPid === undefined
      ? undefined
      : setInterval(() => {
          if (!isAlive(parentPid)) stop.abort();
        }, PARENT_CHECK_MS);
  if (!stop.signal.aborted) await ended;
  clearInterval(watching);
  await sandbox.close();
  return 0;
}

process.exitCode = await main();
