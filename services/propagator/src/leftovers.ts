import { KubeStatusError } from "@sluice/contracts";
import { type KubeClient, type ResourceType, resourcePath } from "@sluice/kube";

interface ResourceList {
  readonly resources?: readonly {
    readonly name: string;
    readonly kind: string;
    readonly namespaced: boolean;
    readonly verbs: readonly string[];
  }[];
}

interface GroupList {
  readonly groups?: readonly { readonly preferredVersion?: { readonly groupVersion?: string } }[];
}

/**
 * The kinds of which the cluster has objects with this label. Asks for one object of every kind that can be listed
 * and deleted: some dozens of small requests, one after the other.
 */
export async function findLeftovers(
  client: KubeClient,
  labelSelector: string,
  signal: AbortSignal,
): Promise<ResourceType[]> {
  const groups = await read<GroupList>(client, "/apis", signal);
  const versions = ["v1"];
  for (const group of groups.groups ?? []) {
    const version = group.preferredVersion?.groupVersion;
    if (version !== undefined) versions.push(version);
  }
  const found: ResourceType[] = [];
  for (const groupVersion of versions) {
    const slash = groupVersion.indexOf("/");
    const group = slash === -1 ? "" : groupVersion.slice(0, slash);
    const version = groupVersion.slice(slash + 1);
    const list = await read<ResourceList>(
      client,
      slash === -1 ? `/api/${groupVersion}` : `/apis/${groupVersion}`,
      signal,
    );
    for (const { name, kind, namespaced, verbs } of list.resources ?? []) {
      if (name.includes("/") || !verbs.includes("list") || !verbs.includes("delete")) continue;
      const type = { group, version, kind, plural: name, namespaced };
      const query = new URLSearchParams({ labelSelector, limit: "1" });
      const objects = await read<{ items?: readonly unknown[] | null }>(
        client,
        `${resourcePath(type)}?${query}`,
        signal,
      );
      if ((objects.items ?? []).length > 0) found.push(type);
    }
  }
  return found;
}

/** An answer 403, 404 or 405 is an empty one: a kind that went away, or that we may not see. */
async function read<T extends object>(client: KubeClient, path: string, signal: AbortSignal): Promise<T> {
  const answer = await client.request({ method: "GET", path }, signal);
  if ([403, 404, 405].includes(answer.status)) return {} as T;
  if (answer.status !== 200) {
    throw new KubeStatusError(`${client.name}: GET ${path}: ${answer.status}`, { status: answer.status });
  }
  return JSON.parse(answer.body) as T;
}
