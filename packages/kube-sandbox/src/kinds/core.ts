import { arrayAt, type Json, type JsonObject, type KubeObject, objectAt, textAt } from "../json.ts";
import {
  bool,
  bytes,
  described,
  int32,
  intOrString,
  list,
  listMap,
  mapOf,
  obj,
  opaque,
  quantity,
  type Schema,
  setOf,
  str,
  time,
  withDefault,
} from "../schema/schema.ts";
import { forbiddenValue } from "../status.ts";
import { ageColumn, column, nameColumn } from "./columns.ts";
import { podColumns } from "./pod-columns.ts";
import { checkPodSpec, completePodSpec } from "./pod-rules.ts";
import { conditions, podSpec, podStatus } from "./pod-schema.ts";
import { builtIn, type ResourceType } from "./resource-type.ts";

export const objectReference: Schema = {
  ...obj({
    kind: str,
    namespace: str,
    name: str,
    uid: str,
    apiVersion: str,
    resourceVersion: str,
    fieldPath: str,
  }),
  "x-kubernetes-map-type": "atomic",
};

const namespaces = builtIn({
  group: "",
  version: "v1",
  plural: "namespaces",
  kind: "Namespace",
  shortNames: ["ns"],
  namespaced: false,
  names: "label",
  status: true,
  returnsDeleted: true,
  schema: described(
    obj({ spec: obj({ finalizers: list(str) }), status: obj({ phase: str, conditions }) }),
    "Namespace is a scope for names.",
  ),
  columns: [nameColumn, column("Status", (object) => textAt(objectAt(object, "status"), "phase")), ageColumn],
  strategy: {
    prepare(object, previous) {
      if (previous === undefined) {
        object.spec = { finalizers: ["kubernetes"] };
        object.status = { phase: "Active" };
      }
      const labels = { ...object.metadata.labels, "kubernetes.io/metadata.name": object.metadata.name ?? "" };
      object.metadata.labels = labels;
    },
  },
});

const pods = builtIn({
  group: "",
  version: "v1",
  plural: "pods",
  kind: "Pod",
  shortNames: ["po"],
  categories: ["all"],
  status: true,
  returnsDeleted: true,
  schema: described(
    obj({ spec: podSpec, status: podStatus }),
    "Pod is a group of containers that run on one node.",
  ),
  columns: podColumns,
  strategy: {
    prepare(object, previous) {
      completePodSpec(objectAt(object, "spec"));
      if (previous === undefined) object.status = { phase: "Pending", qosClass: "BestEffort" };
    },
    validate(object, previous) {
      const spec = objectAt(object, "spec");
      const errors = checkPodSpec(spec, "spec");
      const before = previous === undefined ? "" : textAt(objectAt(previous, "spec"), "nodeName");
      if (before !== "" && textAt(spec, "nodeName") !== before) {
        errors.push(
          forbiddenValue("spec", "pod updates may not change fields other than the image, tolerations"),
        );
      }
      return errors;
    },
  },
});

const nodes = builtIn({
  group: "",
  version: "v1",
  plural: "nodes",
  kind: "Node",
  shortNames: ["no"],
  namespaced: false,
  status: true,
  schema: described(
    obj({
      spec: obj({
        podCIDR: str,
        podCIDRs: setOf(str),
        providerID: str,
        unschedulable: bool,
        taints: list(opaque),
        configSource: opaque,
        externalID: str,
      }),
      status: obj({
        capacity: mapOf(quantity),
        allocatable: mapOf(quantity),
        phase: str,
        conditions,
        addresses: listMap(obj({ type: str, address: str }, ["type", "address"]), ["type"]),
        daemonEndpoints: opaque,
        nodeInfo: opaque,
        images: list(opaque),
        volumesInUse: list(str),
        volumesAttached: list(opaque),
        config: opaque,
        runtimeHandlers: list(opaque),
        features: opaque,
      }),
    }),
    "Node is a machine that runs pods.",
  ),
  columns: [
    nameColumn,
    column("Status", (object) => {
      const ready = arrayAt(objectAt(object, "status"), "conditions").find(
        (c) => textAt(c, "type") === "Ready",
      );
      return textAt(ready, "status") === "True" ? "Ready" : ready === undefined ? "Unknown" : "NotReady";
    }),
    column("Roles", () => "<none>"),
    ageColumn,
    column("Version", (object) => textAt(objectAt(objectAt(object, "status"), "nodeInfo"), "kubeletVersion")),
    column("Internal-IP", (object) => nodeAddress(object, "InternalIP"), { wide: true }),
  ],
});

function nodeAddress(object: KubeObject, type: string): Json {
  const found = arrayAt(objectAt(object, "status"), "addresses").find(
    (entry) => textAt(entry, "type") === type,
  );
  return textAt(found, "address") || "<none>";
}

const configMaps = builtIn({
  group: "",
  version: "v1",
  plural: "configmaps",
  kind: "ConfigMap",
  shortNames: ["cm"],
  schema: described(
    obj({ data: mapOf(str), binaryData: mapOf(bytes), immutable: bool }),
    "ConfigMap holds settings.",
  ),
  columns: [
    nameColumn,
    column("Data", (object) => countKeys(object.data) + countKeys(object.binaryData), { type: "integer" }),
    ageColumn,
  ],
});

const secrets = builtIn({
  group: "",
  version: "v1",
  plural: "secrets",
  kind: "Secret",
  schema: described(
    obj({ type: withDefault(str, "Opaque"), data: mapOf(bytes), stringData: mapOf(str), immutable: bool }),
    "Secret holds what must not be shown.",
  ),
  columns: [
    nameColumn,
    column("Type", (object) => textAt(object, "type")),
    column("Data", (object) => countKeys(object.data), { type: "integer" }),
    ageColumn,
  ],
  strategy: {
    prepare(object) {
      const { stringData } = object;
      if (stringData === undefined) return;
      const data: JsonObject = { ...objectAt(object, "data") };
      for (const [key, value] of Object.entries(objectAt(object, "stringData"))) {
        data[key] = Buffer.from(String(value)).toString("base64");
      }
      object.data = data;
      delete object.stringData;
    },
  },
});

function countKeys(value: unknown): number {
  return typeof value === "object" && value !== null ? Object.keys(value).length : 0;
}

const serviceAccounts = builtIn({
  group: "",
  version: "v1",
  plural: "serviceaccounts",
  kind: "ServiceAccount",
  shortNames: ["sa"],
  returnsDeleted: true,
  schema: described(
    obj({
      secrets: listMap(objectReference, ["name"]),
      imagePullSecrets: list(obj({ name: str })),
      automountServiceAccountToken: bool,
    }),
    "ServiceAccount is an identity for what runs in pods.",
  ),
  columns: [
    nameColumn,
    column("Secrets", (object) => arrayAt(object, "secrets").length, { type: "integer" }),
    ageColumn,
  ],
});

const eventSeries: Schema = obj({ count: int32, lastObservedTime: time });

const eventColumns = [
  column("Last Seen", (object, now) => {
    const seen =
      textAt(object, "lastTimestamp") || textAt(object, "eventTime") || object.metadata.creationTimestamp;
    return ageColumn.cell(
      { ...object, metadata: seen === undefined ? {} : { creationTimestamp: seen } },
      now,
    );
  }),
  column("Type", (object) => textAt(object, "type")),
  column("Reason", (object) => textAt(object, "reason")),
  column("Object", (object) => {
    const about = objectAt(object, "involvedObject");
    return `${textAt(about, "kind").toLowerCase()}/${textAt(about, "name")}`;
  }),
  column("Message", (object) => textAt(object, "message").trim()),
  column("Source", (object) => textAt(objectAt(object, "source"), "component"), { wide: true }),
  column("Count", (object) => (typeof object.count === "number" ? object.count : 1), {
    type: "integer",
    wide: true,
  }),
  column("Name", ({ metadata }) => metadata.name ?? "", { format: "name", wide: true }),
];

const events = builtIn({
  group: "",
  version: "v1",
  plural: "events",
  kind: "Event",
  shortNames: ["ev"],
  createOnUpdate: true,
  schema: described(
    obj({
      involvedObject: objectReference,
      reason: str,
      message: str,
      source: obj({ component: str, host: str }),
      firstTimestamp: time,
      lastTimestamp: time,
      count: int32,
      type: str,
      eventTime: time,
      series: eventSeries,
      action: str,
      related: objectReference,
      reportingComponent: str,
      reportingInstance: str,
    }),
    "Event says what happened to an object.",
  ),
  columns: eventColumns,
});

const eventsView = builtIn({
  group: "events.k8s.io",
  version: "v1",
  plural: "events",
  kind: "Event",
  shortNames: ["ev"],
  createOnUpdate: true,
  schema: described(
    obj({
      eventTime: time,
      series: eventSeries,
      reportingController: str,
      reportingInstance: str,
      action: str,
      reason: str,
      regarding: objectReference,
      related: objectReference,
      note: str,
      type: str,
      deprecatedSource: obj({ component: str, host: str }),
      deprecatedFirstTimestamp: time,
      deprecatedLastTimestamp: time,
      deprecatedCount: int32,
    }),
    "Event says what happened to an object.",
  ),
  columns: eventColumns.map((c) => ({
    ...c,
    cell: (o: KubeObject, now: Date) => c.cell(toCoreEvent(o), now),
  })),
  view: { storage: "events", toView: toNewEvent, fromView: toCoreEvent },
});

const RENAMED: [core: string, view: string][] = [
  ["involvedObject", "regarding"],
  ["message", "note"],
  ["reportingComponent", "reportingController"],
  ["source", "deprecatedSource"],
  ["firstTimestamp", "deprecatedFirstTimestamp"],
  ["lastTimestamp", "deprecatedLastTimestamp"],
  ["count", "deprecatedCount"],
];

function toNewEvent(event: KubeObject): KubeObject {
  const view: KubeObject = { ...event, apiVersion: "events.k8s.io/v1" };
  for (const [core, name] of RENAMED) {
    if (view[core] !== undefined) view[name] = view[core];
    delete view[core];
  }
  return view;
}

function toCoreEvent(view: KubeObject): KubeObject {
  const event: KubeObject = { ...view, apiVersion: "v1" };
  for (const [core, name] of RENAMED) {
    if (event[name] !== undefined) event[core] = event[name];
    delete event[name];
  }
  return event;
}

/** Ports of Services and their schema, kept here beside the rest of the core group's. */
export const servicePort: Schema = obj(
  {
    name: described(str, "Name; required when a Service has several ports."),
    protocol: withDefault(str, "TCP"),
    appProtocol: str,
    port: described(int32, "Port that the Service offers."),
    targetPort: described(
      intOrString,
      "Number or name of the port on the pods; the same as port when not given.",
    ),
    nodePort: int32,
  },
  ["port"],
);

export const coreKinds: ResourceType[] = [
  namespaces,
  pods,
  nodes,
  configMaps,
  secrets,
  serviceAccounts,
  events,
  eventsView,
];
