import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import { test } from "node:test";
import { connectCluster, type EndpointSlice, type KubeClient, resources } from "@sluice/kube";
import { eventually } from "./clusters.ts";
import { Stage } from "./stage.ts";

const SLICES = 10_000;
/** Pages of such a list behind the first one. */
const PAGES = 19;

interface SlowApi extends AsyncDisposable {
  readonly url: string;
  /** Pages behind a first one that were asked for. */
  asked: number;
  /** How many of these may be answered. */
  readonly may: { pages: number };
}

/** An API whose lists take as long as a test wants, page by page. */
async function slowLists(server: string): Promise<SlowApi> {
  const may = { pages: Number.POSITIVE_INFINITY };
  const proxy = createServer((incoming, outgoing) => {
    const isPage = incoming.url?.includes("endpointslices") === true && incoming.url.includes("continue=");
    if (isPage) api.asked++;
    const page = api.asked;
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
    const whenItMay = () => {
      if (outgoing.destroyed) return;
      if (!isPage || page <= may.pages) forward();
      else setTimeout(whenItMay, 5);
    };
    whenItMay();
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const address = proxy.address();
  const api = {
    url: `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}`,
    asked: 0,
    may,
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

test("while ten thousand slices are listed anew, a change of another is told of before the list is over", {
  timeout: 240_000,
}, async (t) => {
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

  const before = api.asked;
  api.may.pages = before;
  await stage.cluster("member1").setFault({ api: "gone" });
  await eventually("the list has begun", async () => api.asked > before);
  // Some pages of it come with each change; at the end it is still to be finished.
  const delays: number[] = [];
  for (let i = 2; i <= 6; i++) {
    api.may.pages += 3;
    await stage.endpoints("member1", [`10.1.0.${i}`]);
    const began = performance.now();
    await stage.hasPeers("member1", [`10.1.0.${i}`]);
    delays.push(performance.now() - began);
  }
  t.diagnostic(`changes beside a list: ${delays.map((ms) => ms.toFixed(0)).join(", ")} ms`);
  assert.ok(api.may.pages < before + PAGES);
  await eventually("all that may come has come", async () => api.asked === api.may.pages + 1);
  api.may.pages = Number.POSITIVE_INFINITY;
  await eventually("the list is over", async () => api.asked === before + PAGES);
  slow.close();
});
