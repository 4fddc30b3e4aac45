import { profileOf } from "@sluice/ingress";
import { type IngressClass, type MultiClusterIngress, resources, type ServiceImport } from "@sluice/kube";
import { BREAKS_FROM } from "./nginx-plan.ts";
import type { SimCluster } from "./sim-cluster.ts";
import { NAMESPACE } from "./sim-member.ts";
import { SERVICES } from "./topology.ts";

export const HOST = "shop.example.test";
export const TUNED_HOST = "tuned.example.test";

/**
 * What people do in the hub: ServiceImports, one MultiClusterIngress with paths to some of them, and now and then one
 * whose requests need settings of their own.
 */
export class SimHub {
  readonly cluster: SimCluster;
  readonly #imports = new Set<string>();
  #paths: readonly string[] = [];
  /** Seconds; null: it is not there. */
  #tuned: number | null = null;

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

  /** @param seconds the read timeout that it asks for; null: it is deleted */
  tune(seconds: number | null): void {
    this.#tuned = seconds;
    const ref = { name: "tuned", namespace: NAMESPACE };
    if (seconds === null) {
      this.cluster.remove(resources.multiClusterIngress, ref);
      return;
    }
    const backend = { service: { name: "nobody", port: { number: 80 } } };
    const paths = [{ path: "/", pathType: "Prefix" as const, backend }];
    this.cluster.put<MultiClusterIngress>(resources.multiClusterIngress, {
      metadata: {
        ...ref,
        annotations: { "nginx.ingress.kubernetes.io/proxy-read-timeout": String(seconds) },
      },
      spec: { ingressClassName: "nginx", rules: [{ host: TUNED_HOST, http: { paths } }] },
    });
  }

  /** The profile that its requests should meet in every proxy; null: there are none. */
  wantedProfile(): string | null {
    if (this.#tuned === null) return null;
    if (this.#tuned >= BREAKS_FROM) return "default";
    return profileOf({ readTimeoutMs: this.#tuned * 1000 }).hash;
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
