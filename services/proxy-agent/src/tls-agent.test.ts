import assert from "node:assert/strict";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { MemoryServer } from "@sluice/bus/testing";
import { fleetKeys, type SecretRow } from "@sluice/contracts";
import {
  type FleetPrivateKey,
  type FleetPublicKey,
  readPrivateKey,
  readPublicKey,
  seal,
  writeFleetKey,
} from "@sluice/sealing";
import { type TestAgent, type TestFleet, testAgent, testFleet } from "./testing/agent-world.ts";
import { type TestCertificate, testAuthority, testCertificate } from "./testing/certificates.ts";
import { type TestNginx, testNginx, testPod } from "./testing/proxy-world.ts";
import { secureGet, shownTo } from "./testing/tls-clients.ts";

const soon = { timeout: 60_000, interval: 10 };
const HOST = "shop.example.test";
const DEFAULT = "Sluice default certificate";

interface FleetKey {
  readonly publicKey: FleetPublicKey;
  readonly privateKey: FleetPrivateKey;
}

async function fleetKey(folder: string): Promise<FleetKey> {
  const { publicFile, privateFile } = await writeFleetKey(folder);
  return { publicKey: await readPublicKey(publicFile), privateKey: await readPrivateKey(privateFile) };
}

async function secretRow(key: FleetKey, { chain, key: secret }: TestCertificate): Promise<SecretRow> {
  const id = "shop-tls";
  const sealed = await seal(key.publicKey, "default", id, { key: secret });
  return { id, namespace: "shop", name: "tls", chain, sealed };
}

function route(fleet: TestFleet, certificate: string): void {
  fleet.set(fleetKeys.route("default", HOST), {
    host: HOST,
    certificate,
    paths: [
      {
        type: "Prefix",
        path: "/",
        upstream: "shop",
        profile: "default",
        source: { kind: "MultiClusterIngress", namespace: "shop", name: "web" },
      },
    ],
  });
}

async function shows(t: TestContext, nginx: TestNginx, serial: string): Promise<void> {
  await t.waitFor(async () => assert.equal((await shownTo(nginx, HOST)).serial, serial), soon);
}

const problems = (agent: TestAgent) => agent.records.at(-1)?.problems ?? [];

test("a certificate comes sealed over the bus and is shown; what cannot be opened leaves the last good one", async (t) => {
  const nginx = await testNginx(t, { https: true });
  const server = new MemoryServer();
  const fleet = testFleet(t, server);
  const [ours, theirs] = await Promise.all(
    ["ours", "theirs"].map((name) => fleetKey(join(nginx.options.dir, "keys", name))),
  );
  assert.ok(ours && theirs);
  const authority = await testAuthority("example authority");
  const [first, second, third] = (await Promise.all(
    [1, 2, 3].map(() => testCertificate(authority, [HOST])),
  )) as [TestCertificate, TestCertificate, TestCertificate];
  const pod = await testPod(t, "127.25.0.1", "shop-1");
  const key = fleetKeys.secret("default", "shop-tls");
  let agent = testAgent(nginx, server, undefined, { fleetKeys: [ours.privateKey] });
  fleet.set(key, await secretRow(ours, first));
  fleet.upstream("shop", { member1: [pod] });
  route(fleet, "shop-tls");
  await shows(t, nginx, first.serial);
  assert.equal((await secureGet(nginx, "/")).body, "shop-1");

  await t.test("a new one is shown without a reload", async () => {
    const { config } = await nginx.client.state(t.signal);
    fleet.set(key, await secretRow(ours, second));
    await shows(t, nginx, second.serial);
    assert.equal((await nginx.client.state(t.signal)).config, config);
    await t.waitFor(() => assert.deepEqual(problems(agent), []), soon);
  });

  await t.test(
    "one for another fleet's key, one that was changed on its way, one with another's key: each is told",
    async () => {
      const good = await secretRow(ours, third);
      const cases: [SecretRow, RegExp][] = [
        [await secretRow(theirs, third), /is sealed for key .*--fleet-key/],
        [{ ...good, sealed: { ...good.sealed!, box: `AAAA${good.sealed!.box.slice(4)}` } }, /does not open/],
        [{ ...good, chain: second.chain }, /private key is another one's/],
      ];
      for (const [row, why] of cases) {
        fleet.set(key, row);
        await t.waitFor(() => {
          const [problem] = problems(agent);
          assert.equal(problem?.key, key);
          assert.match(problem?.problem ?? "", why);
        }, soon);
        assert.equal((await shownTo(nginx, HOST)).serial, second.serial);
      }
      // Whatever comes with it goes on.
      fleet.upstream("other", { member1: [pod] });
      fleet.set(key, good);
      await shows(t, nginx, third.serial);
      await t.waitFor(() => assert.deepEqual(problems(agent), []), soon);
    },
  );

  await t.test("when it ends is a metric", async () => {
    const notAfter = Date.parse("2031-01-01T00:00:00Z");
    fleet.set(key, { ...(await secretRow(ours, third)), notAfter });
    const name = "sluice_proxy_certificate_expiry_timestamp_seconds";
    await t.waitFor(async () => {
      const text = await agent.kit.metrics.registry.getSingleMetricAsString(name);
      assert.match(text, new RegExp(` ${notAfter / 1000}$`, "m"));
    }, soon);
  });

  await t.test("keys lie in one file that nobody else may read", async () => {
    const body = third.key.split("\n")[1] ?? "";
    const { dir } = nginx.options;
    await t.waitFor(async () => {
      assert.ok((await readFile(join(dir, "secrets.jsonl"), "utf8")).includes(body));
    }, soon);
    assert.equal((await stat(join(dir, "secrets.jsonl"))).mode & 0o777, 0o600);
    assert.equal((await stat(dir)).mode & 0o077, 0);
    // While it is written anew, the next one lies beside it.
    await t.waitFor(async () => {
      const found: string[] = [];
      for (const each of await readdir(dir, { recursive: true, withFileTypes: true })) {
        if (!each.isFile()) continue;
        const path = join(each.parentPath, each.name);
        if (!(await readFile(path, "latin1")).includes(body)) continue;
        assert.equal((await stat(path)).mode & 0o777, 0o600, each.name);
        found.push(each.name);
      }
      assert.deepEqual(found, ["secrets.jsonl"]);
    }, soon);
    assert.ok(!JSON.stringify(agent.records).includes(body));
  });

  await t.test("nginx shows it after a restart, with nobody there", async () => {
    await agent.stop();
    await nginx.restart("SIGKILL");
    assert.equal((await shownTo(nginx, HOST)).serial, third.serial);
    assert.equal((await secureGet(nginx, "/")).status, 200);
    // An agent without bus and without key takes nothing of it away.
    agent = testAgent(nginx, null);
    await t.waitFor(() => assert.equal(agent.records.at(-1)?.source, "last-good"), soon);
    assert.equal((await shownTo(nginx, HOST)).serial, third.serial);
    await agent.stop();
  });

  await t.test(
    "a route that names one that is not there shows the default one, and the new one once it comes",
    async () => {
      agent = testAgent(nginx, server, undefined, { fleetKeys: [theirs.privateKey, ours.privateKey] });
      await t.waitFor(() => assert.equal(agent.records.at(-1)?.source, "bus"), soon);
      route(fleet, "later-tls");
      await t.waitFor(async () => assert.equal((await shownTo(nginx, HOST)).subject, DEFAULT), soon);
      const sealed = await seal(ours.publicKey, "default", "later-tls", { key: first.key });
      fleet.set(fleetKeys.secret("default", "later-tls"), {
        id: "later-tls",
        namespace: "shop",
        name: "later",
        chain: first.chain,
        sealed,
      });
      await shows(t, nginx, first.serial);
      fleet.remove(key);
      await t.waitFor(async () => {
        const { keys } = await nginx.client.keys(t.signal);
        assert.deepEqual(
          keys.filter(({ k }) => k === "secret"),
          [{ k: "secret", id: "later-tls" }],
        );
      }, soon);
    },
  );
});
