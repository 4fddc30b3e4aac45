import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import { test } from "node:test";
import { connectCluster, type EndpointSlice, type KubeClient, resources } from "@sluice/kube";
import { eventually } from "./clusters.ts";
import { Stage } from "./stage.ts";

const SLICES = 500;

/** An API before a member's that can hold back all pages of slices but the first of each list. */
class HeldLists implements AsyncDisposable {
  /** Pages that were held back. */
  held = 0;
  #going: (() => void)[] | null = null;
  readonly #target: string;
  readonly #proxy = createServer((incoming, outgoing) => {
    const forward = () => {
      const { method, headers } = incoming;
      const sent = request(`${this.#target}${incoming.url}`, { method, headers }, (answer) => {
        outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(outgoing);
      });
      sent.on("error", () => outgoing.destroy());
      outgoing.on("close", () => sent.destroy());
      incoming.pipe(sent);
    };
    const isPage = incoming.url?.includes("endpointslices") === true && incoming.url.includes("continue=");
    if (!isPage || this.#going === null) return forward();
    this.held += 1;
    this.#going.push(forward);
  });

  private constructor(target: string) {
    this.#target = target;
  }

  static async before(target: string): Promise<HeldLists> {
    const api = new HeldLists(target);
    await new Promise<void>((resolve) => api.#proxy.listen(0, "127.0.0.1", resolve));
    return api;
  }

  client(name: string): Promise<KubeClient> {
    const address = this.#proxy.address();
    const server = `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}`;
    const kubeconfig = {
      "current-context": "c",
      contexts: [{ name: "c", context: { cluster: "c" } }],
      clusters: [{ name: "c", cluster: { server } }],
    };
    return connectCluster({ name, kubeconfig });
  }

  hold(): void {
    this.#going = [];
  }

  release(): void {
    for (const forward of this.#going ?? []) forward();
    this.#going = null;
  }

  async [Symbol.asyncDispose]() {
    this.#proxy.closeAllConnections();
    await new Promise<void>((resolve) => this.#proxy.close(() => resolve()));
  }
}

async function createCrowd(client: KubeClient, signal: AbortSignal): Promise<void> {
  let next = 0;
  const work = async () => {
    for (let n = next++; n < SLICES; n = next++) {
      const slice: EndpointSlice = {
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: {
          name: `crowd-${n}`,
          namespace: "shop",
          labels: { "kubernetes.io/service-name": "crowd" },
        },
        addressType: "IPv4",
        ports: [{ name: "", port: 8080, protocol: "TCP" }],
        endpoints: [
          { addresses: [`10.1.${1 + Math.floor(n / 250)}.${(n % 250) + 1}`], conditions: { ready: true } },
        ],
      };
      await client.create(resources.endpointSlice, slice, signal);
    }
  };
  await Promise.all(Array.from({ length: 8 }, work));
}

test("while a long list of slices is on its way, changes of its cluster and of others are told of, and nothing goes", {
  timeout: 180_000,
}, async () => {
  await using stage = await Stage.start(["member1", "member2"]);
  const { signal } = stage;
  const direct = stage.client("member1");
  await using api = await HeldLists.before(direct.server);
  await stage.exportCart("member1");
  await stage.exportCart("member2");
  await createCrowd(direct, signal);
  await stage.service("member1", "crowd");
  await stage.export("member1", "crowd");
  const slow = await api.client("member1");
  stage.watcher("member1", slow);
  stage.watcher("member2");
  stage.aggregator();
  await stage.hasPeers("member1", ["10.1.0.1"]);
  await stage.hasPeers("member2", ["10.2.0.1"]);
  const crowded = () => stage.peers("member1", "crowd")?.length ?? 0;
  await eventually("the crowd's peers", async () => crowded() === SLICES);

  api.hold();
  await stage.cluster("member1").setFault({ api: "gone" });
  await eventually("the second page to be asked for", async () => api.held > 0);
  for (let i = 2; i <= 4; i++) {
    // The list ends with a page that does not come.
    await stage.endpoints("member1", [`10.1.0.${i}`]);
    await stage.hasPeers("member1", [`10.1.0.${i}`]);
    await stage.endpoints("member2", [`10.2.0.${i}`]);
    await stage.hasPeers("member2", [`10.2.0.${i}`]);
  }
  const gone = { namespace: "shop", name: "crowd-7" };
  await direct.delete(resources.endpointSlice, gone, {}, signal);
  await eventually("one peer less", async () => crowded() === SLICES - 1);
  assert.deepEqual(stage.peers("member1"), ["10.1.0.4"]);

  api.release();
  await stage.cluster("member1").setFault({ api: "gone" });
  await stage.endpoints("member1", ["10.1.0.9"]);
  await stage.hasPeers("member1", ["10.1.0.9"]);
  assert.equal(crowded(), SLICES - 1);
  slow.close();
});
