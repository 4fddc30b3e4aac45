import { type IngressClass, type MultiClusterIngress, resources, type ServiceImport } from "@sluice/kube";
import type { SimCluster } from "./sim-cluster.ts";
import { NAMESPACE } from "./sim-member.ts";
import { SERVICES } from "./topology.ts";

export const HOST = "shop.example.test";

/** What people do in the hub: ServiceImports, and one MultiClusterIngress with paths to some of them. */
export class SimHub {
  readonly cluster: SimCluster;
  readonly #imports = new Set<string>();
  #paths: readonly string[] = [];

  constructor(cluster: SimCluster) {
    this.cluster = cluster;
    cluster.put<IngressClass>(resources.ingressClass, { metadata: { name: "nginx" } });
    for (const service of SERVICES) this.import(service, true);
    this.ingress(SERVICES);
  }

  import(service: string, there: boolean): void {
    if (this.#imports.has(service) === there) return;
    const ref = { name: service, namespace: NAMESPACE };
    if (there) {
      this.#imports.add(service);
      this.cluster.put<ServiceImport>(resources.serviceImport, {
        metadata: ref,
        spec: { type: "ClusterSetIP", ports: [{ name: "http", port: 80 }] },
      });
    } else {
      this.#imports.delete(service);
      this.cluster.remove(resources.serviceImport, ref);
    }
  }

  /** @param services that it has paths to; none: it is deleted */
  ingress(services: readonly string[]): void {
    this.#paths = services;
    const ref = { name: "shop", namespace: NAMESPACE };
    if (services.length === 0) {
      this.cluster.remove(resources.multiClusterIngress, ref);
      return;
    }
    const paths = services.map((service) => ({
      path: `/${service}`,
      pathType: "Prefix" as const,
      backend: { service: { name: service, port: { number: 80 } } },
    }));
    this.cluster.put<MultiClusterIngress>(resources.multiClusterIngress, {
      metadata: ref,
      spec: { ingressClassName: "nginx", rules: [{ host: HOST, http: { paths } }] },
    });
  }

  /** Requests may be sent to the peers of that service. */
  routes(service: string): boolean {
    return this.#paths.includes(service) && this.#imports.has(service);
  }

  /** The paths that every proxy should have, as text: `/web shop-web-http`, without an upstream where it answers 503. */
  wantedPaths(): string[] {
    return this.#paths.map((service) =>
      `/${service} ${this.#imports.has(service) ? `${NAMESPACE}-${service}-http` : ""}`.trim(),
    );
  }
}
