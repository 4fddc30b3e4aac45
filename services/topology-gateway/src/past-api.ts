import { Readable } from "node:stream";
import {
  type BusLog,
  changesSince,
  entriesOf,
  type Past,
  type PastChange,
  pastAt,
  reachOf,
  recordedTables,
} from "@sluice/bus";
import {
  ApiProblem,
  BusUnreachableError,
  clusterStateChange,
  DiffAnswer,
  decodeToken,
  type FleetCluster,
  fleetTable,
  GatewayBusyError,
  type HistoryEntry,
  type HistoryLine,
  historyEntry,
  type IntentRecord,
  intentsTable,
  type LogLine,
  type LogReach,
  type Moment,
  orderChange,
  type PastFleet,
  type PastTopology,
  parseMoment,
  type ServiceChange,
  SluiceError,
  serviceChange,
  type TableSpec,
  type TopologyValue,
  topologyKeys,
  topologyTable,
} from "@sluice/contracts";
import { type Clock, type Logger, slept } from "@sluice/service-kit";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import Type from "typebox";

/** Answers about the past at a time; each may hold all that the tables hold. */
const MOST_READERS = 4;
/** Callers that follow at a time; each holds what `topology` holds, and the fleets' routes. */
const MOST_FOLLOWERS = 16;
/** So often a follower that hears nothing else gets an empty line: what stands between would take it for dead. */
const KEEP_ALIVE_MS = 15_000;

export interface PastApi {
  /** null: nobody keeps a log. */
  readonly log: BusLog | null;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  readonly clock: Clock;
}

const Name = Type.Optional(Type.String({ maxLength: 253 }));
const When = Type.Optional(Type.String({ maxLength: 64 }));
const HistoryQuery = Type.Object({
  since: When,
  namespace: Name,
  service: Name,
  cluster: Name,
  follow: Type.Optional(Type.Boolean()),
});
const IntervalQuery = Type.Object({ from: When, to: When, namespace: Name, service: Name });
type Interval = Type.Static<typeof IntervalQuery>;

/** HTTP status of a failure, by its exit code. */
const STATUS: Readonly<Record<number, number>> = { 64: 400, 65: 422, 69: 503, 77: 403 };

/** The past over HTTP: history, differences, the log itself. */
export class PastRoutes {
  readonly #api: PastApi;
  #readers = 0;
  #followers = 0;

  constructor(api: PastApi) {
    this.#api = api;
  }

  register(app: FastifyInstance): void {
    const json = (schema: Type.TSchema) => ({
      response: { 200: schema, "4xx": ApiProblem, "5xx": ApiProblem },
    });
    app.setErrorHandler((error: Error & { statusCode?: number }, _request, reply) => {
      const known = error instanceof SluiceError;
      const statusCode = known ? (STATUS[error.exit] ?? 500) : (error.statusCode ?? 500);
      if (statusCode === 500) this.#api.logger.error({ err: error }, "a request failed");
      return reply.code(statusCode).send({
        statusCode,
        message: error.message,
        ...(known ? { code: error.code } : {}),
      });
    });

    app.get<{ Querystring: Type.Static<typeof HistoryQuery> }>(
      "/api/v1/history",
      { schema: { querystring: HistoryQuery } },
      async (request, reply) => {
        const resumed = request.headers["last-event-id"];
        // Where a browser goes on after a break: it repeats the id of the event that it heard last.
        const since =
          typeof resumed === "string" && /^[0-9]{1,15}$/.test(resumed) ? `#${resumed}` : undefined;
        const query = { ...request.query, ...(since === undefined ? {} : { since }) };
        const release = query.follow === true ? this.#take("followers") : this.#take("readers");
        return this.#stream(request, reply, release, (signal) => this.#history(query, signal));
      },
    );

    app.get<{ Querystring: Interval }>(
      "/api/v1/diff",
      { schema: { ...json(DiffAnswer), querystring: IntervalQuery } },
      async (request, reply) => {
        using _place = held(this.#take("readers"));
        return this.#diff(request.query, this.#ended(reply));
      },
    );

    app.get<{ Querystring: Interval }>(
      "/api/v1/log",
      { schema: { querystring: IntervalQuery } },
      async (request, reply) => {
        const { from, to } = request.query;
        const { log } = this;
        if (from === undefined && to === undefined) return reachOf(log, this.#ended(reply));
        // With the spacing that it had a recording may take days.
        const release = this.#take("followers");
        return this.#stream(request, reply, release, (signal) => this.#recording(request.query, signal));
      },
    );
  }

  get log(): BusLog {
    if (this.#api.log === null) throw new BusUnreachableError("this bus keeps no log");
    return this.#api.log;
  }

  /** `topology` as it was believed. @throws LogOutOfReachError, MomentError */
  async topology(
    query: { at: string; namespace?: string | undefined; service?: string | undefined },
    reply: FastifyReply,
  ): Promise<PastTopology> {
    using _place = held(this.#take("readers"));
    const past = await this.#past(this.#moment(query.at), [topologyTable], this.#ended(reply));
    const rows = topologyRows(past).filter(({ value }) => concerns(query, value));
    return { place: placeOf(past), gaps: past.gaps, rows };
  }

  async fleet(
    query: { at: string; fleet?: string | undefined; kinds?: string | undefined },
    reply: FastifyReply,
  ): Promise<PastFleet> {
    using _place = held(this.#take("readers"));
    const past = await this.#past(this.#moment(query.at), [fleetTable], this.#ended(reply));
    const fleets = new Map<string, { key: string; value: unknown }[]>();
    const kinds = kindsOf(query.kinds);
    for (const [key, value] of past.table(fleetTable).believed()) {
      const [token = "", kind = ""] = key.split(".");
      const fleet = decodeToken(token) ?? token;
      if (query.fleet !== undefined && fleet !== query.fleet) continue;
      if (kinds !== null && !kinds.has(kind)) continue;
      const rows = fleets.get(fleet) ?? [];
      rows.push({ key, value });
      fleets.set(fleet, rows);
    }
    const named = [...fleets].sort(([a], [b]) => (a < b ? -1 : 1));
    return {
      place: placeOf(past),
      gaps: past.gaps,
      fleets: named.map(([fleet, rows]) => ({ fleet, rows: rows.sort(byKey) })),
    };
  }

  #moment(text: string): Moment {
    return parseMoment(text, this.#api.clock.now());
  }

  #past(moment: Moment, specs: readonly TableSpec[], signal: AbortSignal): Promise<Past> {
    return pastAt(this.log, moment, specs, signal);
  }

  async #diff(query: Interval, signal: AbortSignal): Promise<DiffAnswer> {
    const before = await this.#past(this.#moment(query.from ?? "1h"), [topologyTable], signal);
    const from = placeOf(before);
    const rowsBefore = new Map(topologyRows(before).map(({ key, value }) => [key, value]));
    const gaps = [...before.gaps];
    const after = await this.#past(this.#moment(query.to ?? "now"), [topologyTable], signal);
    const rowsAfter = new Map(topologyRows(after).map(({ key, value }) => [key, value]));
    for (const gap of after.gaps) if (!gaps.some(({ seq }) => seq === gap.seq)) gaps.push(gap);
    const changes: ServiceChange[] = [];
    for (const key of [...new Set([...rowsBefore.keys(), ...rowsAfter.keys()])].sort()) {
      const change = serviceChange(rowsBefore.get(key), rowsAfter.get(key));
      if (change !== null && concerns(query, change)) changes.push(change);
    }
    return { from, to: placeOf(after), gaps, changes };
  }

  async *#history(query: Type.Static<typeof HistoryQuery>, signal: AbortSignal): AsyncGenerator<HistoryLine> {
    const found = await reachOf(this.log, signal);
    const since =
      query.since === undefined ? sinceThen(found, this.#api.clock.now()) : this.#moment(query.since);
    const past = await this.#past(since, historyTables, signal);
    yield { start: { place: placeOf(past), reach: found } };
    let told = 0;
    const range = { follow: query.follow === true };
    for await (const { entry, change } of changesSince(this.log, past, historyTables, range, signal)) {
      for (; told < past.gaps.length; told++) yield { gap: past.gaps[told]! };
      const what = happened(change);
      if (what === null) continue;
      if ("service" in what ? !concerns(query, what) : !concernsCluster(query, what.cluster, past)) continue;
      if (query.cluster !== undefined && what.cluster !== query.cluster) continue;
      const { seq, at, revision } = entry;
      yield { entry: historyEntry(what, { seq, at, boot: past.boot, record: revision }, change) };
    }
    yield { end: placeOf(past) };
  }

  /** Everything that a replay needs: the tables at `from`, then what came until `to`. */
  async *#recording(query: Interval, signal: AbortSignal): AsyncGenerator<LogLine> {
    const { log } = this;
    const found = await reachOf(log, signal);
    const to = await sequenceOf(log, this.#moment(query.to ?? "now"), signal);
    const past = await this.#past(this.#moment(query.from ?? "1h"), recordedTables, signal);
    yield { start: { place: placeOf(past), reach: found, boot: past.boot } };
    for (const spec of recordedTables) {
      const rows = [...past.table(spec).raw.values()].sort((a, b) => a.revision - b.revision);
      for (const { key, revision, value } of rows) {
        yield { state: { table: spec.name, key, revision, value: Buffer.from(value).toString("utf8") } };
      }
    }
    let told = past.gaps.length;
    let boot = past.boot;
    const names = new Set(recordedTables.map(({ name }) => name));
    for await (const entry of entriesOf(log, recordedTables, { from: past.seq + 1, to }, signal)) {
      past.apply(entry);
      for (; told < past.gaps.length; told++) yield { gap: past.gaps[told]! };
      if (boot !== past.boot) {
        boot = past.boot;
        yield { boot };
      }
      if (!names.has(entry.table)) continue;
      const { table, key, revision, seq, at } = entry;
      yield { entry: { table, key, revision, seq, at, value: Buffer.from(entry.value).toString("utf8") } };
    }
    yield { end: placeOf(past) };
  }

  /** A place among those that are served at once; to be given back. */
  #take(kind: "readers" | "followers"): () => void {
    const [count, most] =
      kind === "readers" ? [this.#readers, MOST_READERS] : [this.#followers, MOST_FOLLOWERS];
    if (count >= most) {
      throw new GatewayBusyError(`${most} others are being told the past; ask again in some seconds`);
    }
    const add = (by: number) => {
      if (kind === "readers") this.#readers += by;
      else this.#followers += by;
    };
    add(1);
    let taken = true;
    return () => {
      if (taken) add(-1);
      taken = false;
    };
  }

  /** Aborts when nobody listens any more. */
  #ended(reply: FastifyReply): AbortSignal {
    const gone = new AbortController();
    reply.raw.once("close", () => gone.abort(new Error("the caller is gone")));
    return AbortSignal.any([gone.signal, this.#api.signal]);
  }

  /**
   * Lines of JSON, or server-sent events where those are asked for. Until the first line is there a failure is an
   * answer of its own; afterwards it is the last line.
   */
  async #stream<T extends object>(
    request: FastifyRequest,
    reply: FastifyReply,
    release: () => void,
    lines: (signal: AbortSignal) => AsyncGenerator<T>,
  ): Promise<FastifyReply> {
    const signal = this.#ended(reply);
    reply.raw.once("close", release);
    const events = request.headers.accept?.includes("text/event-stream") === true;
    try {
      const generator = lines(signal);
      const first = await generator.next();
      const text = (line: T | { error: object } | null) => {
        if (line === null) return events ? ":\n\n" : "\n";
        if (!events) return `${JSON.stringify(line)}\n`;
        const seq = (line as HistoryLine).entry?.seq;
        return `${seq === undefined ? "" : `id: ${seq}\n`}data: ${JSON.stringify(line)}\n\n`;
      };
      const body = Readable.from(this.#texts(first, generator, text, signal));
      // Proxies that gather answers would hold back what is told as it happens.
      reply.header("cache-control", "no-store").header("x-accel-buffering", "no");
      return reply.type(events ? "text/event-stream" : "application/x-ndjson").send(body);
    } catch (error) {
      release();
      throw error;
    }
  }

  /** null: it is not there yet, and whoever waits should hear something. */
  async #within<T>(coming: Promise<T>, signal: AbortSignal): Promise<T | null> {
    const there = new AbortController();
    const waiting = slept(this.#api.clock, KEEP_ALIVE_MS, AbortSignal.any([signal, there.signal]));
    try {
      return await Promise.race([coming, waiting.then((over) => (over ? null : coming))]);
    } finally {
      there.abort();
    }
  }

  async *#texts<T extends object>(
    first: IteratorResult<T>,
    rest: AsyncGenerator<T>,
    text: (line: T | { error: object } | null) => string,
    signal: AbortSignal,
  ): AsyncGenerator<string> {
    try {
      for (let line = first; line.done !== true; ) {
        yield text(line.value);
        const next = rest.next();
        for (let got = await this.#within(next, signal); ; got = await this.#within(next, signal)) {
          if (got !== null) {
            line = got;
            break;
          }
          yield text(null);
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      const { message } = error as Error;
      this.#api.logger.warn({ err: error }, "the past could not be told to its end");
      yield text({ error: { message, ...(error instanceof SluiceError ? { code: error.code } : {}) } });
    }
  }
}

/** Kinds of rows that are asked for; null: all. */
export function kindsOf(query: string | undefined): ReadonlySet<string> | null {
  return query === undefined ? null : new Set(query.split(","));
}

/** Of whose changes the history tells. */
const historyTables: readonly TableSpec[] = [topologyTable, intentsTable, fleetTable];

/** What a change of a table means to people; null: nothing. Of fleets only clusters' states are told, not routes. */
function happened({ table, key, before, after, takenBack }: PastChange): HistoryEntry["change"] | null {
  if (table === topologyTable.name)
    return serviceChange(before as TopologyValue | undefined, after as TopologyValue | undefined);
  if (table === intentsTable.name)
    return orderChange(before as IntentRecord | undefined, after as IntentRecord | undefined, takenBack);
  const [fleet = "", kind] = key.split(".");
  if (kind !== "clusters") return null;
  const rows = [before as FleetCluster | undefined, after as FleetCluster | undefined] as const;
  return clusterStateChange(decodeToken(fleet) ?? fleet, ...rows);
}

/** A service's history holds what happened to clusters that had peers of it, by its full name. */
function concernsCluster(
  { namespace, service }: { readonly namespace?: string | undefined; readonly service?: string | undefined },
  cluster: string,
  past: Past,
): boolean {
  if (namespace === undefined && service === undefined) return true;
  if (namespace === undefined || service === undefined) return false;
  return past.table(topologyTable).get(topologyKeys.peers(namespace, service, cluster)) !== undefined;
}

function held(release: () => void): Disposable {
  return { [Symbol.dispose]: release };
}

/** Without a wish: the last hour, or as much of it as can be told. */
function sinceThen({ oldest }: LogReach, now: number): Moment {
  return { at: Math.max(oldest?.at ?? 0, now - 3_600_000) };
}

async function sequenceOf(log: BusLog, moment: Moment, signal: AbortSignal): Promise<number> {
  return "seq" in moment ? moment.seq : (await log.firstAfter(moment.at, signal)) - 1;
}

function placeOf({ seq, at }: Past) {
  return { seq, at };
}

function topologyRows(past: Past): { key: string; value: TopologyValue }[] {
  const rows: { key: string; value: TopologyValue }[] = [];
  for (const [key, value] of past.table(topologyTable).believed())
    rows.push({ key, value: value as TopologyValue });
  return rows.sort(byKey);
}

function concerns(
  query: { readonly namespace?: string | undefined; readonly service?: string | undefined },
  of: { readonly namespace: string; readonly service: string },
): boolean {
  if (query.namespace !== undefined && query.namespace !== of.namespace) return false;
  return query.service === undefined || query.service === of.service;
}

function byKey(a: { readonly key: string }, b: { readonly key: string }): number {
  return a.key < b.key ? -1 : 1;
}
