import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { connectBus } from "@sluice/bus";
import { configRenderer } from "@sluice/config-renderer";
import { fleetTable, type RolloutRow } from "@sluice/contracts";
import { connectCluster, type KubeClient, type KubeObject, resources } from "@sluice/kube";
import { startCluster } from "@sluice/kube-sandbox";
import { ensureTool, freePort, startNatsServer } from "@sluice/native-tools";
import { proxyAgent } from "@sluice/proxy-agent";
import { type AnyService, createKit, silentLogger } from "@sluice/service-kit";
import { type NginxStage, startNginxStage } from "../bench/nginx-stage.ts";
import { applyFile } from "./clusters.ts";

const PROXIES = ["proxy-1", "proxy-2", "proxy-3"];
/** A read timeout with which these nginxes are made to answer nobody, seconds. */
const UNANSWERED = 77;
/** A setting of listeners with which they answer nobody. */
const BREAKING_KEY = "hsts-max-age";

/** A fault of nginx that only shows with one setting, once it runs: nginx -t is content with it. */
const planted = (hurt: string) => `local load = M.load
function M.load(path)
  load(path)
  for name, profile in pairs(M.profiles) do
    if profile.readSeconds == ${UNANSWERED} or M.hsts and M.hsts:find("max-age=${UNANSWERED}", 1, true) then
      local file = assert(io.open("${hurt}", "a"))
      file:write("hurt\\n")
      file:close()
      M.profiles[name] = nil
    end
  end
end

return M
`;

interface Proxy {
  readonly name: string;
  readonly nginx: NginxStage;
  /** Written by an nginx that was made to run with what breaks it. */
  readonly hurt: string;
}

async function startProxy(name: string, folder: string, signal: AbortSignal): Promise<Proxy> {
  const hurt = join(folder, `${name}-hurt`);
  const nginx = await startNginxStage(
    signal,
    async (dir) => {
      const path = join(dir, "lua/sluice/settings.lua");
      const text = await readFile(path, "utf8");
      assert.ok(text.endsWith("return M\n"));
      await writeFile(path, text.slice(0, -"return M\n".length) + planted(hurt));
    },
    { workers: 1, rowsMegabytes: 8, secretsMegabytes: 8 },
  );
  return { name, nginx, hurt };
}

/** 404 while its route waits for a profile; 503 once it is there, because no peer is. */
function statusOf(proxy: Proxy, host: string): Promise<number> {
  const [address, port] = proxy.nginx.httpAddress.split(":");
  return new Promise((resolve, reject) => {
    const sent = request({ host: address, port: Number(port), headers: { host }, agent: false }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode ?? 0));
    });
    sent.on("error", reject);
    sent.end();
  });
}

function serverOf(proxy: Proxy): Promise<string> {
  const [address, port] = proxy.nginx.httpAddress.split(":");
  return new Promise((resolve, reject) => {
    const sent = request({ host: address, port: Number(port), agent: false }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(String(answer.headers.server)));
    });
    sent.on("error", reject);
    sent.end();
  });
}

async function configure(hub: KubeClient, data: Record<string, string>, signal: AbortSignal) {
  const metadata = { name: "config", namespace: "shop" };
  const object = { apiVersion: "v1", kind: "ConfigMap", metadata, data } as KubeObject;
  await hub.apply(object, { fieldManager: "test", force: true }, signal);
}

async function ask(hub: KubeClient, name: string, annotations: Record<string, string>, signal: AbortSignal) {
  const backend = { service: { name: "nobody", port: { number: 80 } } };
  const object: KubeObject = {
    apiVersion: "networking.karmada.io/v1alpha1",
    kind: "MultiClusterIngress",
    metadata: {
      name,
      namespace: "shop",
      annotations: Object.fromEntries(
        Object.entries(annotations).map(([key, value]) => [`nginx.ingress.kubernetes.io/${key}`, value]),
      ),
    },
    spec: {
      ingressClassName: "nginx",
      rules: [
        { host: `${name}.example.test`, http: { paths: [{ path: "/", pathType: "Prefix", backend }] } },
      ],
    },
  } as KubeObject;
  await hub.apply(object, { fieldManager: "test", force: true }, signal);
}

test("three proxies: a new set of sizes, or a setting of the ConfigMap, goes from one to all; one that nginx does not survive stops at the first and is told", {
  timeout: 240_000,
}, async (t) => {
  const within = (condition: () => Promise<void>) => t.waitFor(condition, { timeout: 90_000, interval: 50 });
  await using stack = new AsyncDisposableStack();
  const ending = new AbortController();
  const { signal } = ending;
  const folder = await mkdtemp(join(tmpdir(), "sluice-rollout-"));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const nats = stack.use(
    await startNatsServer({
      tool: await ensureTool("nats-server", { signal }),
      storeDir: join(folder, "nats"),
      port: await freePort(),
      signal,
    }),
  );
  const cluster = await startCluster({ name: "hub" });
  stack.defer(() => cluster.close());
  const kubeconfig = join(folder, "hub.kubeconfig");
  await writeFile(kubeconfig, JSON.stringify(cluster.kubeconfig()));
  const hub = await connectCluster({ name: "hub", kubeconfig: cluster.kubeconfig() });
  stack.defer(() => hub.close());
  for (const file of ["multicluster.x-k8s.io_serviceimports", "networking.karmada.io_multiclusteringresses"])
    await applyFile(hub, `deploy/crds/${file}.yaml`, signal);
  await hub.apply(
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop" } },
    { fieldManager: "test", force: true },
    signal,
  );
  const proxies: Proxy[] = [];
  for (const name of PROXIES) {
    const proxy = await startProxy(name, folder, signal);
    stack.use(proxy.nginx);
    proxies.push(proxy);
  }
  // From here on services run, which end before what they use.
  stack.defer(() => ending.abort(new Error("the test is over")));
  const run = async (service: AnyService, ...args: string[]) => {
    const common = ["--nats-url", nats.url, "--probe-port", "0"];
    const { done } = await service.start([...common, ...args], { signal, env: {}, log: silentLogger });
    stack.defer(async () => {
      ending.abort(new Error("the test is over"));
      await done;
    });
  };
  await configure(hub, {}, signal);
  await run(configRenderer, "--hub", kubeconfig, "--configmap", "shop/config");
  for (const { name, nginx } of proxies)
    await run(proxyAgent, "--proxy", name, "--nginx-dir", join(nginx.socketPath, ".."));
  const kit = createKit({ service: "test", signal });
  const bus = stack.use(await connectBus({ url: nats.url, name: "test", kit }));
  const orders: RolloutRow[] = [];
  const view = bus.view(fleetTable, {
    onChange: (key, value) => {
      if (key === "default.rollout" && value !== undefined) orders.push(value as RolloutRow);
    },
  });
  stack.defer(async () => {
    ending.abort(new Error("the test is over"));
    await view.done;
  });
  const served = (host: string) =>
    within(async () => {
      const found = await Promise.all(proxies.map((proxy) => statusOf(proxy, host)));
      assert.deepEqual(found, [503, 503, 503]);
    });
  const hurt = () => proxies.filter((proxy) => existsSync(proxy.hurt)).map(({ name }) => name);
  const eventOn = (name: string, reason: string, text = "") =>
    within(async () => {
      const { items } = await hub.list(resources.event, { namespace: "shop" }, signal);
      const said = items.map((item) => JSON.stringify(item));
      assert.ok(
        said.some((event) => [reason, `"name":"${name}"`, text].every((part) => event.includes(part))),
        said.join("\n"),
      );
    });

  await ask(hub, "small", { "proxy-body-size": "10" }, signal);
  await served("small.example.test");
  const steps = orders.filter(({ target }) => target !== null).map(({ admitted }) => admitted.length);
  assert.deepEqual([...new Set(steps)], [1, 2, 3]);

  // Somebody else asks at the same time for what is well.
  await ask(hub, "unanswered", { "proxy-read-timeout": String(UNANSWERED) }, signal);
  await ask(hub, "tiny", { "proxy-body-size": "5" }, signal);
  await served("tiny.example.test");
  await served("unanswered.example.test");
  await eventOn("unanswered", "ProfileRefused");
  assert.deepEqual(hurt(), ["proxy-1"], "one proxy at most is hurt");
  const refused = orders.at(-1)?.refused ?? [];
  assert.deepEqual(
    refused.map(({ proxy }) => proxy),
    ["proxy-1"],
  );
  assert.match(refused.map(({ why }) => why).join(), /was answered 503/);
  for (const { nginx } of proxies) {
    const conf = await readFile(join(nginx.socketPath, "../nginx.conf"), "utf8");
    const has = (text: string) => conf.includes(text);
    assert.deepEqual([has("client_max_body_size 10;"), has("client_max_body_size 5;")], [true, true]);
    assert.ok(!has(`${UNANSWERED}000ms`));
  }

  // Of two keys that are changed at once one does, and holds everywhere; the other is found, and hurts the same proxy.
  await configure(hub, { "server-tokens": "true", [BREAKING_KEY]: String(UNANSWERED) }, signal);
  await within(async () => {
    const found = await Promise.all(proxies.map(serverOf));
    assert.deepEqual(
      found.map((server) => server.startsWith("nginx/")),
      [true, true, true],
    );
  });
  await eventOn("config", "SettingRefused", `data[${BREAKING_KEY}]: proxy proxy-1 could not run with`);
  await within(async () => {
    const { target, proven, refusedSettings = [] } = orders.at(-1) as RolloutRow;
    const named = refusedSettings.map(({ setting, value }) => [setting, value]);
    assert.deepEqual([target, proven?.settings], [null, { versionTold: true }]);
    assert.deepEqual(named, [["hstsMaxAgeSeconds", UNANSWERED]]);
  });
  assert.deepEqual(hurt(), ["proxy-1"], "one proxy at most is hurt");
});
