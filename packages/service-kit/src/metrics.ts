import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

/** How often the delay of the event loop is looked at, ms: each look wakes the process, idle or not. */
const EVENT_LOOP_LOOK_MS = 100;

/** What every process measures. Base units, bounded labels: no host, peer or object name in a label. */
export class Metrics {
  readonly registry = new Registry();
  readonly #also: (() => string)[] = [];
  readonly #watched = new Map<string, (() => number)[]>();
  readonly stage: Histogram<"stage">;
  readonly dropped: Counter<"table" | "reason">;
  readonly writes: Counter<"table" | "result">;
  readonly errors: Counter<"error_type">;

  constructor(service: string, options: { readonly processMetrics?: boolean } = {}) {
    this.registry.setDefaultLabels({ service });
    if (options.processMetrics ?? false) {
      const eventLoopMonitoringPrecision = EVENT_LOOP_LOOK_MS;
      collectDefaultMetrics({ register: this.registry, eventLoopMonitoringPrecision });
    }
    const registers = [this.registry];
    this.stage = new Histogram({
      name: "sluice_change_stage_duration_seconds",
      help: "Time from the watch event of a change to the end of this stage.",
      labelNames: ["stage"],
      buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    });
    this.dropped = new Counter({
      name: "sluice_bus_records_dropped_total",
      help: "Records that a reader did not apply.",
      labelNames: ["table", "reason"],
      registers,
    });
    this.writes = new Counter({
      name: "sluice_bus_writes_total",
      help: "Writes to the bus by outcome.",
      labelNames: ["table", "result"],
      registers,
    });
    this.errors = new Counter({
      name: "sluice_errors_total",
      help: "Failures by code.",
      labelNames: ["error_type"],
      registers,
    });
  }

  /** Text of Prometheus that is written when somebody asks, for what is too much to be kept as metrics of this process. */
  also(write: () => string): void {
    this.#also.push(write);
  }

  /** All of it, as `/metrics` shows it. */
  async text(): Promise<string> {
    return [await this.registry.metrics(), ...this.#also.map((write) => write())].join("\n");
  }

  /** A gauge of this process; made once per name. */
  gauge<L extends string>(name: string, help: string, labelNames: readonly L[] = []): Gauge<L> {
    const existing = this.registry.getSingleMetric(name);
    if (existing !== undefined) return existing as Gauge<L>;
    return new Gauge({ name, help, labelNames: [...labelNames], registers: [this.registry] });
  }

  /** A gauge that is read when somebody asks; with several of one name, their sum. */
  watched(name: string, help: string, read: () => number): void {
    const readers = this.#watched.get(name);
    if (readers !== undefined) return void readers.push(read);
    const all = [read];
    this.#watched.set(name, all);
    new Gauge({
      name,
      help,
      registers: [this.registry],
      collect() {
        this.set(all.reduce((sum, each) => sum + each(), 0));
      },
    });
  }

  /** A counter of this process; made once per name. */
  counter<L extends string>(name: string, help: string, labelNames: readonly L[] = []): Counter<L> {
    const existing = this.registry.getSingleMetric(name);
    if (existing !== undefined) return existing as Counter<L>;
    return new Counter({ name, help, labelNames: [...labelNames], registers: [this.registry] });
  }

  /** A histogram of this process; made once per name. Buckets in base units. */
  histogram<L extends string>(
    name: string,
    help: string,
    buckets: readonly number[],
    labelNames: readonly L[] = [],
  ): Histogram<L> {
    const existing = this.registry.getSingleMetric(name);
    if (existing !== undefined) return existing as Histogram<L>;
    const registers = [this.registry];
    return new Histogram({ name, help, buckets: [...buckets], labelNames: [...labelNames], registers });
  }
}
