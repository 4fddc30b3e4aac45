import { arrayAt, isObject, type JsonObject, type KubeObject, objectAt, textAt } from "../json.ts";
import { bool, described, int32, int64, intOrString, obj, str, withDefault } from "../schema/schema.ts";
import { ageColumn, column, nameColumn } from "./columns.ts";
import { checkTemplateOwner, completePodSpec } from "./pod-rules.ts";
import { conditions, labelSelector, podTemplate } from "./pod-schema.ts";
import { builtIn, type Column, type ResourceType } from "./resource-type.ts";

const SCALE = {
  specReplicas: "spec.replicas",
  statusReplicas: "status.replicas",
  selector: "spec.selector",
};

function count(object: KubeObject, part: "spec" | "status", field: string): number {
  const value = objectAt(object, part)[field];
  return typeof value === "number" ? value : 0;
}

function templateColumns(): Column[] {
  const containers = (object: KubeObject) =>
    arrayAt(objectAt(objectAt(objectAt(object, "spec"), "template"), "spec"), "containers");
  return [
    column(
      "Containers",
      (object) =>
        containers(object)
          .map((c) => textAt(c, "name"))
          .join(","),
      { wide: true },
    ),
    column(
      "Images",
      (object) =>
        containers(object)
          .map((c) => textAt(c, "image"))
          .join(","),
      { wide: true },
    ),
    column(
      "Selector",
      (object) =>
        Object.entries(objectAt(objectAt(objectAt(object, "spec"), "selector"), "matchLabels"))
          .map(([key, value]) => `${key}=${String(value)}`)
          .join(","),
      { wide: true },
    ),
  ];
}

function prepareTemplate(object: KubeObject): void {
  completePodSpec(objectAt(objectAt(objectAt(object, "spec"), "template"), "spec"));
}

const deployments = builtIn({
  group: "apps",
  version: "v1",
  plural: "deployments",
  kind: "Deployment",
  shortNames: ["deploy"],
  categories: ["all"],
  status: true,
  scale: SCALE,
  generation: "spec",
  schema: described(
    obj({
      spec: obj(
        {
          replicas: described(withDefault(int32, 1), "How many pods are wanted."),
          selector: labelSelector,
          template: podTemplate,
          strategy: withDefault(
            obj({
              type: withDefault(str, "RollingUpdate"),
              rollingUpdate: obj({ maxUnavailable: intOrString, maxSurge: intOrString }),
            }),
            {},
          ),
          minReadySeconds: int32,
          revisionHistoryLimit: withDefault(int32, 10),
          paused: bool,
          progressDeadlineSeconds: withDefault(int32, 600),
        },
        ["selector", "template"],
      ),
      status: obj({
        observedGeneration: int64,
        replicas: int32,
        updatedReplicas: int32,
        readyReplicas: int32,
        availableReplicas: int32,
        unavailableReplicas: int32,
        terminatingReplicas: int32,
        conditions,
        collisionCount: int32,
      }),
    }),
    "Deployment keeps a number of pods of one template running and replaces them step by step.",
  ),
  columns: [
    nameColumn,
    column(
      "Ready",
      (object) => `${count(object, "status", "readyReplicas")}/${count(object, "spec", "replicas")}`,
    ),
    column("Up-to-date", (object) => count(object, "status", "updatedReplicas"), { type: "integer" }),
    column("Available", (object) => count(object, "status", "availableReplicas"), { type: "integer" }),
    ageColumn,
    ...templateColumns(),
  ],
  strategy: {
    prepare(object) {
      prepareTemplate(object);
      const strategy: JsonObject = { ...objectAt(objectAt(object, "spec"), "strategy") };
      if (strategy.type === "RollingUpdate") {
        strategy.rollingUpdate = {
          maxUnavailable: "25%",
          maxSurge: "25%",
          ...objectAt(strategy, "rollingUpdate"),
        };
        objectAt(object, "spec").strategy = strategy;
      }
    },
    validate: checkTemplateOwner,
  },
});

const replicaSets = builtIn({
  group: "apps",
  version: "v1",
  plural: "replicasets",
  kind: "ReplicaSet",
  shortNames: ["rs"],
  categories: ["all"],
  status: true,
  scale: SCALE,
  generation: "spec",
  schema: described(
    obj({
      spec: obj(
        {
          replicas: withDefault(int32, 1),
          minReadySeconds: int32,
          selector: labelSelector,
          template: podTemplate,
        },
        ["selector"],
      ),
      status: obj({
        replicas: int32,
        fullyLabeledReplicas: int32,
        readyReplicas: int32,
        availableReplicas: int32,
        terminatingReplicas: int32,
        observedGeneration: int64,
        conditions,
      }),
    }),
    "ReplicaSet keeps a number of equal pods running.",
  ),
  columns: [
    nameColumn,
    column("Desired", (object) => count(object, "spec", "replicas"), { type: "integer" }),
    column("Current", (object) => count(object, "status", "replicas"), { type: "integer" }),
    column("Ready", (object) => count(object, "status", "readyReplicas"), { type: "integer" }),
    ageColumn,
    ...templateColumns(),
  ],
  strategy: {
    prepare(object, previous) {
      prepareTemplate(object);
      // Go's zero value: ReplicaSet status always says how many there are.
      if (previous === undefined && !isObject(object.status)) object.status = { replicas: 0 };
    },
    validate: checkTemplateOwner,
  },
});

export const appsKinds: ResourceType[] = [deployments, replicaSets];
