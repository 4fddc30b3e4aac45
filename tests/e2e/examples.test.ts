// Each example does what its README says: the very commands of it, typed into a shell beside a world.
import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ensureTool } from "@sluice/native-tools";
import { type StartedWorld, startedWorld } from "../world/started-world.ts";
import { endGroup, fits, type Ran, run, type Step, stepsOf } from "./example-steps.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** What READMEs say: where the proxy is, for HTTP and TLS, and a folder for what is made on the way. */
const [HTTP, HTTPS_PORT, FOLDER] = ["127.0.0.1:31590", /\b31591\b/g, "/tmp/"];
/** What READMEs start it with. */
const FLAGS = ["--auth-address", "127.0.77.0/24", "--configmap", "configmap/options"];
/** npm start applies it by itself; story.test.ts holds it. */
const HELLO = "hello";
const WAIT_MS = 60_000;

const over = new AbortController();
const { signal } = over;
let world: StartedWorld;
let folder: string;
let env: NodeJS.ProcessEnv;

before(async () => {
  const kubectl = await ensureTool("kubectl", { signal });
  folder = await mkdtemp(join(tmpdir(), "sluice-examples-"));
  await symlink(kubectl.path, join(folder, "kubectl"));
  world = await startedWorld(["--members", "2", ...FLAGS], signal);
  env = {
    ...process.env,
    ...kubectl.env,
    PATH: `${folder}:${process.env["PATH"] ?? ""}`,
    KUBECONFIG: world.addresses.kubeconfigs["hub"] ?? "",
    // kubectl's discovery cache is of this world alone.
    HOME: folder,
  };
});
after(async () => {
  await world?.stop();
  over.abort();
  await rm(folder, { recursive: true, force: true });
});

/** Groups of processes that a block began and let run. */
const left = new Set<number>();

/** A README's text in this world. */
function asHere(text: string): string {
  const { http, https = "" } = world.addresses.proxy;
  return text
    .replaceAll(HTTP, http.replace("http://", ""))
    .replaceAll(HTTPS_PORT, https.split(":").at(-1) ?? "")
    .replaceAll(FOLDER, `${folder}/`);
}

/** Waits for what it shall say: what was applied before takes its way. */
async function take({ line, commands, output }: Step): Promise<void> {
  const here = asHere(commands);
  const said = output === null ? null : asHere(output);
  const deadline = performance.now() + WAIT_MS;
  for (;;) {
    const ran = await run(here, { cwd: root, env, signal });
    if (/[^&]&( |$)/m.test(commands)) left.add(ran.group);
    if (ran.code === 0 && (said === null || fits(said, ran.stdout))) return;
    // What has no output to wait for is said once.
    if (said === null || performance.now() > deadline) assert.fail(complaint(line, here, said, ran));
    await delay(200, undefined, { signal });
  }
}

function complaint(line: number, commands: string, output: string | null, ran: Ran): string {
  const expected = output === null ? "" : `\nthe README says:\n${output}`;
  return `line ${line}: ${commands}\nended with ${ran.code} and said:\n${ran.stdout}${ran.stderr}${expected}`;
}

for (const name of (await readdir(join(root, "examples"))).filter((each) => each !== HELLO).sort()) {
  test(`examples/${name} does what its README says`, { timeout: 300_000 }, async () => {
    const steps = stepsOf(await readFile(join(root, "examples", name, "README.md"), "utf8"));
    assert.ok(
      steps.some(({ output }) => output !== null),
      "it says what comes of something",
    );
    assert.ok(
      steps.some(({ commands }) => commands.includes(`kubectl apply -f examples/${name}/`)),
      "it applies its folder",
    );
    try {
      for (const step of steps) await take(step);
    } finally {
      for (const group of left) endGroup(group);
      left.clear();
    }
  });
}

test("a README that says something else is found, and so is a block that nobody could follow", async () => {
  const here = { cwd: root, env, signal };
  const [step] = stepsOf("```sh\necho ' 12  Version: 1'; echo 2\n```\n\n```text\n~10 Version: 1\n2\n```\n");
  const { stdout } = await run(step?.commands ?? "", here);
  assert.ok(fits(step?.output ?? "", stdout));
  for (const other of ["~10 Version: 2\n2", "~40 Version: 1\n2", "~10 Version: 1", "10 Version: 1\n2"]) {
    assert.equal(fits(other, stdout), false, other);
  }
  assert.equal((await run("false | true", here)).code, 1);
  assert.throws(() => stepsOf("```text\nx\n```\n"), /line 1: a block is sh/);
  assert.throws(() => stepsOf("```sh\nx\n"), /line 1: a block without an end/);
});
