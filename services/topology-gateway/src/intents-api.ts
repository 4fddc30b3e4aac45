import {
  ApiProblem,
  IntentRecord,
  LastClusterError,
  OrderAnswer,
  OrderRefusedError,
  OrderRequest,
  orderVerbs,
  plainKeys,
  SluiceError,
  TakenBack,
} from "@sluice/contracts";
import type { FastifyInstance } from "fastify";
import Type from "typebox";
import type { GatewayState } from "./gateway-state.ts";
import { lastServedBy } from "./last-cluster.ts";
import type { Orders } from "./orders.ts";

/** Imports that a refusal names; the rest is counted. */
const MAX_NAMED = 10;
const MAX_HOSTS = 3;

export interface IntentsApi {
  readonly state: GatewayState;
  readonly orders: Pick<Orders, "put" | "takeBack">;
  now(): number;
}

const OrderPath = Type.Object({
  verb: Type.Union(orderVerbs.map((verb) => Type.Literal(verb))),
  cluster: Type.String({ minLength: 1, maxLength: 253 }),
});
const Standing = Type.Object({ intents: Type.Array(IntentRecord) });

/** HTTP status of a failure, by its exit code. */
const STATUS: Readonly<Record<number, number>> = { 1: 409, 2: 409, 65: 422, 69: 503 };

/** Orders to Sluice: given, taken back, and those that stand. */
export function registerIntents(app: FastifyInstance, { state, orders, now }: IntentsApi): void {
  const json = (schema: Type.TSchema) => ({
    response: { 200: schema, "4xx": ApiProblem, "5xx": ApiProblem },
  });
  const answer = async (
    work: () => Promise<IntentRecord | null>,
    reply: { code(status: number): unknown },
  ) => {
    try {
      return { intent: await work() };
    } catch (error) {
      if (!(error instanceof SluiceError)) throw error;
      const statusCode = STATUS[error.exit] ?? 500;
      reply.code(statusCode);
      return { statusCode, message: error.message, code: error.code };
    }
  };

  app.get("/api/v1/intents", { schema: json(Standing) }, () => ({
    intents: [...state.intents].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, intent]) => intent),
  }));

  app.post<{ Body: OrderRequest }>(
    "/api/v1/intents",
    { schema: { ...json(OrderAnswer), body: OrderRequest } },
    async ({ body }, reply) => answer(async () => orders.put(intentFor(state, body, now())), reply),
  );

  app.delete<{ Params: Type.Static<typeof OrderPath>; Querystring: TakenBack }>(
    "/api/v1/intents/:verb/:cluster",
    { schema: { ...json(OrderAnswer), params: OrderPath, querystring: TakenBack } },
    async ({ params: { verb, cluster }, query }, reply) =>
      answer(async () => {
        if (!isKnown(state, cluster)) throw unknown(state, cluster);
        return orders.takeBack({ verb, cluster }, query);
      }, reply),
  );
}

function unknown(state: GatewayState, cluster: string): OrderRefusedError {
  const names = [...state.clusters.keys()].sort();
  const known = names.length === 0 ? "none has been heard of" : `there are ${names.join(", ")}`;
  return new OrderRefusedError(`there is no cluster ${cluster}; ${known}`);
}

/** @throws OrderRefusedError, LastClusterError */
function intentFor(state: GatewayState, order: OrderRequest, at: number): IntentRecord {
  const { verb, cluster, force } = order;
  if (!isKnown(state, cluster)) throw unknown(state, cluster);
  if (verb === "accept-list") {
    const held = state.clusters.get(cluster)?.record.held;
    if (held === undefined) throw new OrderRefusedError(`no list of cluster ${cluster} is held`);
    return { ...order, at, held: held.since };
  }
  if (force !== true) {
    const last = lastServedBy(state, cluster);
    if (last.length > 0) throw new LastClusterError(whyRefused(verb, cluster, last));
  }
  return { ...order, at };
}

function isKnown(state: GatewayState, cluster: string): boolean {
  if (state.clusters.has(cluster)) return true;
  for (const { cluster: of } of state.peers.values()) if (of === cluster) return true;
  // One whose record is gone may still be named by an order.
  return orderVerbs.some((verb) => state.intents.has(plainKeys.intent(verb, cluster)));
}

function whyRefused(verb: string, cluster: string, last: ReturnType<typeof lastServedBy>): string {
  const named = last.slice(0, MAX_NAMED).map(({ service, hosts }) => {
    const more = hosts.length > MAX_HOSTS ? ` and ${hosts.length - MAX_HOSTS} more` : "";
    return hosts.length === 0 ? service : `${service} (${hosts.slice(0, MAX_HOSTS).join(", ")}${more})`;
  });
  if (last.length > MAX_NAMED) named.push(`${last.length - MAX_NAMED} more`);
  return `${verb} ${cluster}: no other cluster serves ${named.join("; ")}; --force does it all the same`;
}
