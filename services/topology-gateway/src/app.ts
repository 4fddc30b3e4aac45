import {
  ApiProblem,
  decodeToken,
  FleetNow,
  PastFleet,
  PastTopology,
  type SecretRow,
  type Status,
  Status as StatusSchema,
  TopologyNow,
} from "@sluice/contracts";
import type { Health } from "@sluice/service-kit";
import { type FastifyInstance, fastify } from "fastify";
import Type from "typebox";
import { buildStatus, type StatusOptions } from "./build-status.ts";
import type { GatewayState } from "./gateway-state.ts";
import { type IntentsApi, registerIntents } from "./intents-api.ts";
import { kindsOf, type PastApi, PastRoutes } from "./past-api.ts";
import { sharedAnswer } from "./shared-answer.ts";

const ServiceQuery = Type.Object({
  namespace: Type.Optional(Type.String({ maxLength: 253 })),
  service: Type.Optional(Type.String({ maxLength: 253 })),
  at: Type.Optional(Type.String({ maxLength: 64 })),
});
const FleetQuery = Type.Object({
  /** Kinds of rows, with commas between, e.g. `routes,upstreams`; absent: all. */
  kinds: Type.Optional(Type.String({ pattern: "^[a-z]+(,[a-z]+)*$", maxLength: 253 })),
  fleet: Type.Optional(Type.String({ maxLength: 253 })),
  at: Type.Optional(Type.String({ maxLength: 64 })),
});

export interface GatewayApp {
  readonly state: GatewayState;
  readonly options: StatusOptions;
  readonly orders: IntentsApi["orders"];
  readonly past: PastApi;
  readonly health: Health;
  now(): number;
}

/** The gateway without a port: what it answers, and from what. */
export function buildApp({
  state,
  options,
  orders,
  past: pastApi,
  health,
  now,
}: GatewayApp): FastifyInstance {
  const app = fastify({ logger: false, forceCloseConnections: true });
  const json = (schema: Type.TSchema) => ({
    response: { 200: schema, "4xx": ApiProblem, "5xx": ApiProblem },
  });

  const past = new PastRoutes(pastApi);
  past.register(app);

  app.setNotFoundHandler((request, reply) =>
    reply.code(404).send({
      statusCode: 404,
      message: `${request.method} ${request.url}: not here; see /api/v1/status, /api/v1/topology, /api/v1/fleet, /api/v1/intents, /api/v1/history, /api/v1/diff and /api/v1/log`,
    }),
  );

  const status = sharedAnswer(() => buildStatus(state, options, now()), now);
  app.get("/api/v1/status", { schema: json(StatusSchema) }, (): Status => status());

  app.get<{ Querystring: Type.Static<typeof ServiceQuery> }>(
    "/api/v1/topology",
    { schema: { ...json(Type.Union([PastTopology, TopologyNow])), querystring: ServiceQuery } },
    async ({ query }, reply) => {
      const { at } = query;
      if (at !== undefined) return past.topology({ ...query, at }, reply);
      const rows = [];
      for (const [key, value] of [...state.services, ...state.peers]) {
        if (query.namespace !== undefined && value.namespace !== query.namespace) continue;
        if (query.service !== undefined && value.service !== query.service) continue;
        rows.push({ key, value });
      }
      return { at: Math.round(now()), rows: rows.sort(byKey) };
    },
  );

  app.get<{ Querystring: Type.Static<typeof FleetQuery> }>(
    "/api/v1/fleet",
    { schema: { ...json(Type.Union([PastFleet, FleetNow])), querystring: FleetQuery } },
    async ({ query }, reply) => {
      const { at } = query;
      if (at !== undefined) return past.fleet({ ...query, at }, reply);
      const fleets = new Map<string, { key: string; value: unknown }[]>();
      const kinds = kindsOf(query.kinds);
      for (const [key, value] of state.fleet) {
        const [token = "", kind = ""] = key.split(".");
        const fleet = decodeToken(token) ?? token;
        if (query.fleet !== undefined && fleet !== query.fleet) continue;
        if (kinds !== null && !kinds.has(kind)) continue;
        const rows = fleets.get(fleet) ?? [];
        rows.push({ key, value: kind === "secrets" ? withoutSealed(value as SecretRow) : value });
        fleets.set(fleet, rows);
      }
      const named = [...fleets].sort(([a], [b]) => (a < b ? -1 : 1));
      return {
        at: Math.round(now()),
        fleets: named.map(([fleet, rows]) => {
          return { fleet, revision: state.fleetRevisions.get(fleet) ?? 0, rows: rows.sort(byKey) };
        }),
      };
    },
  );

  registerIntents(app, { state, orders, now });

  app.get("/livez", (_request, reply) =>
    reply
      .code(health.live === null ? 200 : 500)
      .type("text/plain")
      .send(`${health.live ?? "ok"}\n`),
  );
  app.get("/readyz", (_request, reply) => {
    const waiting = [...health.waiting].map(([part, reason]) => `${part}: ${reason}`);
    reply.code(health.ready ? 200 : 503).type("text/plain");
    return `${waiting.join("\n") || (health.live ?? "ok")}\n`;
  });
  return app;
}

/** For proxies alone: nobody else has a use for it. */
function withoutSealed({ sealed: _, ...row }: SecretRow): Omit<SecretRow, "sealed"> {
  return row;
}

function byKey(a: { readonly key: string }, b: { readonly key: string }): number {
  return a.key < b.key ? -1 : 1;
}
