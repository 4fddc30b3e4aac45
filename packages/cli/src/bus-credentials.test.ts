import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { writeCredentials } from "@sluice/bus";
import { BusForbiddenError } from "@sluice/contracts";
import { busCredentials } from "./bus-credentials.ts";
import { readUpOptions, type UpOptions } from "./up-options.ts";

async function scratch(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "sluice-up-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

function options(...flags: string[]): UpOptions {
  const members = ["--member", "member1=a.yaml", "--member", "member2=b.yaml"];
  return readUpOptions(["--hub", "hub.yaml", ...members, ...flags], {});
}

test("a bus of its own gets fresh credentials at each start, and each service the file with its own", async (t) => {
  const folder = join(await scratch(t), "nats-auth");
  const first = await busCredentials(folder, options());
  const again = await busCredentials(folder, options());
  assert.notEqual(again.configuration, first.configuration);
  const flags = again.flagsOf("aggregator");
  const file = flags[flags.indexOf("--nats-nkey") + 1] ?? "";
  assert.match(await readFile(file, "utf8"), /^SU/);
  assert.equal(again.operator.nkey, join(folder, "operator.nk"));
  assert.ok(!(await readdir(folder)).includes("replay.nk"));
});

test("only whoever creates what is missing is told how many copies there are", async (t) => {
  const { flagsOf } = await busCredentials(join(await scratch(t), "nats-auth"), options());
  for (const name of ["aggregator", "config-renderer", "topology-gateway"]) {
    assert.ok(flagsOf(name).includes("--nats-replicas"), name);
  }
  for (const name of ["member-watcher", "proxy-agent", "propagator"]) {
    assert.ok(!flagsOf(name).includes("--nats-replicas"), name);
  }
});

test("another's bus is met with its owner's files; one that is missing is named with the command that writes it", async (t) => {
  const folder = join(await scratch(t), "auth");
  await writeCredentials(folder, [
    { component: "operator" },
    { component: "aggregator" },
    { component: "member-watcher", members: ["member1"] },
  ]);
  const bus = ["--nats-url", "nats://127.0.0.1:4222", "--nats-auth", folder, "--nats-ca", "ca.pem"];
  const { flagsOf, operator } = await busCredentials("unused", options(...bus, "--nats-replicas", "3"));
  assert.deepEqual(flagsOf("aggregator").slice(2), [
    "--nats-nkey",
    join(folder, "aggregator.nk"),
    "--nats-replicas",
    "3",
  ]);
  assert.match(operator.ca ?? "", /\/ca\.pem$/);
  assert.throws(
    () => flagsOf("member-watcher"),
    (error: unknown) => {
      assert.ok(error instanceof BusForbiddenError);
      assert.match(error.message, /--component member-watcher --together --member member1 --member member2$/);
      return true;
    },
  );
});

test("another's bus that asks for no credentials is given none", async () => {
  const { flagsOf, operator } = await busCredentials(
    "unused",
    options("--nats-url", "nats://127.0.0.1:4222"),
  );
  assert.deepEqual(flagsOf("proxy-agent"), []);
  assert.deepEqual(operator, {});
});

test("copies of a bus of its own are refused: it is one server", () => {
  assert.throws(() => options("--nats-replicas", "3"), /name it with --nats-url/);
});
