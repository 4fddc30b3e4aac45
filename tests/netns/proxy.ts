import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryServer, memoryBus } from "@sluice/bus/testing";
import { fleetKeys, fleetTable } from "@sluice/contracts";
import { buildFleet } from "@sluice/ingress";
import { ensureTool } from "@sluice/native-tools";
import { prepareNginx, runProxyAgent } from "@sluice/proxy-agent";
import { agentPorts, startNginx } from "@sluice/proxy-agent/testing";
import { createKit } from "@sluice/service-kit";
import { type Member, PORT } from "./member.ts";

export const HOST = "shop.example.test";
const HTTP = "127.0.0.1:31590";
const NAMESPACE = "shop";

type Annotations = Readonly<Record<string, string>>;

/** What is asked of the service that both members export. */
export interface Asked {
  readonly onImport: Annotations;
  readonly onIngress: Annotations;
}

/** An nginx and its agent, on rows that the model makes of objects. */
export interface WatchedProxy extends AsyncDisposable {
  readonly url: string;
  /** Addresses that are out, `""` for all of a cluster, each with its cluster. */
  held(): Promise<readonly { readonly cluster: string; readonly peer: string }[]>;
  retries(): Promise<number>;
}

function rowsOf(members: readonly Member[], { onImport, onIngress }: Asked) {
  const ports = [{ port: 80 }];
  const backend = { service: { name: "echo", port: { number: 80 } } };
  const peersOf = (member: Member) => member.addresses.map((address) => ({ address, port: PORT }));
  return buildFleet(
    {
      ingresses: [
        {
          metadata: { namespace: NAMESPACE, name: "echo", annotations: onIngress },
          spec: {
            ingressClassName: "nginx",
            rules: [{ host: HOST, http: { paths: [{ path: "/", pathType: "Prefix", backend }] } }],
          },
        },
      ],
      imports: [{ metadata: { namespace: NAMESPACE, name: "echo", annotations: onImport }, spec: { ports } }],
      classes: [],
      peers: members.map((member) => ({
        namespace: NAMESPACE,
        service: "echo",
        cluster: member.name,
        ports: { "": peersOf(member) },
      })),
      exported: new Map([[`${NAMESPACE}/echo`, new Set([""])]]),
    },
    { fleet: "default", ingressClasses: ["nginx"], watchWithoutClass: false },
  );
}

export async function startProxy(
  members: readonly Member[],
  asked: Asked,
  signal: AbortSignal,
): Promise<WatchedProxy> {
  const stack = new AsyncDisposableStack();
  const end = new AbortController();
  const dir = await mkdtemp(join(tmpdir(), "sluice-ns-"));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const tool = await ensureTool("nginx", { signal });
  const options = { dir, tool, httpAddress: HTTP, workers: 2, firstByteTimeoutMs: 0, rowsMegabytes: 8 };
  stack.use(await startNginx(await prepareNginx(options), HTTP, signal));

  const server = new MemoryServer();
  const rendererKit = createKit({ service: "config-renderer", signal: end.signal });
  const writer = memoryBus({ role: "config-renderer", signal: end.signal, server, kit: rendererKit });
  const holder = writer.hold(fleetTable, { scope: "default", shard: "" }, { fresh: async () => {} });
  const { rows, verdicts } = rowsOf(members, asked);
  if (verdicts.length > 0) throw new Error(verdicts.map(({ message }) => message).join("; "));
  for (const { name: cluster } of members) {
    holder.set(fleetKeys.cluster("default", cluster), { cluster, state: "ok", allowed: ["10.77.0.0/16"] });
  }
  for (const [key, row] of rows) holder.set(key, row);

  const kit = createKit({ service: "proxy-agent", signal: end.signal });
  const reader = memoryBus({ role: "proxy-agent", signal: end.signal, server, kit });
  const ports = agentPorts(dir, kit, {
    fleet: (view) => reader.view(fleetTable, view),
    proxies: { set: () => {} },
    proxiesLive: () => 1,
  });
  const nginx = ports.nginx;
  const agent = runProxyAgent(
    ports,
    { fleet: "default", proxy: "proxy1", peers: new Map(), refused: [] },
    kit,
  );
  stack.defer(async () => {
    end.abort(new Error("stopping"));
    await Promise.all([agent, holder.done]);
    nginx[Symbol.dispose]();
  });
  return {
    url: `http://${HTTP}/`,
    held: async () => (await nginx.state(signal)).held ?? [],
    retries: async () => (await nginx.state(signal)).counters["retries"] ?? 0,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
