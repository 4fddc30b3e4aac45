import { objectAt, textAt } from "../json.ts";
import type { World } from "../registry/world.ts";

/** Takes the address of a deleted Service back into the range. */
export function watchServices(world: World): () => void {
  return world.store.observe((resource, { type, object }) => {
    if (resource !== "services" || type !== "DELETED") return;
    world.addresses.release(textAt(objectAt(object, "spec"), "clusterIP"));
  });
}
