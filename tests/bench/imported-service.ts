import { readFileSync } from "node:fs";
import { type Agent, request } from "node:http";
import type { CustomResourceDefinition, EndpointSlice, KubeClient, KubeObject } from "@sluice/kube";
import { parse } from "yaml";

export const NAMESPACE = "shop";

/** A service of one member that the hub imports and routes a host to, with one slice of one endpoint. */
export interface ImportedService {
  readonly name: string;
  readonly host: string;
  /** Where its peers listen. */
  readonly port: number;
}

function endpoints(address: string): EndpointSlice["endpoints"] {
  return [{ addresses: [address], conditions: { ready: true, serving: true, terminating: false } }];
}

function sliceName({ name }: ImportedService): string {
  return `${name}-bench`;
}

function applied(client: KubeClient, object: KubeObject, signal: AbortSignal): Promise<KubeObject> {
  return client.apply(object, { fieldManager: "bench", force: true }, signal);
}

/** What a cluster needs before services: the namespace, and in a member the kind ServiceExport. */
export async function prepareCluster(
  client: KubeClient,
  isMember: boolean,
  signal: AbortSignal,
): Promise<void> {
  const crd = new URL("../../deploy/crds/multicluster.x-k8s.io_serviceexports.yaml", import.meta.url);
  if (isMember) await applied(client, parse(readFileSync(crd, "utf8")) as CustomResourceDefinition, signal);
  await applied(client, { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } }, signal);
}

export async function installService(
  hub: KubeClient,
  member: KubeClient,
  service: ImportedService,
  address: string,
  signal: AbortSignal,
): Promise<void> {
  const { name, host, port } = service;
  const metadata = { name, namespace: NAMESPACE };
  const ports = [{ port: 80, protocol: "TCP", targetPort: port }];
  const slice: EndpointSlice = {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: sliceName(service),
      namespace: NAMESPACE,
      labels: { "kubernetes.io/service-name": name },
    },
    addressType: "IPv4",
    ports: [{ name: "", port, protocol: "TCP" }],
    endpoints: endpoints(address) ?? [],
  };
  await applied(
    member,
    { apiVersion: "v1", kind: "Service", metadata, spec: { ports } } as KubeObject,
    signal,
  );
  await applied(member, slice, signal);
  const mcs = "multicluster.x-k8s.io/v1alpha1";
  await applied(member, { apiVersion: mcs, kind: "ServiceExport", metadata }, signal);
  const spec = { type: "ClusterSetIP", ports: [{ port: 80, protocol: "TCP" }] };
  await applied(hub, { apiVersion: mcs, kind: "ServiceImport", metadata, spec } as KubeObject, signal);
  const backend = { service: { name, port: { number: 80 } } };
  const rules = [{ host, http: { paths: [{ path: "/", pathType: "Prefix", backend }] } }];
  await applied(
    hub,
    {
      apiVersion: "networking.karmada.io/v1alpha1",
      kind: "MultiClusterIngress",
      metadata,
      spec: { ingressClassName: "nginx", rules },
    } as KubeObject,
    signal,
  );
}

/** Moves the slice's endpoint. @returns when the API stored it, ms since 1970, by the sandbox's own word */
export function moveEndpoint(
  server: string,
  service: ImportedService,
  address: string,
  agent: Agent,
  signal: AbortSignal,
): Promise<number> {
  const path = `/apis/discovery.k8s.io/v1/namespaces/${NAMESPACE}/endpointslices/${sliceName(service)}`;
  const body = JSON.stringify({ endpoints: endpoints(address) });
  const headers = {
    "content-type": "application/merge-patch+json",
    "content-length": Buffer.byteLength(body),
  };
  return new Promise((resolve, reject) => {
    const sent = request(`${server}${path}`, { method: "PATCH", headers, agent, signal }, (response) => {
      response.resume();
      const storedAt = Number(response.headers["x-sandbox-stored-at"] ?? Number.NaN);
      if (response.statusCode === 200 && storedAt > 0) resolve(storedAt);
      else reject(new Error(`the API answered ${response.statusCode} to the change`));
    });
    sent.on("error", reject);
    sent.end(body);
  });
}
