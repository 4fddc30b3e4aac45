import type { FleetValue, TopologyPeers } from "@sluice/contracts";
import type { ConfigMap } from "./config-map/read-config.ts";
import { FleetModel, type FleetOptions } from "./fleet-model.ts";
import type { IngressClass, MultiClusterIngress, ServiceImport } from "./objects.ts";
import type { ReadSecret } from "./secret.ts";
import type { SecretWant } from "./secret-want.ts";
import type { Verdict } from "./verdict.ts";

/** Everything that a fleet's rows depend on. */
export interface World {
  readonly ingresses: Iterable<MultiClusterIngress>;
  readonly imports: Iterable<ServiceImport>;
  readonly classes: Iterable<IngressClass>;
  /** The ConfigMap that is asked for; absent: there is none. */
  readonly config?: ConfigMap;
  readonly peers: Iterable<TopologyPeers>;
  /** Port names of exported Services, by `namespace/name`. */
  readonly exported: ReadonlyMap<string, ReadonlySet<string>>;
  /** By `namespace/name`; null: the hub has none of that name. Nobody has looked at those that are not here. */
  readonly secrets?: ReadonlyMap<string, ReadSecret | null>;
  /** Those that objects name, as `secrets`. */
  readonly configMaps?: ReadonlyMap<string, ConfigMap | null>;
  /** Milliseconds since 1970. */
  readonly now?: number;
}

/** Same world in, same rows and verdicts out, whatever the order of its objects. */
export function buildFleet(
  world: World,
  options: FleetOptions,
): { rows: Map<string, FleetValue>; secrets: Map<string, SecretWant>; verdicts: Verdict[] } {
  const model = new FleetModel(options);
  model.setConfig(world.config ?? null);
  for (const object of world.classes) model.setClass(object);
  for (const object of world.imports) model.setImport(object);
  for (const [service, names] of world.exported) model.setExportedPorts(service, names);
  for (const [key, secret] of world.secrets ?? []) model.setSecret(key, secret);
  for (const [key, object] of world.configMaps ?? []) model.setConfigMap(key, object);
  for (const object of world.ingresses) model.setIngress(object);
  model.setNow(world.now ?? 0);
  const changes = model.settle();
  const rows = new Map<string, FleetValue>();
  for (const [key, row] of changes.rows) if (row !== null) rows.set(key, row);
  const secrets = new Map<string, SecretWant>();
  for (const [id, want] of changes.secrets) if (want !== null) secrets.set(id, want);
  for (const record of world.peers) {
    for (const [key, row] of model.peerRows(record)) if (row !== null) rows.set(key, row);
  }
  const verdicts = [...changes.verdicts].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, said]) => said);
  return { rows: new Map([...rows].sort(([a], [b]) => (a < b ? -1 : 1))), secrets, verdicts };
}
