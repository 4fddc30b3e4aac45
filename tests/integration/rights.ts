// Which rights a process has used at an API server, and which ones manifests grant it.

import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, request, type Server } from "node:http";
import { connectCluster, type KubeClient } from "@sluice/kube";
import type { SandboxCluster } from "@sluice/kube-sandbox";
import { parseAllDocuments } from "yaml";

/** `<verb> <resource>[.<group>][/<subresource>]`, as `kubectl auth can-i` writes them. */
export type Right = string;

const PATH =
  /^\/(?:api\/v1|apis\/(?<group>[^/]+)\/[^/]+)(?:\/namespaces\/[^/]+(?=\/))?\/(?<plural>[^/]+)(?:\/(?<name>[^/]+)(?:\/(?<sub>[^/]+))?)?$/;

/** What a request asks for, as Kubernetes' authorizer sees it; null: what everybody may ask, e.g. which kinds there are. */
export function rightOf(method: string, url: string): Right | null {
  const { pathname, searchParams } = new URL(url, "http://api");
  const found = PATH.exec(pathname)?.groups;
  if (found === undefined) return null;
  const { group, plural, name, sub } = found;
  const what = `${plural}${group === undefined ? "" : `.${group}`}${sub === undefined ? "" : `/${sub}`}`;
  const verb = verbOf(method, name !== undefined, searchParams.get("watch") !== null);
  return `${verb} ${what}`;
}

function verbOf(method: string, named: boolean, watched: boolean): string {
  switch (method) {
    case "GET":
      return named ? "get" : watched ? "watch" : "list";
    case "POST":
      return "create";
    case "PUT":
      return "update";
    case "PATCH":
      return "patch";
    default:
      return named ? "delete" : "deletecollection";
  }
}

/** Stands before an API server and writes down what is asked there. */
export class Overheard {
  readonly client: KubeClient;
  readonly asked = new Set<Right>();
  readonly #server: Server;

  private constructor(client: KubeClient, server: Server) {
    this.client = client;
    this.#server = server;
  }

  /** @param ignored requests that may be refused: whoever makes them takes that for an answer */
  static async before(cluster: SandboxCluster, ignored: (url: string) => boolean = () => false) {
    let self: Overheard | undefined;
    const server = createServer((incoming, outgoing) => {
      const { method = "GET", url = "/", headers } = incoming;
      const right = rightOf(method, url);
      const forwarded = request(new URL(url, cluster.url), { method, headers }, (answer) => {
        if (right !== null && !ignored(url)) self?.note(right, answer);
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        outgoing.flushHeaders();
        answer.pipe(outgoing);
      });
      forwarded.on("error", () => outgoing.destroy());
      outgoing.on("close", () => forwarded.destroy());
      incoming.pipe(forwarded);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    const kubeconfig = JSON.parse(
      JSON.stringify(cluster.kubeconfig()).replaceAll(cluster.url, `http://127.0.0.1:${address.port}`),
    ) as object;
    self = new Overheard(await connectCluster({ name: cluster.name, kubeconfig }), server);
    return self;
  }

  note(right: Right, { statusCode }: IncomingMessage): void {
    this.asked.add(right);
    // An apply that makes an object needs the right to make one, besides.
    if (right.startsWith("patch ") && statusCode === 201) this.asked.add(right.replace("patch ", "create "));
  }

  async close(): Promise<void> {
    this.client.close();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[];
}

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly rules?: readonly Rule[];
  readonly aggregationRule?: {
    readonly clusterRoleSelectors: readonly { readonly matchLabels: Readonly<Record<string, string>> }[];
  };
  readonly roleRef?: { readonly name: string };
  readonly subjects?: readonly { readonly kind: string; readonly name: string }[];
}

/** What the service accounts of a file of manifests may do. */
export function granted(file: string): Set<Right> {
  const objects = parseAllDocuments(readFileSync(file, "utf8")).map((each) => each.toJS() as Manifest);
  const accounts = new Set(objects.filter(({ kind }) => kind === "ServiceAccount").map(nameOf));
  const bound = objects
    .filter(({ kind }) => kind === "ClusterRoleBinding")
    .filter(({ subjects = [] }) => subjects.some(({ name }) => accounts.has(name)))
    .map(({ roleRef }) => roleRef?.name);
  const roles = objects.filter(({ kind }) => kind === "ClusterRole");
  const rights = new Set<Right>();
  for (const role of roles.filter((each) => bound.includes(nameOf(each)))) {
    const selectors = role.aggregationRule?.clusterRoleSelectors ?? [];
    const aggregated = roles.filter(({ metadata: { labels = {} } }) =>
      selectors.some(({ matchLabels }) =>
        Object.entries(matchLabels).every(([key, value]) => labels[key] === value),
      ),
    );
    for (const { rules = [] } of [role, ...aggregated])
      for (const right of expanded(rules)) rights.add(right);
  }
  return rights;
}

const nameOf = ({ metadata }: Manifest) => metadata.name;

function expanded(rules: readonly Rule[]): Right[] {
  return rules.flatMap(({ apiGroups, resources, verbs }) =>
    apiGroups.flatMap((group) =>
      resources.flatMap((resource) => {
        const [plural, sub] = resource.split("/");
        const what = `${plural}${group === "" ? "" : `.${group}`}${sub === undefined ? "" : `/${sub}`}`;
        return verbs.map((verb) => `${verb} ${what}`);
      }),
    ),
  );
}

/** What rules have too few and too many, for people; empty: they fit. */
export function misfits(asked: ReadonlySet<Right>, rules: ReadonlySet<Right>): string[] {
  return [
    ...[...asked.difference(rules)].sort().map((right) => `asked for and not granted: ${right}`),
    ...[...rules.difference(asked)].sort().map((right) => `granted and never asked for: ${right}`),
  ];
}
