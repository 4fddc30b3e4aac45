import type { FleetPublicKey } from "@sluice/sealing";

/** A ConfigMap of the hub. */
export interface ConfigName {
  readonly namespace: string;
  readonly name: string;
}

export interface ConfigRendererOptions {
  /** Name of the fleet whose rows this renderer writes. */
  readonly fleet: string;
  /** Classes of MultiClusterIngress that the fleet serves. */
  readonly ingressClasses: readonly string[];
  readonly watchWithoutClass: boolean;
  /** A ServiceImport that takes what no rule takes; null: such requests are answered 404. */
  readonly defaultBackend?: { readonly namespace: string; readonly name: string } | null;
  /** A ConfigMap with ingress-nginx's options, for all objects; null: none is read. */
  readonly configMap?: ConfigName | null;
  /** What proxies alone may read is sealed for it; null: the fleet serves no certificates, and nobody comes in by a password. */
  readonly fleetKey?: FleetPublicKey | null;
  /** A Secret whose certificate is shown where no other is to be; null: the proxies' own. */
  readonly defaultCertificate?: { readonly namespace: string; readonly name: string } | null;
  /** Clusters that are near the fleet, by rank, lowest first: imports may ask for them to go first. */
  readonly locality?: ReadonlyMap<string, number> | null;
  /** IP addresses or host names for `status.loadBalancer` of the MCIs; none: that status is not written. */
  readonly publishAddresses: readonly string[];
  /** CIDRs that a person allowed, by cluster. */
  readonly peers: Readonly<Record<string, readonly string[]>>;
}
