import type { TestContext } from "node:test";
import { type SandboxCluster, startCluster } from "./cluster.ts";
import type { JsonObject } from "./json.ts";

export interface Answer {
  code: number;
  body: JsonObject;
  headers: Headers;
}

export interface Trial {
  cluster: SandboxCluster;
  /** `path` without the host; `type` is the content type, JSON when absent. */
  call(method: string, path: string, body?: unknown, type?: string): Promise<Answer>;
  apply(path: string, manager: string, body: unknown, force?: boolean): Promise<Answer>;
  /** Opens a watch; `next` resolves with the next event, or undefined when the watch has ended. */
  watch(path: string): Promise<{ next(): Promise<JsonObject | undefined>; close(): void }>;
}

/** A cluster for one test, closed after it, and the few calls that tests of it make. */
export async function startTrial(t: TestContext): Promise<Trial> {
  const cluster = await startCluster({ name: "trial" });
  t.after(() => cluster.close());

  async function call(
    method: string,
    path: string,
    body?: unknown,
    type = "application/json",
  ): Promise<Answer> {
    const response = await fetch(cluster.url + path, {
      method,
      headers: { "content-type": type, "user-agent": "trial/1" },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    return { code: response.status, body: (await response.json()) as JsonObject, headers: response.headers };
  }

  return {
    cluster,
    call,
    apply: (path, manager, body, force = false) =>
      call("PATCH", `${path}?fieldManager=${manager}&force=${force}`, body, "application/apply-patch+yaml"),
    async watch(path) {
      const stop = new AbortController();
      t.after(() => stop.abort());
      const response = await fetch(cluster.url + path, { signal: stop.signal });
      if (response.body === null) throw new Error("a watch without a body");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      return {
        close: () => stop.abort(),
        async next() {
          for (;;) {
            const end = text.indexOf("\n");
            if (end >= 0) {
              const line = text.slice(0, end);
              text = text.slice(end + 1);
              return JSON.parse(line) as JsonObject;
            }
            const { value, done } = await reader.read();
            if (done) return undefined;
            text += value;
          }
        },
      };
    },
  };
}

export const CORE = "/api/v1/namespaces/default";
export const DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments";
export const SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

export function service(name: string, port = 80): JsonObject {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, labels: { app: name } },
    spec: { selector: { app: name }, ports: [{ name: "http", port }] },
  };
}

export function deployment(name: string, replicas?: number, image = "echo:1"): JsonObject {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name },
    spec: {
      ...(replicas === undefined ? {} : { replicas }),
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { containers: [{ name: "main", image, ports: [{ containerPort: 8080 }] }] },
      },
    },
  };
}

export function slice(name: string, address: string, ready = true): JsonObject {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name, labels: { "kubernetes.io/service-name": "echo" } },
    addressType: "IPv4",
    endpoints: [{ addresses: [address], conditions: { ready } }],
    ports: [{ name: "http", port: 8080 }],
  };
}

/** A CustomResourceDefinition with defaults, an enum, an int-or-string, list keys, and status and scale. */
export const gadgetDefinition: JsonObject = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "gadgets.example.test" },
  spec: {
    group: "example.test",
    scope: "Namespaced",
    names: { plural: "gadgets", kind: "Gadget", shortNames: ["gd"], categories: ["all"] },
    versions: [
      {
        name: "v1beta1",
        served: true,
        storage: false,
        schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
      },
      {
        name: "v1",
        served: true,
        storage: true,
        subresources: {
          status: {},
          scale: { specReplicasPath: ".spec.replicas", statusReplicasPath: ".status.replicas" },
        },
        additionalPrinterColumns: [
          { name: "Size", type: "string", jsonPath: ".spec.size" },
          { name: "Ready", type: "string", jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
        ],
        schema: {
          openAPIV3Schema: {
            type: "object",
            required: ["spec"],
            properties: {
              spec: {
                type: "object",
                required: ["size"],
                properties: {
                  size: { type: "string", enum: ["small", "large"] },
                  color: { type: "string", default: "grey" },
                  replicas: { type: "integer", minimum: 0 },
                  limit: { "x-kubernetes-int-or-string": true },
                  parts: {
                    type: "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    items: {
                      type: "object",
                      required: ["name"],
                      properties: { name: { type: "string" }, weight: { type: "integer" } },
                    },
                  },
                },
              },
              status: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
            },
          },
        },
      },
    ],
  },
};

export const DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
export const GADGETS = "/apis/example.test/v1/namespaces/default/gadgets";

export function gadget(name: string, spec: JsonObject): JsonObject {
  return { apiVersion: "example.test/v1", kind: "Gadget", metadata: { name }, spec };
}
