import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { ListenerSettings } from "@sluice/ingress";
import { proxyFlagSettings, readConfig } from "@sluice/service-kit";
import { accessLogPathOf } from "./access-log.ts";
import { proxyFlagsOf, withFlags } from "./proxy-flags.ts";
import { accessLogOf, clientTrustOf, requestIdsOf, shutdownOf } from "./proxy-settings.ts";
import { peersRow, routeRow, testNginx, testPod } from "./testing/proxy-world.ts";

const soon = { timeout: 60_000, interval: 20 };

const flags = (...args: string[]) => proxyFlagsOf(readConfig(proxyFlagSettings("SLUICE_UP"), args, {}));
const fleet: Partial<ListenerSettings> = {
  trusted: "10.0.0.0/8 192.0.2.0/24",
  forwardedHeaders: true,
  proxyProtocol: true,
  accessLog: false,
  requestIds: false,
  shutdownMs: 5000,
};

test("a flag of a proxy's own goes before what the fleet says, each by itself", () => {
  const trust = { from: ["10.0.0.0/8", "192.0.2.0/24"], forwardedHeaders: true };
  assert.deepEqual(clientTrustOf(flags(), fleet), {
    ...trust,
    proxyProtocol: true,
    proxyProtocolFirst: true,
  });
  assert.deepEqual(clientTrustOf(flags("--proxy-protocol", "off"), fleet), {
    ...trust,
    proxyProtocol: false,
  });
  assert.deepEqual(clientTrustOf(flags("--trust", "::1/128"), fleet)?.from, ["::1/128"]);
  assert.equal(shutdownOf(flags("--shutdown-timeout", "1s"), fleet), 1000);
  assert.equal(shutdownOf(flags(), fleet), 5000);
  assert.deepEqual(requestIdsOf(flags("--begin-traces", "on"), fleet), { generate: false, traces: true });
  assert.deepEqual(requestIdsOf(flags("--generate-request-id", "on"), fleet), { generate: true });
  const log = (given: Parameters<typeof accessLogOf>[0], accessLog?: boolean) =>
    accessLogOf(given, accessLog === undefined ? {} : { accessLog });
  assert.equal(log(flags()), undefined);
  assert.equal(log(flags(), true), "file");
  assert.equal(log(flags("--access-log", "stdout"), false), "stdout");
  assert.equal(log(flags("--access-log", "off"), true), undefined);
  const unsaid = { ...flags(), unsaidAccessLog: "stdout" as const };
  assert.deepEqual([log(unsaid), log(unsaid, true), log(unsaid, false)], ["stdout", "stdout", undefined]);
});

test("nobody is believed about a client because of a flag or a key that names nobody", () => {
  assert.equal(clientTrustOf(flags(), {}), undefined);
  assert.deepEqual(clientTrustOf(flags("--forwarded-headers", "on"), {})?.from, []);
  assert.deepEqual(clientTrustOf(flags(), { fullForwardedFor: true })?.from, []);
  assert.deepEqual(clientTrustOf(flags(), { forwardedHeaders: false })?.from, []);
  assert.deepEqual(clientTrustOf(flags(), { trusted: "", realIp: true })?.from, []);
  assert.deepEqual(clientTrustOf(flags(), { realIp: true })?.from, ["0.0.0.0/0"], "as ingress-nginx has it");
});

test("what an agent is not told by flags is as its nginx was prepared", () => {
  const prepared = { accessLog: "file", clients: { from: ["10.0.0.0/8"], realIp: true } } as const;
  assert.deepEqual(withFlags(prepared, flags()), { ...prepared, requestIds: {} });
  assert.deepEqual(withFlags(prepared, flags("--real-ip", "off", "--access-log", "stdout")), {
    accessLog: "stdout",
    clients: { from: ["10.0.0.0/8"], realIp: false },
    requestIds: {},
  });
});

test("the process brings its nginx to what its flags say, without a bus too", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const pod = await testPod(t, "127.25.72.1", "web");
  await nginx.apply(peersRow("web", "member1", pod), routeRow("shop.example.test", "web"));
  const { dir } = nginx.options;
  const args = [
    ...["--nats-url", "nats://127.0.0.1:1", "--nginx-dir", dir, "--probe-port", "0", "--log-level", "error"],
    ...["--access-log", "file", "--trust", "127.0.0.0/8", "--forwarded-headers", "on"],
    ...["--generate-request-id", "off", "--shutdown-timeout", "2s"],
  ];
  const main = fileURLToPath(new URL("main.ts", import.meta.url));
  const env = { ...process.env, SLUICE_PROXY_AGENT_BEGIN_TRACES: "on" };
  const agent = spawn(process.execPath, [main, ...args], { env, stdio: ["ignore", "ignore", "inherit"] });
  nginx.users.defer(async () => {
    if (agent.exitCode === null && agent.kill("SIGTERM")) await once(agent, "exit");
  });
  const headers = { "x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https" };
  await t.waitFor(async () => {
    assert.equal((await nginx.get("/", { fresh: true, headers })).status, 200);
    const { headers: told } = pod.last;
    assert.deepEqual([told["x-real-ip"], told["x-forwarded-proto"]], ["203.0.113.7", "https"]);
    assert.equal(told["x-request-id"], undefined);
    assert.match(String(told["traceparent"]), /^00-[0-9a-f]{32}-/);
  }, soon);
  await t.waitFor(async () => {
    const lines = (await readFile(accessLogPathOf(dir), "utf8")).split("\n").slice(0, -1);
    const logged = lines.map((line) => JSON.parse(line) as { host: string; remote_addr: string });
    // The agent's own requests, with which it tries what is new, are logged too.
    const ours = logged.filter(({ host }) => host === "shop.example.test");
    assert.deepEqual([...new Set(ours.map((line) => line.remote_addr))], ["203.0.113.7"]);
  }, soon);
  assert.match(await readFile(`${dir}/nginx.conf`, "utf8"), /^worker_shutdown_timeout 2000ms;$/m);
});
