// What a README of examples/ tells its reader to type, and what it says comes of it.
import { spawn } from "node:child_process";

/** A `sh` block, and the `text` block behind it. */
export interface Step {
  /** Of the block, counted from 1, for messages. */
  readonly line: number;
  readonly commands: string;
  /** null: whatever it says, so long as it succeeds. */
  readonly output: string | null;
}

/** @throws Error for a block that a reader would not know what to do with */
export function stepsOf(readme: string): Step[] {
  const steps: Step[] = [];
  let begun: { line: number; kind: string; text: string[] } | null = null;
  for (const [i, line] of readme.split("\n").entries()) {
    const fence = /^```(\w*)$/.exec(line);
    if (begun === null) {
      if (fence !== null) begun = { line: i + 1, kind: fence[1] ?? "", text: [] };
      continue;
    }
    if (fence === null) {
      begun.text.push(line);
      continue;
    }
    const text = begun.text.join("\n");
    const last = steps.at(-1);
    if (begun.kind === "sh") steps.push({ line: begun.line, commands: text, output: null });
    else if (begun.kind === "text" && last?.output === null)
      steps[steps.length - 1] = { ...last, output: text };
    else throw new Error(`line ${begun.line}: a block is sh, or text behind one that is`);
    begun = null;
  }
  if (begun !== null) throw new Error(`line ${begun.line}: a block without an end`);
  return steps;
}

/** Lines and words compared; `~40` is any number from a third of it to three times as much. */
export function fits(output: string, said: string): boolean {
  const words = (text: string) =>
    text
      .trim()
      .split("\n")
      .map((line) => line.trim().split(/\s+/));
  const [expected, given] = [words(output), words(said)];
  return (
    expected.length === given.length &&
    expected.every((line, i) => {
      const other = given[i] ?? [];
      return line.length === other.length && line.every((word, j) => fitsWord(word, other[j] ?? ""));
    })
  );
}

function fitsWord(expected: string, given: string): boolean {
  const about = /^~([0-9]+)$/.exec(expected)?.[1];
  if (about === undefined) return expected === given;
  return /^[0-9]+$/.test(given) && Number(given) * 3 >= Number(about) && Number(given) <= Number(about) * 3;
}

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Of its processes. */
  readonly group: number;
}

/** Ends what a block has left running. */
export function endGroup(group: number): void {
  try {
    process.kill(-group, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** As a reader's shell would run it, from the root of the checkout. */
export function run(
  commands: string,
  at: { readonly cwd: string; readonly env: NodeJS.ProcessEnv; readonly signal: AbortSignal },
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    // A group of its own: what it leaves running is ended with it.
    const child = spawn("bash", ["-eu", "-o", "pipefail", "-c", commands], {
      ...at,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, stdout, stderr, group: child.pid ?? 0 }));
  });
}
