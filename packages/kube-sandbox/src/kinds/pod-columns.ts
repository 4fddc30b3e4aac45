import { arrayAt, isObject, type KubeObject, objectAt, textAt } from "../json.ts";
import { ageColumn, column, nameColumn } from "./columns.ts";
import type { Column } from "./resource-type.ts";

export const podColumns: Column[] = [
  nameColumn,
  column("Ready", (object) => {
    const statuses = arrayAt(objectAt(object, "status"), "containerStatuses");
    const ready = statuses.filter((status) => isObject(status) && status.ready === true).length;
    return `${ready}/${arrayAt(objectAt(object, "spec"), "containers").length}`;
  }),
  column("Status", podState),
  column("Restarts", (object) => String(restarts(object))),
  ageColumn,
  column("IP", (object) => textAt(objectAt(object, "status"), "podIP") || "<none>", { wide: true }),
  column("Node", (object) => textAt(objectAt(object, "spec"), "nodeName") || "<none>", { wide: true }),
  column("Nominated Node", (object) => textAt(objectAt(object, "status"), "nominatedNodeName") || "<none>", {
    wide: true,
  }),
  column("Readiness Gates", () => "<none>", { wide: true }),
];

/** What `kubectl get pods` calls the status: a waiting container's reason counts for more than the phase. */
function podState(object: KubeObject): string {
  const status = objectAt(object, "status");
  let state = textAt(status, "reason") || textAt(status, "phase");
  for (const container of arrayAt(status, "containerStatuses")) {
    const waiting = textAt(objectAt(objectAt(container, "state"), "waiting"), "reason");
    const terminated = textAt(objectAt(objectAt(container, "state"), "terminated"), "reason");
    state = waiting || terminated || state;
  }
  return object.metadata.deletionTimestamp === undefined ? state : "Terminating";
}

function restarts(object: KubeObject): number {
  let sum = 0;
  for (const status of arrayAt(objectAt(object, "status"), "containerStatuses")) {
    if (isObject(status) && typeof status.restartCount === "number") sum += status.restartCount;
  }
  return sum;
}
