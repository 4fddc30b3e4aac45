import { userInfo } from "node:os";
import { decode, type IntentRecord, OrderAnswer } from "@sluice/contracts";
import { askGateway, gatewayAddress } from "./gateway.ts";

export interface OrderOptions {
  readonly gateway?: string;
  readonly reason?: string;
  readonly force?: boolean;
}

/** Who gives the order, for people. */
function orderedBy(): string {
  try {
    return userInfo().username;
  } catch {
    // An uid without a name, as containers have it.
    return process.env["USER"] || "unknown";
  }
}

const readAnswer = (answer: unknown, subject: string) => decode(OrderAnswer, answer, subject);

/** @throws LastClusterError, OrderRefusedError, OrderPendingError, OrderOvertakenError, GatewayUnreachableError */
export async function giveOrder(
  verb: IntentRecord["verb"],
  cluster: string,
  { gateway, reason, force }: OrderOptions,
): Promise<void> {
  const body = {
    verb,
    cluster,
    by: orderedBy(),
    ...(reason === undefined ? {} : { reason }),
    ...(force === true ? { force } : {}),
  };
  await askGateway(gatewayAddress(gateway), readAnswer, { path: "/api/v1/intents", method: "POST", body });
}

/** @returns false when no such order stood. @throws OrderRefusedError, OrderPendingError, OrderOvertakenError, GatewayUnreachableError */
export async function takeOrderBack(
  verb: IntentRecord["verb"],
  cluster: string,
  { gateway, reason }: OrderOptions,
): Promise<boolean> {
  const path = `/api/v1/intents/${verb}/${encodeURIComponent(cluster)}`;
  const query = { by: orderedBy(), reason };
  const answer = await askGateway(gatewayAddress(gateway), readAnswer, { path, method: "DELETE", query });
  return answer.intent !== null;
}
