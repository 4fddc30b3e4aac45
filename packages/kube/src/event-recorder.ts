import { createHash } from "node:crypto";
import { KubeStatusError } from "@sluice/contracts";
import type { KubeClient } from "./client.ts";
import type { KubeEvent, KubeObject } from "./objects.ts";
import { resources } from "./resources.ts";

export interface EventNote {
  /** The object that the event is about, as read from the API. */
  readonly regarding: KubeObject;
  readonly type: "Normal" | "Warning";
  /** CamelCase, one word for machines. */
  readonly reason: string;
  /** What is wrong and what to do about it; at most 1,024 characters are kept, as the API has it. */
  readonly message: string;
  /** Who says it, e.g. `sluice-propagator`. */
  readonly component: string;
}

/**
 * Writes an Event on an object. The name follows from what is said, so that saying it again raises `count` instead of
 * adding another object.
 * @throws KubeStatusError, KubeUnreachableError
 */
export async function recordEvent(client: KubeClient, note: EventNote, signal: AbortSignal): Promise<void> {
  const { regarding, reason, component } = note;
  const message = note.message.length > 1024 ? `${note.message.slice(0, 1021)}...` : note.message;
  const { name, namespace = "default", uid = "" } = regarding.metadata;
  const digest = createHash("sha256")
    .update(JSON.stringify([uid, component, note.type, reason, message]))
    .digest("hex")
    .slice(0, 16);
  // 253 characters at most, and the digest's 17 with them.
  const ref = { namespace, name: `${name.slice(0, 236).replace(/[^a-z0-9]+$/, "")}.${digest}` };
  const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  for (let attempt = 1; ; attempt += 1) {
    const known = await client.get(resources.event, ref, signal);
    try {
      if (known === null) {
        const event: KubeEvent = {
          apiVersion: "v1",
          kind: "Event",
          metadata: ref,
          involvedObject: {
            apiVersion: regarding.apiVersion,
            kind: regarding.kind,
            name,
            ...(regarding.metadata.namespace === undefined ? {} : { namespace }),
            ...(uid === "" ? {} : { uid }),
          },
          type: note.type,
          reason,
          message,
          count: 1,
          firstTimestamp: now,
          lastTimestamp: now,
          source: { component },
          reportingComponent: component,
        };
        await client.create(resources.event, event, signal);
      } else {
        const patch = { count: (known.count ?? 1) + 1, lastTimestamp: now };
        await client.mergePatch(resources.event, ref, patch, {}, signal);
      }
      return;
    } catch (error) {
      // Somebody made or removed it between our look and our write.
      const raced = error instanceof KubeStatusError && (error.status === 409 || error.status === 404);
      if (!raced || attempt >= 3) throw error;
    }
  }
}
