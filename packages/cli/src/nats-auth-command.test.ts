import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { ConfigError } from "@sluice/contracts";
import { type NatsAuthOptions, wantedUsers } from "./nats-auth-command.ts";

const run = promisify(execFile);
const entry = fileURLToPath(new URL("./main.ts", import.meta.url));

async function auth(dir: string, ...flags: string[]): Promise<{ stdout: string; stderr: string }> {
  const node = ["--disable-warning=ExperimentalWarning", entry, "nats", "auth", "--dir", dir, ...flags];
  return run(process.execPath, node);
}

async function folder(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "sluice-auth-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return join(dir, "nats-auth");
}

const none: NatsAuthOptions = {
  dir: "x",
  component: [],
  member: [],
  together: false,
  fleet: "default",
  proxy: [],
  as: "authorization",
};

test("seeds go into files that only their owner reads, and nowhere else", { timeout: 240_000 }, async (t) => {
  const dir = await folder(t);
  const { stdout, stderr } = await auth(dir, "--member", "member1");
  assert.equal((await stat(dir)).mode & 0o777, 0o700);
  const files = await readdir(dir);
  assert.ok(files.includes("member-watcher-member1.nk"));
  for (const name of files) {
    assert.equal((await stat(join(dir, name))).mode & 0o777, 0o600, name);
    if (!name.endsWith(".nk")) continue;
    const seed = (await readFile(join(dir, name), "utf8")).trim();
    assert.match(seed, /^SU[A-Z2-7]{56}$/);
    assert.ok(!stdout.includes(seed) && !stderr.includes(seed), `${name} is told`);
  }
});

test("a second call keeps what is there, adds what is new, and says the same in the same order", {
  timeout: 240_000,
}, async (t) => {
  const dir = await folder(t);
  const first = await auth(dir, "--component", "member-watcher", "--member", "member2");
  const again = await auth(dir, "--component", "member-watcher", "--member", "member2");
  assert.equal(again.stdout, first.stdout);
  const more = await auth(dir, "--component", "member-watcher", "--member", "member1");
  const keys = (text: string) => [...text.matchAll(/nkey: (\S+)/g)].map((match) => match[1]);
  assert.equal(keys(more.stdout).length, 2);
  assert.equal(
    keys(more.stdout)[1],
    keys(first.stdout)[0],
    "member1 comes before member2, whose key is the same",
  );
  assert.match(more.stderr, /member-watcher-member2: .*, from an earlier call/);
});

test("a member of its own has a credential of its own, unless one process serves them together", () => {
  const both = { ...none, component: ["member-watcher"], member: ["member1", "member2"] };
  assert.deepEqual(wantedUsers(both), [
    { component: "member-watcher", members: ["member1"] },
    { component: "member-watcher", members: ["member2"] },
  ]);
  assert.deepEqual(wantedUsers({ ...both, together: true }), [
    { component: "member-watcher", members: ["member1", "member2"] },
  ]);
});

test("what cannot be meant is said with what to write instead", () => {
  const say = (options: Partial<NatsAuthOptions>) => () => wantedUsers({ ...none, ...options });
  assert.throws(say({ component: ["watcher"] }), (error: unknown) => {
    assert.ok(error instanceof ConfigError);
    assert.match(error.message, /--component watcher: write one of member-watcher, aggregator/);
    return true;
  });
  assert.throws(say({ component: ["member-watcher"] }), /name its clusters with --member/);
  assert.throws(say({ member: ["a.>"] }), /--member a\.>: write a lower-case DNS name/);
});
