import type { World } from "@sluice/ingress";

interface Served {
  readonly address: string;
  readonly port: number;
}

/** Services of namespace shop by name, each imported with port 80 from member1, where these peers serve it. */
export function importedFrom(
  services: Readonly<Record<string, readonly Served[]>>,
): Pick<World, "imports" | "classes" | "peers" | "exported"> {
  const names = Object.keys(services);
  return {
    imports: names.map((name) => ({
      metadata: { namespace: "shop", name },
      spec: { ports: [{ port: 80 }] },
    })),
    classes: [],
    peers: Object.entries(services).map(([service, peers]) => ({
      namespace: "shop",
      service,
      cluster: "member1",
      ports: { "": peers.map(({ address, port }) => ({ address, port })) },
    })),
    exported: new Map(names.map((name) => [`shop/${name}`, new Set([""])])),
  };
}
