import type { World } from "../registry/world.ts";

/** kube-apiserver's --event-ttl. */
const KEPT_FOR_MS = 60 * 60_000;
const CHECK_EVERY_MS = 60_000;

/** Events are forgotten after an hour, or a long trial would fill memory with them. */
export function expireEvents(world: World): () => void {
  const timer = setInterval(() => removeOldEvents(world), CHECK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}

function removeOldEvents({ store, clock }: World): void {
  const oldest = clock.now().getTime() - KEPT_FOR_MS;
  for (const event of store.list("events")) {
    const { lastTimestamp } = event;
    const seen = typeof lastTimestamp === "string" ? lastTimestamp : event.metadata.creationTimestamp;
    if (seen !== undefined && Date.parse(seen) < oldest) store.remove("events", event);
  }
}
