import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import { MemoryServer } from "@sluice/bus/testing";
import {
  type Configuration,
  type FleetSettings,
  fleetKeys,
  type ProfileRow,
  type RolloutReport,
  type RolloutRow,
} from "@sluice/contracts";
import { type TestAgent, testAgent, testFleet } from "./testing/agent-world.ts";
import { type TestNginx, testNginx, testPod } from "./testing/proxy-world.ts";
import { TrialFile } from "./trial-file.ts";

const soon = { timeout: 60_000, interval: 10 };
const BODY = "more than ten bytes";
/** A profile that this nginx is made to break with, see `brittle`. */
const BREAKS_MS = 77_000;

const profile = (hash: string, settings: ProfileRow["settings"] = { maxBodyBytes: 10 }): ProfileRow => ({
  hash,
  settings,
});
const configuration = (id: string, ...profiles: ProfileRow[]): Configuration => ({
  id: id.padEnd(16, "0"),
  profiles,
});
const order = (n: number, more: Partial<RolloutRow>): RolloutRow => ({
  n,
  order: `${n}.test`,
  proven: null,
  target: null,
  admitted: [],
  refused: [],
  atOnce: 1000,
  ...more,
});

/** nginx -t is content with that profile, and its workers come up; only who is sent there gets no answer. */
async function brittle(nginx: TestNginx): Promise<void> {
  const path = join(nginx.options.dir, "lua/sluice/settings.lua");
  const text = await readFile(path, "utf8");
  const planted = `local load = M.load
function M.load(path)
  load(path)
  for name, profile in pairs(M.profiles) do
    if profile.readSeconds == ${BREAKS_MS / 1000} then M.profiles[name] = nil end
  end
end

return M
`;
  assert.ok(text.endsWith("return M\n"));
  await writeFile(path, text.slice(0, -"return M\n".length) + planted);
}

async function world(t: TestContext, more: Parameters<typeof testNginx>[1] = {}) {
  const nginx = await testNginx(t, { workers: 1, ...more });
  await brittle(nginx);
  const server = new MemoryServer();
  const fleet = testFleet(t, server);
  const pod = await testPod(t, "127.25.41.1", "pod");
  fleet.upstream("web", { member1: [pod] });
  const give = (row: RolloutRow) => fleet.set(fleetKeys.rollout("default"), row);
  const post = async () => (await nginx.get("/", { method: "POST", body: BODY, fresh: true })).status;
  const reported = (agent: TestAgent, n: number) =>
    t.waitFor(() => {
      const report = agent.records.at(-1)?.rollout;
      assert.deepEqual([report?.order, report?.settings], [`${n}.test`, true]);
      const { settings: _, ...said } = report as RolloutReport;
      return said;
    }, soon);
  return { nginx, server, fleet, pod, give, post, reported };
}

suite("an order of rollout", { concurrency: 2 }, () => {
  test("a proxy runs what is proven, and what is tried only once it is let", async (t) => {
    const { nginx, server, fleet, give, post, reported } = await world(t);
    const small = profile("small");
    fleet.set(fleetKeys.profile("default", small.hash), small);
    fleet.route("shop.example.test", "web", small.hash);
    give(order(1, { target: configuration("a", small), admitted: ["another"] }));
    const agent = testAgent(nginx, server);
    assert.deepEqual(await reported(agent, 1), { order: "1.test", runs: "" });
    assert.equal(await post(), 404, "its route waits for the profile");
    give(order(2, { target: configuration("a", small), admitted: ["another", "proxy1"] }));
    assert.deepEqual(await reported(agent, 2), { order: "2.test", runs: configuration("a").id });
    await t.waitFor(async () => assert.equal(await post(), 413), soon);

    // A proxy that comes anew, or was away, goes to what is proven by itself.
    const large = profile("large", { maxBodyBytes: 1000 });
    give(order(3, { proven: configuration("b", small, large) }));
    assert.deepEqual(await reported(agent, 3), { order: "3.test", runs: configuration("b").id });
    const { reloads, takenBack, lastReload, recentReloads } = agent.records.at(-1)?.nginx ?? {};
    assert.deepEqual(
      [reloads, takenBack, lastReload?.ok, lastReload?.why],
      [2, undefined, true, "profiles: 1 new, 0 gone"],
    );
    assert.deepEqual(
      recentReloads?.map(({ why }) => why),
      ["profiles: 1 new, 0 gone", "profiles: 1 new (MultiClusterIngress shop/web), 0 gone"],
      "the newest first, with the object whose path waited for it",
    );
    // What nobody wants any more costs no reload.
    give(order(4, { proven: configuration("a", small) }));
    assert.deepEqual(await reported(agent, 4), { order: "4.test", runs: configuration("a").id });
    assert.equal(agent.records.at(-1)?.nginx.reloads, 2);
  });

  test("a configuration whose new location does not answer is taken back, named, and no request is lost", async (t) => {
    const { nginx, server, fleet, give, post, reported } = await world(t);
    const small = profile("small");
    const bad = profile("bad", { readTimeoutMs: BREAKS_MS });
    fleet.set(fleetKeys.profile("default", small.hash), small);
    fleet.route("shop.example.test", "web", small.hash);
    give(order(1, { proven: configuration("a", small) }));
    const agent = testAgent(nginx, server);
    await t.waitFor(async () => assert.equal(await post(), 413), soon);
    give(
      order(2, {
        proven: configuration("a", small),
        target: configuration("b", bad, small),
        admitted: ["proxy1"],
      }),
    );
    let told = false;
    const reporting = reported(agent, 2).finally(() => {
      told = true;
    });
    while (!told) {
      // One that is kept may be closed by a reload just as a request is sent, as with any nginx.
      assert.equal((await nginx.get("/", { fresh: true })).body, "pod");
    }
    const report = await reporting;
    assert.equal(report?.runs, configuration("a").id);
    assert.equal(report?.failed?.configuration, configuration("b").id);
    assert.equal(report?.failed?.profile, "bad");
    assert.match(report?.failed?.why ?? "", /through profile bad, was answered 503/);
    assert.equal(await post(), 413);
    // It is not tried again under the same order.
    fleet.route("other.example.test", "web");
    await t.waitFor(async () => {
      assert.equal((await nginx.get("/", { host: "other.example.test", fresh: true })).body, "pod");
    }, soon);
    const { reloads, takenBack, lastReload } = agent.records.at(-1)?.nginx ?? {};
    assert.deepEqual([reloads, takenBack, lastReload?.ok], [2, 1, false]);
    assert.match(lastReload?.why ?? "", /through profile bad, was answered 503/);
  });

  test("a setting that this version does not know fails the trial by name", async (t) => {
    const { nginx, server, give, reported } = await world(t);
    const strange = profile("strange", { snippet: "deny all;" });
    give(order(1, { target: configuration("a", strange), admitted: ["proxy1"] }));
    const agent = testAgent(nginx, server);
    const report = await reported(agent, 1);
    assert.deepEqual(report?.failed, {
      configuration: configuration("a").id,
      why: "setting snippet is unknown to this version",
      profile: "strange",
    });
    assert.equal(agent.records.at(-1)?.nginx.reloads, 0);
  });

  test("an agent that ended twice while it tried a configuration leaves it alone and says so", async (t) => {
    const { nginx, server, fleet, give, reported } = await world(t);
    const small = profile("small");
    fleet.set(fleetKeys.profile("default", small.hash), small);
    const target = configuration("a", small);
    give(order(1, { target, admitted: ["proxy1"] }));
    await new TrialFile(nginx.options.dir).save({ configuration: target.id, begun: 2 });
    const agent = testAgent(nginx, server);
    const report = await reported(agent, 1);
    assert.match(report?.failed?.why ?? "", /the agent ended 2 times while nginx was being brought to it/);
    assert.deepEqual([report?.runs, agent.records.at(-1)?.nginx.reloads], ["", 0]);
    await agent.stop();

    // Once may be chance: it tries again.
    await new TrialFile(nginx.options.dir).save({ configuration: target.id, begun: 1 });
    const next = testAgent(nginx, server);
    assert.deepEqual(await reported(next, 1), { order: "1.test", runs: target.id });
    assert.equal(await new TrialFile(nginx.options.dir).load(), null);
  });

  test("a proxy that ran what was refused later goes on until no route of its own needs it", async (t) => {
    const { nginx, server, fleet, give, post, reported } = await world(t);
    const small = profile("small");
    const other = profile("other", { maxBodyBytes: 12 });
    for (const each of [small, other]) fleet.set(fleetKeys.profile("default", each.hash), each);
    fleet.route("shop.example.test", "web", small.hash);
    give(order(1, { target: configuration("a", small), admitted: ["proxy1"] }));
    const agent = testAgent(nginx, server);
    await t.waitFor(async () => assert.equal(await post(), 413), soon);
    const refused = [{ hash: small.hash, proxy: "another", why: "it broke there" }];
    give(order(2, { proven: configuration("b", other), refused }));
    assert.deepEqual(await reported(agent, 2), { order: "2.test", runs: configuration("b").id });
    assert.equal(await post(), 413);
    fleet.route("shop.example.test", "web", other.hash);
    await t.waitFor(async () => {
      const conf = await readFile(join(nginx.options.dir, "nginx.conf"), "utf8");
      assert.deepEqual([conf.includes("@profile_small"), conf.includes("@profile_other")], [false, true]);
      assert.equal(await post(), 413);
    }, soon);
  });

  test("a proxy asks itself as its clients do, also where they come by PROXY protocol", async (t) => {
    const clients = { from: ["127.0.0.0/8"], proxyProtocol: true };
    const { nginx, server, give, reported } = await world(t, { clients });
    const small = profile("small");
    give(order(1, { target: configuration("a", small), admitted: ["proxy1"] }));
    const agent = testAgent(nginx, server);
    assert.deepEqual(await reported(agent, 1), { order: "1.test", runs: configuration("a").id });
  });

  test("settings of listeners are tried, proven and taken back like profiles, and what is not said of them stays", async (t) => {
    const { nginx, server, fleet, give, reported } = await world(t, { https: true });
    fleet.route("shop.example.test", "web");
    const settings = (id: string, given: FleetSettings) => ({ ...configuration(id), settings: given });
    const version = async () => (await nginx.get("/", { fresh: true })).headers.server;
    give(order(1, { target: settings("a", { versionTold: true }), admitted: ["another"] }));
    const agent = testAgent(nginx, server);
    assert.deepEqual(await reported(agent, 1), { order: "1.test", runs: "" });
    assert.equal(await version(), "nginx", "it was not let");
    give(order(2, { target: settings("a", { versionTold: true }), admitted: ["proxy1"] }));
    assert.deepEqual(await reported(agent, 2), { order: "2.test", runs: configuration("a").id });
    assert.match(String(await version()), /^nginx\/1/);
    const { httpsAddress, nginx: told } = agent.records.at(-1) ?? {};
    assert.equal(told?.lastReload?.why, "profiles: 0 new, 0 gone; settings: versionTold");
    assert.equal(httpsAddress, nginx.options.httpsAddress);

    // The certificate that is shown here is of the other kind: nobody could be greeted by TLS.
    const proven = settings("a", { versionTold: true });
    const bad = { versionTold: true, tlsProtocols: "TLSv1.2", tlsCiphers: "ECDHE-RSA-AES128-GCM-SHA256" };
    give(order(3, { proven, target: settings("b", bad), admitted: ["proxy1"] }));
    const report = await reported(agent, 3);
    assert.deepEqual([report.runs, report.failed?.configuration], [proven.id, configuration("b").id]);
    assert.match(report.failed?.why ?? "", /by TLS, was not answered/);
    assert.match(String(await version()), /^nginx\/1/);

    // One of another version, which this one cannot judge.
    const strange = { versionTold: true, snippet: "deny all;" };
    give(order(4, { proven, target: settings("c", strange), admitted: ["proxy1"] }));
    const { failed } = await reported(agent, 4);
    assert.deepEqual(
      [failed?.setting, failed?.why],
      ["snippet", "setting snippet is unknown to this version"],
    );

    // An earlier renderer says nothing of settings; that there are none is said by a new one.
    const { reloads } = agent.records.at(-1)?.nginx ?? {};
    give(order(5, { proven: configuration("d") }));
    assert.deepEqual(await reported(agent, 5), { order: "5.test", runs: configuration("d").id });
    assert.match(String(await version()), /^nginx\/1/);
    assert.equal(agent.records.at(-1)?.nginx.reloads, reloads);
    give(order(6, { proven: settings("e", {}) }));
    assert.deepEqual(await reported(agent, 6), { order: "6.test", runs: configuration("e").id });
    assert.equal(await version(), "nginx");
  });
});
