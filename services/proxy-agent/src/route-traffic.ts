import Type from "typebox";

const LABELS = ["canary", "host", "ingress", "method", "namespace", "path", "service", "status"] as const;

/** What nginx has counted of one route's requests with one method and one status since it was asked before. */
const Series = Type.Object({
  labels: Type.Object({
    host: Type.String(),
    path: Type.String(),
    namespace: Type.String(),
    ingress: Type.String(),
    service: Type.String(),
    canary: Type.String(),
    method: Type.String(),
    status: Type.Integer({ minimum: 0, maximum: 599 }),
  }),
  values: Type.Array(Type.Number()),
});
type Series = Type.Static<typeof Series>;
export const TrafficAnswer = Type.Array(Type.Array(Series));
export type TrafficAnswer = Type.Static<typeof TrafficAnswer>;

/** Upper bounds of buckets, those of ingress-nginx: seconds, and bytes. traffic.lua has the same. */
const TIMES = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const SIZES = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100];

interface HistogramPlace {
  readonly name: string;
  readonly help: string;
  readonly bounds: readonly number[];
  /** Where its buckets begin among a series' values; behind the last one its sum. */
  readonly at: number;
}

/** In the order of traffic.lua; before them the number of requests. */
const histograms: readonly HistogramPlace[] = placed(
  ["request_duration_seconds", "Time from the first byte of a request to the last of its answer.", TIMES],
  ["response_duration_seconds", "Time until a peer had sent its whole answer.", TIMES],
  ["header_duration_seconds", "Time until a peer had sent the header of its answer.", TIMES],
  ["connect_duration_seconds", "Time until a connection to a peer stood.", TIMES],
  ["request_size", "Bytes of a request: line, header and body.", SIZES],
  ["response_size", "Bytes of an answer: line, header and body.", SIZES],
);

function placed(
  ...each: readonly (readonly [name: string, help: string, bounds: readonly number[]])[]
): HistogramPlace[] {
  let at = 1;
  return each.map(([name, help, bounds]) => {
    const place = { name, help, bounds, at };
    at += bounds.length + 2;
    return place;
  });
}

const end = histograms.at(-1) as HistogramPlace;
/** Values of one series. */
const PLACES = end.at + end.bounds.length + 2;

interface Kept {
  /** As Prometheus writes them, without braces. */
  readonly labels: string;
  /** Of the deprecated summary of connect times. */
  readonly few: string;
  readonly values: Float64Array;
  /** Monotonic milliseconds. */
  lastAt: number;
}

const IDLE_MS = 3_600_000;

export function labelValue(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

/**
 * Counts and histograms of requests by route, as text of Prometheus under ingress-nginx's names. Of series there are
 * `most` at most: what comes above that counts as `other`, by class of status; one that was idle for an hour makes room.
 */
export class RouteTraffic {
  readonly #most: number;
  readonly #constant: readonly (readonly [string, string])[];
  readonly #kept = new Map<string, Kept>();

  /** @param constant labels of every series */
  constructor(most: number, constant: Readonly<Record<string, string>>) {
    this.#most = most;
    this.#constant = Object.entries(constant);
  }

  add(answer: TrafficAnswer, now: number): void {
    for (const batch of answer) {
      for (const { labels, values } of batch) {
        // Another version of the Lua beside this one: until the reload that follows.
        if (values.length !== PLACES) continue;
        const kept = this.#of(labels, now);
        for (const [i, value] of values.entries()) kept.values[i] = (kept.values[i] ?? 0) + value;
        kept.lastAt = now;
      }
    }
  }

  get size(): number {
    return this.#kept.size;
  }

  #of(labels: Series["labels"], now: number): Kept {
    const key = JSON.stringify(LABELS.map((name) => labels[name]));
    const known = this.#kept.get(key);
    if (known !== undefined) return known;
    if (this.#kept.size >= this.#most) this.#forgetIdle(now);
    if (this.#kept.size >= this.#most && labels.host !== "other") {
      const status = Math.floor(labels.status / 100);
      return this.#of({ ...OTHER, status }, now);
    }
    const made = this.#made(labels, now);
    this.#kept.set(key, made);
    return made;
  }

  #made(labels: Series["labels"], now: number): Kept {
    const { status } = labels;
    const shown = {
      ...labels,
      status: labels.host === "other" && status < 10 ? `${status}xx` : String(status),
    };
    const text = (names: readonly (keyof typeof shown)[]) =>
      [...this.#constant, ...names.map((name) => [name, shown[name]] as const)]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, value]) => `${name}="${labelValue(value)}"`)
        .join(",");
    return {
      labels: text(LABELS),
      few: text(["canary", "ingress", "namespace", "service"]),
      values: new Float64Array(PLACES),
      lastAt: now,
    };
  }

  #forgetIdle(now: number): void {
    for (const [key, { lastAt }] of this.#kept) if (now - lastAt > IDLE_MS) this.#kept.delete(key);
  }

  /** @param prefix of every name */
  text(prefix: string): string {
    const out: string[] = [
      `# HELP ${prefix}requests Requests of clients.`,
      `# TYPE ${prefix}requests counter`,
    ];
    const all = [...this.#kept.values()];
    for (const { labels, values } of all) out.push(`${prefix}requests{${labels}} ${values[0]}`);
    for (const { name, help, bounds, at } of histograms) {
      out.push(`# HELP ${prefix}${name} ${help}`, `# TYPE ${prefix}${name} histogram`);
      for (const { labels, values } of all) {
        let count = 0;
        const buckets = bounds.map((bound, i) => {
          count += values[at + i] ?? 0;
          return `${prefix}${name}_bucket{${labels},le="${bound}"} ${count}`;
        });
        count += values[at + bounds.length] ?? 0;
        // A route whose requests never reach a peer has no times of peers.
        if (count === 0) continue;
        out.push(
          ...buckets,
          `${prefix}${name}_bucket{${labels},le="+Inf"} ${count}`,
          `${prefix}${name}_sum{${labels}} ${rounded(values[at + bounds.length + 1] ?? 0)}`,
          `${prefix}${name}_count{${labels}} ${count}`,
        );
      }
    }
    out.push(...this.#latency(prefix, all));
    return `${out.join("\n")}\n`;
  }

  /** What ingress-nginx calls deprecated, and its dashboard reads. */
  #latency(prefix: string, all: readonly Kept[]): string[] {
    const { at, bounds } = histograms.find(
      ({ name }) => name === "connect_duration_seconds",
    ) as HistogramPlace;
    const sums = new Map<string, { count: number; sum: number }>();
    for (const { few, values } of all) {
      const into = sums.get(few) ?? { count: 0, sum: 0 };
      for (let i = 0; i <= bounds.length; i++) into.count += values[at + i] ?? 0;
      into.sum += values[at + bounds.length + 1] ?? 0;
      if (into.count > 0) sums.set(few, into);
    }
    const name = `${prefix}ingress_upstream_latency_seconds`;
    return [
      `# HELP ${name} As connect_duration_seconds, without quantiles.`,
      `# TYPE ${name} summary`,
      ...[...sums].flatMap(([labels, { count, sum }]) => [
        `${name}_sum{${labels}} ${rounded(sum)}`,
        `${name}_count{${labels}} ${count}`,
      ]),
    ];
  }
}

const OTHER = {
  host: "other",
  path: "other",
  namespace: "other",
  ingress: "other",
  service: "other",
  canary: "",
  method: "other",
};

function rounded(value: number): number {
  return Math.round(value * 1e6) / 1e6;
}
