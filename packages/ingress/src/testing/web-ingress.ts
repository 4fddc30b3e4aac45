import type { MultiClusterIngress } from "../objects.ts";

export interface WebIngress {
  readonly name?: string;
  readonly hosts: readonly string[];
  /** Entries of spec.tls; absent: there is no such field. */
  readonly tls?: readonly object[] | undefined;
  readonly path?: string;
  /** Without `nginx.ingress.kubernetes.io/`. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** In which it was made. */
  readonly year?: number;
}

/** An object in namespace shop whose hosts lead to the import web. */
export function webIngress({
  name = "web",
  hosts,
  tls,
  path = "/",
  annotations = {},
  year = 2026,
}: WebIngress): MultiClusterIngress {
  const backend = { service: { name: "web", port: { number: 80 } } };
  return {
    metadata: {
      name,
      namespace: "shop",
      creationTimestamp: `${year}-01-01T00:00:00Z`,
      annotations: Object.fromEntries(
        Object.entries(annotations).map(([key, value]) => [`nginx.ingress.kubernetes.io/${key}`, value]),
      ),
    },
    spec: {
      ingressClassName: "nginx",
      ...(tls === undefined ? {} : { tls }),
      rules: hosts.map((host) => ({ host, http: { paths: [{ path, pathType: "Prefix", backend }] } })),
    },
  };
}
