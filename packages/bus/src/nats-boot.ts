import { Boot, bootTable, decode, decodeEnvelope, encodeEnvelope } from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";
import { isMissing, leaderMessage, putMessage } from "./nats-messages.ts";
import type { NatsPublisher } from "./nats-publisher.ts";
import type { PatientApi } from "./patient-api.ts";

/** The servers' present life, as the leader of its table has it. */
export async function bootOf(api: PatientApi): Promise<{ id: string; revision: number } | null> {
  const found = await api.ask((jsm) => leaderMessage(jsm, bootTable, "id"));
  if (found === null) return null;
  const boot = decodeEnvelope(Boot, found.value, "boot/id").data;
  return { id: decode(Boot, boot, "boot/id").id, revision: found.revision };
}

export async function writeBoot(
  publisher: NatsPublisher,
  { clock, random }: Pick<Kit, "clock" | "random">,
  expected: number,
): Promise<void> {
  const fresh: Boot = { v: 1, id: random.uuid(), at: clock.now() };
  await putMessage(publisher, bootTable, "id", encodeEnvelope({ v: 1, data: fresh }), expected);
}

/** There is no life yet where its table is missing. */
export function ifMissing(error: unknown): null {
  if (isMissing(error)) return null;
  throw error;
}
