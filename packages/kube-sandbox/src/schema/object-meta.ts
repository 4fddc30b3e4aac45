import {
  bool,
  described,
  int64,
  list,
  listMap,
  mapOf,
  obj,
  opaque,
  type Schema,
  setOf,
  str,
  time,
} from "./schema.ts";

const ownerReference = obj(
  {
    apiVersion: str,
    kind: str,
    name: str,
    uid: str,
    controller: bool,
    blockOwnerDeletion: bool,
  },
  ["apiVersion", "kind", "name", "uid"],
);

/** What every object carries about itself. */
export const objectMeta: Schema = described(
  obj({
    name: described(str, "Name, unique within a namespace; it cannot be changed."),
    generateName: described(str, "Prefix of a name that the server completes when name is not given."),
    namespace: described(str, "Namespace within which the name is unique."),
    selfLink: str,
    uid: described(str, "Unique in time and space, set by the server."),
    resourceVersion: described(
      str,
      "Opaque version of this object, for concurrency, change detection and watches.",
    ),
    generation: described(int64, "Counts the changes of the desired state."),
    creationTimestamp: described(time, "When the object was made, set by the server."),
    deletionTimestamp: described(
      time,
      "When the object will be gone; set by the server on a graceful deletion.",
    ),
    deletionGracePeriodSeconds: int64,
    labels: described(mapOf(str), "Keys and values that selectors can match."),
    annotations: described(mapOf(str), "Keys and values that tools may set; not queryable."),
    ownerReferences: listMap(ownerReference, ["uid"]),
    finalizers: described(setOf(str), "Must be empty before the object is removed."),
    managedFields: described(
      list(
        obj({
          manager: str,
          operation: str,
          apiVersion: str,
          time,
          fieldsType: str,
          fieldsV1: opaque,
          subresource: str,
        }),
      ),
      "Which manager set which fields.",
    ),
  }),
  "What every object carries about itself.",
);
