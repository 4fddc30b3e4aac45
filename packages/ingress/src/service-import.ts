import type { PeerPolicy, ServicePort, UpstreamRow } from "@sluice/contracts";
import { CLUSTER, type ClusterOrder, readClusterOrder } from "./cluster-order.ts";
import { annotationsOf, fieldsOf, type ObjectRef, quote, refOf, type ServiceImport } from "./objects.ts";
import { readPeerPolicy } from "./peer-policy.ts";
import { upstreamId } from "./upstream-id.ts";
import type { Reason, Verdict } from "./verdict.ts";

const FROM_CLUSTERS = "sluice.dev/from-clusters";

/** A ServiceImport as the model knows it. */
export interface ReadImport {
  readonly ref: ObjectRef;
  readonly ports: readonly ServicePort[];
  /** Clusters whose exports count; null: all. Empty: none, because what was asked for could not be read. */
  readonly from: ReadonlySet<string> | null;
  readonly order: ClusterOrder;
  readonly peers: PeerPolicy;
  readonly verdicts: readonly Verdict[];
}

const PROTOCOLS = new Set(["TCP", "UDP", "SCTP"]);

function isPortNumber(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 65_535;
}

export function readImport(object: ServiceImport): ReadImport {
  const ref = refOf(object, "multicluster.x-k8s.io/v1alpha1", "ServiceImport");
  const verdicts: Verdict[] = [];
  const warn = (reason: Reason, message: string) =>
    verdicts.push({ object: ref, type: "Warning", reason, message });

  const ports: ServicePort[] = [];
  const listed = fieldsOf(object.spec)?.["ports"];
  if (!Array.isArray(listed) || listed.length === 0) {
    warn("ImportInvalid", "spec.ports is empty; list the ports of the exported Service");
  }
  for (const [i, item] of (Array.isArray(listed) ? listed : []).entries()) {
    const port = fieldsOf(item);
    const name = port?.["name"] ?? "";
    const protocol = port?.["protocol"] ?? "TCP";
    if (port === null || !isPortNumber(port["port"])) {
      warn("ImportInvalid", `spec.ports[${i}].port is no number from 1 to 65535; this port is left out`);
    } else if (typeof name !== "string" || typeof protocol !== "string" || !PROTOCOLS.has(protocol)) {
      warn(
        "ImportInvalid",
        `spec.ports[${i}]: name is no text or protocol none of TCP, UDP and SCTP; it is left out`,
      );
    } else {
      ports.push({ name, port: port["port"], protocol: protocol as ServicePort["protocol"] });
    }
  }

  const asked = annotationsOf(object).get(FROM_CLUSTERS);
  let from: Set<string> | null = null;
  if (asked !== undefined) {
    const names = asked.split(",").map((name) => name.trim());
    const wrong = names.filter((name) => !CLUSTER.test(name));
    from = new Set(names.filter((name) => CLUSTER.test(name)));
    if (wrong.length > 0) {
      const which = wrong.map(quote).slice(0, 4).join(", ");
      warn(
        "FromClustersInvalid",
        `metadata.annotations["${FROM_CLUSTERS}"]: ${which} is no cluster name; only the others count. ` +
          "Write names separated by commas, or remove the annotation to take all clusters",
      );
    }
  }
  const invalid = (message: string) => warn("AnnotationInvalid", message);
  const order = readClusterOrder(annotationsOf(object), invalid);
  const peers = readPeerPolicy(annotationsOf(object), invalid);
  return { ref, ports, from, order, peers, verdicts };
}

/** Ports of the import that no exported Service has: by name, because slices tell their ports by name. */
export function portMismatches(imported: ReadImport, exportedNames: ReadonlySet<string>): Verdict[] {
  const verdicts: Verdict[] = [];
  for (const [i, port] of imported.ports.entries()) {
    if (exportedNames.has(port.name)) continue;
    const there = [...exportedNames].sort().slice(0, 8).map(quote).join(", ") || "none";
    verdicts.push({
      object: imported.ref,
      type: "Warning",
      reason: "PortMismatch",
      message:
        `spec.ports[${i}].name: no exported Service ${imported.ref.namespace}/${imported.ref.name} has a port ` +
        `named ${quote(port.name)}, so port ${port.port} has no peers; its port names are ${there}. ` +
        "Name the import's port as the Service names it",
    });
  }
  return verdicts;
}

/** The port of an import that a backend means, or null. HTTP goes over TCP, so a TCP port goes first. */
export function findPort(
  imported: ReadImport,
  wanted: { name?: string; number?: number },
): ServicePort | null {
  const matching = imported.ports.filter((port) =>
    wanted.name === undefined ? port.port === wanted.number : port.name === wanted.name,
  );
  return matching.find((port) => port.protocol === "TCP") ?? null;
}

/** The upstream that a port of an import is. */
export function upstreamOf({ ref, peers }: ReadImport, { name: port }: ServicePort): UpstreamRow {
  const { namespace, name: service } = ref;
  const id = upstreamId(namespace, service, port);
  return { id, namespace, service, port, balance: "round_robin", ...peers };
}
