import {
  type KubeClient,
  type KubeObject,
  knownResource,
  objectKey,
  type PropagationPolicy,
  Reconciler,
  type Reflector,
  type ResourceType,
  reflect,
  resources,
} from "@sluice/kube";
import type { Kit } from "@sluice/service-kit";
import { idOf, isReserved, type ObjectId, splitId } from "./object-id.ts";
import { kindId, type Policy, policyFor, readPolicy } from "./policy.ts";
import type { ProblemReporter } from "./problem-reporter.ts";
import { MANAGED_LABEL, memberObject } from "./template.ts";

/** What a member should have of one object. */
export type Wanted =
  /** The hub has not told yet; what is there stays. */
  | { readonly kind: "unknown" }
  | { readonly kind: "absent" }
  | {
      readonly kind: "present";
      readonly template: KubeObject;
      readonly body: KubeObject;
      /** What to do where the member has such an object that somebody else made. */
      readonly taken: "overwrite" | "report" | "leave";
    };

export interface HubListener {
  onObject(id: ObjectId): void;
  /** Everything of a kind may be wanted otherwise than before. */
  onKind(kind: string): void;
  /** The hub serves this kind, and a policy selects it. */
  onType(type: ResourceType): void;
}

const namespaceKind = kindId("v1", "Namespace");
/** The aggregator's own objects in the hub are answers, not templates. */
const AGGREGATOR = "aggregator.sluice.dev";

/** Policies, namespaces and templates of the hub, and what follows from them for each member. */
export class Hub {
  readonly #client: KubeClient;
  readonly #members: readonly string[];
  readonly #kit: Kit;
  readonly #reporter: ProblemReporter;
  readonly #listener: HubListener;
  readonly #policies = new Map<string, Policy>();
  readonly #templates = new Map<string, Reflector<KubeObject>>();
  readonly #listed = new Set<string>();
  readonly #kinds: Reconciler;
  #namespaces: Reflector<KubeObject> | null = null;

  constructor(
    client: KubeClient,
    members: readonly string[],
    kit: Kit,
    reporter: ProblemReporter,
    listener: HubListener,
  ) {
    this.#client = client;
    this.#members = members;
    this.#kit = kit;
    this.#reporter = reporter;
    this.#listener = listener;
    this.#kinds = new Reconciler({
      name: "kind",
      kit,
      workers: 4,
      backoff: [200, 5000],
      reconcile: (kind, signal) => this.#findKind(kind, signal),
    });
  }

  /** Until kit.signal aborts. */
  async run(): Promise<void> {
    const { health } = this.#kit;
    const reflectors = [resources.propagationPolicy, resources.clusterPropagationPolicy].map((type) => {
      health.set(type.plural, "not listed in the hub yet");
      return reflect({
        client: this.#client,
        type,
        kit: this.#kit,
        onChange: (change) => {
          const key = `${type.kind}/${change.key}`;
          const before = this.#policies.get(key);
          if (change.kind === "delete") this.#policies.delete(key);
          else this.#policies.set(key, this.#read(change.object));
          this.#recheck(before);
          this.#recheck(this.#policies.get(key));
        },
        onListed: () => {
          this.#listed.add(type.kind);
          for (const kind of this.#templates.keys()) this.#listener.onKind(kind);
          // Kinds that no policy names any more may have left objects behind.
          this.#listener.onKind("*");
        },
        onState: (state) => {
          // A hub without these kinds has no policies: there is nothing to do, which is well.
          if (state.kind !== "failing") health.set(type.plural, null);
          else health.set(type.plural, state.error ?? "the hub does not answer");
        },
      });
    });
    const namespaces = reflect<KubeObject>({
      client: this.#client,
      type: resources.namespace,
      kit: this.#kit,
      onChange: (change) => this.#listener.onObject(`${namespaceKind}||${change.key}`),
      onListed: () => {
        this.#listed.add(namespaceKind);
        this.#listener.onKind(namespaceKind);
      },
    });
    this.#namespaces = namespaces;
    this.#listener.onType(resources.namespace);
    await this.#kinds.run();
    await Promise.all([...reflectors, namespaces, ...this.#templates.values()].map((r) => r.done));
  }

  /** Templates of a kind, whether a policy selects them or not. */
  ids(kind: string): ObjectId[] {
    const reflector = kind === namespaceKind ? this.#namespaces : this.#templates.get(kind);
    return [...(reflector?.objects.values() ?? [])].map(idOf);
  }

  wanted(id: ObjectId, member: string): Wanted {
    const { kind, namespace, key } = splitId(id);
    if (kind === namespaceKind) return this.#wantedNamespace(key);
    if (!this.#listed.has("PropagationPolicy") || !this.#listed.has("ClusterPropagationPolicy")) {
      return { kind: "unknown" };
    }
    const selected = [...this.#policies.values()].some((policy) =>
      policy.selectors.some((s) => kindId(s.apiVersion, s.kind) === kind),
    );
    if (!selected) return { kind: "absent" };
    if (!this.#listed.has(kind)) return { kind: "unknown" };
    const template = this.#templates.get(kind)?.objects.get(key);
    if (template === undefined || template.metadata.deletionTimestamp !== undefined)
      return { kind: "absent" };
    if (isReserved(namespace) || isAnswer(template)) return { kind: "absent" };
    const policy = policyFor(template, this.#policies.values());
    if (policy === null || !policy.clusters.has(member)) return { kind: "absent" };
    const body = memberObject(template, { key: objectKey(policy.object), preserve: policy.preserve });
    return { kind: "present", template, body, taken: policy.overwrite ? "overwrite" : "report" };
  }

  #wantedNamespace(name: string): Wanted {
    if (!this.#listed.has(namespaceKind)) return { kind: "unknown" };
    if (name === "default" || isReserved(name)) return { kind: "unknown" };
    const template = this.#namespaces?.objects.get(name);
    if (template === undefined || template.metadata.deletionTimestamp !== undefined)
      return { kind: "absent" };
    const bare = { apiVersion: "v1", kind: "Namespace", metadata: { name } };
    const body = memberObject(bare, { key: "namespaces", preserve: false });
    return { kind: "present", template, body, taken: "leave" };
  }

  #read(object: PropagationPolicy): Policy {
    const { policy, problems } = readPolicy(object, this.#members);
    for (const { field, remedy } of problems) {
      this.#reporter.report(object, "UnsupportedField", `${field}: ${remedy}`);
    }
    return policy;
  }

  #recheck(policy: Policy | undefined): void {
    for (const { apiVersion, kind } of policy?.selectors ?? []) {
      const id = kindId(apiVersion, kind);
      if (id === namespaceKind || id.startsWith("policy.karmada.io/")) continue;
      if (!this.#templates.has(id)) this.#kinds.add(`${apiVersion}|${kind}`);
      this.#listener.onKind(id);
    }
  }

  /** Starts to follow a kind that a policy selects; a hub that does not serve it yet is asked again. */
  async #findKind(key: string, signal: AbortSignal): Promise<void> {
    const [apiVersion = "", kind = ""] = key.split("|");
    const id = kindId(apiVersion, kind);
    const policies = [...this.#policies.values()].filter((policy) =>
      policy.selectors.some((s) => s.apiVersion === apiVersion && s.kind === kind),
    );
    if (this.#templates.has(id) || policies.length === 0) return;
    const type = knownResource(apiVersion, kind) ?? (await this.#client.discover(apiVersion, kind, signal));
    if (type === null) {
      for (const { object } of policies) {
        const message = `resourceSelectors: the hub serves no ${apiVersion} ${kind}; correct it, or apply its CRD to the hub`;
        this.#reporter.report(object, "UnknownKind", message);
      }
      this.#kinds.addAfter(key, 1000);
      return;
    }
    this.#templates.set(
      id,
      reflect({
        client: this.#client,
        type,
        kit: this.#kit,
        onChange: (change) => {
          const object = change.kind === "delete" ? change.old : change.object;
          this.#listener.onObject(idOf(object));
        },
        onListed: () => {
          this.#listed.add(id);
          this.#listener.onKind(id);
        },
      }),
    );
    this.#listener.onType(type);
  }
}

function isAnswer({ metadata }: KubeObject): boolean {
  const labels = metadata.labels ?? {};
  return (
    labels["app.kubernetes.io/managed-by"] === AGGREGATOR ||
    labels["endpointslice.kubernetes.io/managed-by"] === AGGREGATOR ||
    labels[MANAGED_LABEL] === "true"
  );
}
