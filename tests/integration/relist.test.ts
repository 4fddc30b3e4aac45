import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import { test } from "node:test";
import { connectCluster, type EndpointSlice, type KubeClient, resources } from "@sluice/kube";
import { Stage } from "./stage.ts";

const SLICES = 10_000;
/** Each page but the first: twenty pages make a list that takes much longer than a change may. */
const PAGE_DELAY_MS = 250;
const LIST_MS = 19 * PAGE_DELAY_MS;

/** An API whose lists take their time, page by page. */
async function slowLists(server: string): Promise<AsyncDisposable & { readonly url: string; pages: number }> {
  const proxy = createServer((incoming, outgoing) => {
    const isPage = incoming.url?.includes("endpointslices") === true && incoming.url.includes("continue=");
    if (isPage) api.pages++;
    const forward = () => {
      const { method, headers } = incoming;
      const sent = request(`${server}${incoming.url}`, { method, headers }, (answer) => {
        outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(outgoing);
      });
      sent.on("error", () => outgoing.destroy());
      outgoing.on("close", () => sent.destroy());
      incoming.pipe(sent);
    };
    if (isPage) setTimeout(forward, PAGE_DELAY_MS);
    else forward();
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const address = proxy.address();
  const api = {
    url: `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}`,
    pages: 0,
    async [Symbol.asyncDispose]() {
      proxy.closeAllConnections();
      await new Promise<void>((resolve) => proxy.close(() => resolve()));
    },
  };
  return api;
}

function slice(name: string, service: string, address: string): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name, namespace: "shop", labels: { "kubernetes.io/service-name": service } },
    addressType: "IPv4",
    ports: [{ name: "", port: 8080, protocol: "TCP" }],
    endpoints: [{ addresses: [address], conditions: { ready: true } }],
  };
}

async function createCrowd(client: KubeClient, signal: AbortSignal): Promise<void> {
  let next = 0;
  const work = async () => {
    for (let n = next++; n < SLICES; n = next++) {
      const address = `10.1.${Math.floor(n / 250)}.${(n % 250) + 1}`;
      await client.create(resources.endpointSlice, slice(`crowd-${n}`, `crowd-${n % 100}`, address), signal);
    }
  };
  await Promise.all(Array.from({ length: 8 }, work));
}

test("while ten thousand slices are listed anew, a change of another is told of long before the list is over", {
  timeout: 180_000,
}, async () => {
  await using stage = await Stage.start(["member1"]);
  const { signal } = stage;
  const direct = stage.client("member1");
  await using api = await slowLists(direct.server);
  await stage.exportCart("member1");
  await createCrowd(direct, signal);
  const kubeconfig = {
    "current-context": "c",
    contexts: [{ name: "c", context: { cluster: "c" } }],
    clusters: [{ name: "c", cluster: { server: api.url } }],
  };
  const slow = await connectCluster({ name: "member1", kubeconfig });
  stage.watcher("member1", slow);
  stage.aggregator();
  await stage.hasPeers("member1", ["10.1.0.1"]);

  const pagesBefore = api.pages;
  await stage.cluster("member1").setFault({ api: "gone" });
  // The list has begun, and most of it is still to come.
  while (api.pages === pagesBefore) await new Promise((resolve) => setTimeout(resolve, 5));
  const delays: number[] = [];
  for (let i = 2; i <= 6; i++) {
    await stage.endpoints("member1", [`10.1.0.${i}`]);
    const began = performance.now();
    await stage.hasPeers("member1", [`10.1.0.${i}`]);
    delays.push(performance.now() - began);
  }
  const pages = api.pages - pagesBefore;
  const shown = `${delays.map((ms) => ms.toFixed(0)).join(", ")} ms, ${pages} pages were asked for by then`;
  assert.ok(Math.max(...delays) < LIST_MS / 2, shown);
  assert.ok(pages < 19, `the list was over: ${shown}`);
  slow.close();
});
