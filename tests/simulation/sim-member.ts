import { type EndpointSlice, type Node, resources, type Service, type ServiceExport } from "@sluice/kube";
import type { SimCluster } from "./sim-cluster.ts";
import type { SliceName } from "./truth.ts";

export const NAMESPACE = "shop";

/** Hears what a slice is from now on, and whether anybody may be sent there. */
export type SliceTeller = (slice: SliceName, addresses: readonly string[], visible: boolean) => void;

interface Copy {
  exported: boolean;
  service: boolean;
  readonly slices: Map<string, string[]>;
}

/**
 * What people and controllers do in one member. Every endpoint gets an address that nobody has had before, and gets
 * another when its service is exported again: whoever sees an address knows when that was true.
 */
export class SimMember {
  readonly cluster: SimCluster;
  readonly #number: number;
  readonly #tellOf: SliceTeller;
  readonly #copies = new Map<string, Copy>();
  #joined = true;
  #addresses = 0;

  constructor(cluster: SimCluster, number: number, tell: SliceTeller) {
    this.cluster = cluster;
    this.#number = number;
    this.#tellOf = tell;
    cluster.put<Node>(resources.node, {
      metadata: { name: `${cluster.name}-node` },
      spec: { podCIDRs: [`10.${number}.0.0/16`] },
    });
  }

  get name(): string {
    return this.cluster.name;
  }

  copy(service: string): Copy {
    let copy = this.#copies.get(service);
    if (copy === undefined) {
      copy = { exported: false, service: false, slices: new Map() };
      this.#copies.set(service, copy);
    }
    return copy;
  }

  #fresh(): string {
    const n = ++this.#addresses;
    return `10.${this.#number}.${n >> 8}.${n & 255}`;
  }

  /** Says what its slices of a service are now; to be called when what that means has changed elsewhere. */
  tell(service: string): void {
    const { exported, service: there, slices } = this.copy(service);
    const seen = this.#joined && exported && there;
    for (const [slice, addresses] of slices) {
      this.#tellOf({ cluster: this.name, service, slice }, addresses, seen);
    }
  }

  /** A service with its export, and slices of so many endpoints. */
  offer(service: string, endpoints: readonly number[]): void {
    for (const [i, size] of endpoints.entries()) this.scale(service, `${service}-${i}`, size);
    this.serve(service, true);
    this.export(service, true);
  }

  /** Other endpoints, all of them: what happens at a rollout. */
  scale(service: string, slice: string, size: number): void {
    this.#write(
      service,
      slice,
      Array.from({ length: size }, () => this.#fresh()),
    );
  }

  /** One endpoint goes, another comes. */
  replaceOne(service: string, slice: string): void {
    const [, ...rest] = this.copy(service).slices.get(slice) ?? [];
    this.#write(service, slice, [...rest, this.#fresh()]);
  }

  #write(service: string, slice: string, addresses: string[]): void {
    this.copy(service).slices.set(slice, addresses);
    this.cluster.put<EndpointSlice>(resources.endpointSlice, {
      metadata: {
        name: slice,
        namespace: NAMESPACE,
        labels: {
          "kubernetes.io/service-name": service,
          "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        },
      },
      addressType: "IPv4",
      ports: [{ name: "http", port: 8080, protocol: "TCP" }],
      endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true } })),
    });
    this.tell(service);
  }

  /** A slice that only a broken controller would write: it must harm nobody else. */
  plantNonsense(service: string): void {
    this.cluster.put<EndpointSlice>(resources.endpointSlice, {
      metadata: {
        name: `${service}-nonsense`,
        namespace: NAMESPACE,
        labels: { "kubernetes.io/service-name": service },
      },
      addressType: "IPv4",
      ports: [
        { name: "http", protocol: "TCP" },
        { name: "other", port: 99_999 },
      ],
      endpoints: [{ addresses: ["no.address"] }, { addresses: ["169.254.169.254"] }, { addresses: [] }],
    });
  }

  removeSlice(service: string, slice: string): void {
    const { slices } = this.copy(service);
    if (!slices.has(slice)) return;
    slices.set(slice, []);
    this.tell(service);
    slices.delete(slice);
    this.cluster.remove(resources.endpointSlice, { namespace: NAMESPACE, name: slice });
  }

  serve(service: string, there: boolean): void {
    const copy = this.copy(service);
    if (copy.service === there) return;
    if (there) this.#renew(service);
    copy.service = there;
    const ref = { namespace: NAMESPACE, name: service };
    if (there) {
      this.cluster.put<Service>(resources.service, {
        metadata: ref,
        spec: { type: "ClusterIP", ports: [{ name: "http", port: 80, protocol: "TCP" }] },
      });
    } else this.cluster.remove(resources.service, ref);
    this.tell(service);
  }

  export(service: string, exported: boolean): void {
    const copy = this.copy(service);
    if (copy.exported === exported) return;
    if (exported) this.#renew(service);
    copy.exported = exported;
    const ref = { namespace: NAMESPACE, name: service };
    if (exported) this.cluster.put<ServiceExport>(resources.serviceExport, { metadata: ref });
    else this.cluster.remove(resources.serviceExport, ref);
    this.tell(service);
  }

  /** Somebody's order that the whole member is gone stands, or stands no longer. */
  join(joined: boolean): void {
    if (this.#joined === joined) return;
    if (joined) for (const service of this.#copies.keys()) this.#renew(service);
    this.#joined = joined;
    for (const service of this.#copies.keys()) this.tell(service);
  }

  get joined(): boolean {
    return this.#joined;
  }

  /** What was hidden comes back with other addresses. */
  #renew(service: string): void {
    for (const [slice, { length }] of this.copy(service).slices) this.scale(service, slice, length);
  }
}
