import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { NAMESPACE, serviceName } from "./scale-plan.ts";

const MCS = "multicluster.x-k8s.io/v1alpha1";
const MCI = "networking.karmada.io/v1alpha1";
const MANAGED_FIELDS_BYTES = 400;

/**
 * A hub by script: lists one ServiceImport and one MultiClusterIngress for each service, in pages as a real API server
 * does, keeps watches open and takes Events. It stores nothing that it is given.
 */
export async function startScaleHub(
  services: number,
): Promise<AsyncDisposable & { readonly kubeconfig: object }> {
  // An API server's objects carry these; a reader has to parse them.
  const managedFields = [
    { manager: "bench", operation: "Apply", fieldsV1: { f: "x".repeat(MANAGED_FIELDS_BYTES) } },
  ];
  const metadata = (service: number) => ({
    name: serviceName(service),
    namespace: NAMESPACE,
    uid: `uid-${service}`,
    resourceVersion: String(service + 1),
    creationTimestamp: "2026-01-01T00:00:00Z",
    managedFields,
  });
  const lists: Readonly<Record<string, (service: number) => object>> = {
    serviceimports: (service) => ({
      apiVersion: MCS,
      kind: "ServiceImport",
      metadata: metadata(service),
      spec: { type: "ClusterSetIP", ports: [{ port: 80, protocol: "TCP" }] },
    }),
    multiclusteringresses: (service) => ({
      apiVersion: MCI,
      kind: "MultiClusterIngress",
      metadata: metadata(service),
      spec: {
        ingressClassName: "nginx",
        rules: [
          {
            host: hostOf(service),
            http: {
              paths: [
                {
                  path: "/",
                  pathType: "Prefix",
                  backend: { service: { name: serviceName(service), port: { number: 80 } } },
                },
              ],
            },
          },
        ],
      },
    }),
  };

  function answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "/", "http://hub");
    const plural = url.pathname.split("/").at(-1) ?? "";
    const json = (status: number, body: object) => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
    };
    if (request.method !== "GET") {
      request.resume();
      return json(201, { apiVersion: "v1", kind: "Status", metadata: {} });
    }
    if (url.searchParams.get("watch") !== null) {
      response.writeHead(200, { "content-type": "application/json" });
      response.flushHeaders();
      return;
    }
    const make = lists[plural];
    const items: object[] = [];
    const from = Number(url.searchParams.get("continue") ?? 0);
    const limit = Number(url.searchParams.get("limit") ?? 500);
    const end = make === undefined ? 0 : Math.min(services, from + limit);
    for (let service = from; service < end; service++) items.push(make?.(service) ?? {});
    const next = end < services && make !== undefined ? { continue: String(end) } : {};
    json(200, { kind: "List", apiVersion: "v1", metadata: { resourceVersion: "1000000", ...next }, items });
  }

  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" ? address?.port : 0;
  return {
    kubeconfig: {
      apiVersion: "v1",
      kind: "Config",
      "current-context": "hub",
      contexts: [{ name: "hub", context: { cluster: "hub", user: "" } }],
      clusters: [{ name: "hub", cluster: { server: `http://127.0.0.1:${port}` } }],
      users: [],
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

export function hostOf(service: number): string {
  return `${serviceName(service)}.example.test`;
}
