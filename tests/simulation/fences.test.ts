import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { promisify } from "node:util";
import type { FenceRun } from "./fence-run.ts";
import { fences } from "./fences.ts";
import { rules } from "./rules.ts";

const all = [...fences, ...rules];
/** Each process loads all of Sluice: what one has compiled the next one need not. */
const compiled = await mkdtemp(join(tmpdir(), "sluice-fences-"));
after(() => rm(compiled, { recursive: true }));

/** Runs schedules of fences in a process of their own. */
async function run(...args: string[]): Promise<FenceRun[]> {
  const script = join(import.meta.dirname, "fence-run.ts");
  const { stdout } = await promisify(execFile)(process.execPath, [script, ...args], {
    env: { ...process.env, NODE_COMPILE_CACHE: compiled },
    timeout: 240_000,
  });
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as FenceRun);
}

/** How many schedules of each fence it took to find a violation without it. */
const taken = new Map<string, number>();

for (const { name } of all) {
  test(`without "${name}" the simulation finds a violation`, async (t) => {
    const [found] = await run("without", name);
    assert.ok(found?.violation, `nothing was violated in ${found?.seeds} schedules`);
    t.diagnostic(`${found.violation.name} in schedule ${found.seeds}: ${found.violation.what}`);
    taken.set(name, found.seeds);
  });
}

test("with every fence in its place the very same schedules violate nothing", async () => {
  const runs = await run("with", ...[...taken].map(([name, seeds]) => `${name}:${seeds}`));
  for (const { fence, seeds, violation } of runs) {
    assert.equal(violation, null, `${fence}, schedule ${seeds}: ${violation?.name}: ${violation?.what}`);
  }
});
