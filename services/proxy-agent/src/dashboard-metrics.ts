import type { Metrics } from "@sluice/service-kit";
import type { NginxConnections } from "./nginx-client.ts";
import type { NginxProcesses } from "./nginx-processes.ts";
import { labelValue, RouteTraffic, type TrafficAnswer } from "./route-traffic.ts";

/** When a certificate that a host is shown ends. */
export interface CertificateExpiry {
  readonly host: string;
  readonly namespace: string;
  readonly secret: string;
  /** Seconds since 1970. */
  readonly at: number;
}

export interface DashboardOptions {
  readonly fleet: string;
  readonly proxy: string;
  /** Series of requests at most. Default 1,000: some 8 MB of text. */
  readonly mostSeries?: number;
}

/** Certificates that are shown one by one: those that end first. */
const MOST_CERTIFICATES = 1000;
const PREFIX = "nginx_ingress_controller_";

type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];

/**
 * What dashboards and alerts of ingress-nginx's users read, under its names and labels. Beside it stand `sluice_…`
 * metrics, which name no object.
 */
export class DashboardMetrics {
  readonly #options: DashboardOptions;
  readonly #constant: Readonly<Record<string, string>>;
  readonly #traffic: RouteTraffic;
  #config = "";
  #reload: { ok: boolean; at: number } | null = null;
  #reloads = 0;
  #failures = 0;
  #connections: NginxConnections | null = null;
  #processes: NginxProcesses | null = null;
  #certificates: () => readonly CertificateExpiry[] = () => [];

  constructor(metrics: Metrics, options: DashboardOptions) {
    this.#options = options;
    this.#constant = {
      controller_class: options.fleet,
      controller_namespace: process.env["POD_NAMESPACE"] ?? "",
      controller_pod: options.proxy,
    };
    this.#traffic = new RouteTraffic(options.mostSeries ?? 1000, this.#constant);
    metrics.also(() => this.text());
  }

  /** @param now monotonic milliseconds */
  traffic(answer: TrafficAnswer, now: number): void {
    this.#traffic.add(answer, now);
  }

  /** A configuration that nginx runs with. @param now milliseconds since 1970 */
  runs(config: string, now: number): void {
    if (this.#config === "") this.#reload ??= { ok: true, at: now };
    this.#config = config;
  }

  /** @param now milliseconds since 1970 */
  reloaded(ok: boolean, now: number): void {
    this.#reload = { ok, at: ok ? now : (this.#reload?.at ?? 0) };
    if (ok) this.#reloads++;
    else this.#failures++;
  }

  connections(now: NginxConnections): void {
    this.#connections = now;
  }

  processes(now: NginxProcesses | null): void {
    this.#processes = now;
  }

  /** Asked for when somebody reads. */
  certificates(read: () => readonly CertificateExpiry[]): void {
    this.#certificates = read;
  }

  text(): string {
    return `${[...this.#configuration(), ...this.#nginx(), ...this.#expiries()].join("\n")}\n${this.#traffic.text(PREFIX)}`;
  }

  #metric(type: "gauge" | "counter", name: string, help: string, ...samples: readonly Sample[]): string[] {
    const lines = samples.map(([labels, value]) => {
      const text = Object.entries(labels)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([label, of]) => `${label}="${labelValue(of)}"`);
      return `${PREFIX}${name}{${text.join(",")}} ${value}`;
    });
    return [`# HELP ${PREFIX}${name} ${help}`, `# TYPE ${PREFIX}${name} ${type}`, ...lines];
  }

  #own(type: "gauge" | "counter", name: string, help: string, value: number): string[] {
    return this.#metric(type, name, help, [this.#constant, value]);
  }

  #configuration(): string[] {
    const { ok, at } = this.#reload ?? { ok: false, at: 0 };
    return [
      // As many digits as a double holds.
      ...this.#own(
        "gauge",
        "config_hash",
        "Hash of the configuration that runs.",
        Number.parseInt(this.#config.slice(0, 13) || "0", 16),
      ),
      ...this.#own(
        "gauge",
        "config_last_reload_successful",
        "1: the last reload was taken by nginx.",
        ok ? 1 : 0,
      ),
      ...this.#own(
        "gauge",
        "config_last_reload_successful_timestamp_seconds",
        "When nginx last took a configuration, in seconds since 1970.",
        at / 1000,
      ),
      ...this.#own("counter", "success", "Reloads that nginx took.", this.#reloads),
      ...this.#own("counter", "errors", "Reloads that were taken back.", this.#failures),
    ];
  }

  #nginx(): string[] {
    const out: string[] = [];
    const connections = this.#connections;
    if (connections !== null) {
      const { active, reading, writing, waiting, accepted, handled, requests } = connections;
      const states = (of: Readonly<Record<string, number>>) =>
        Object.entries(of).map(([state, n]): Sample => [{ ...this.#constant, state }, n]);
      out.push(
        ...this.#metric(
          "gauge",
          "nginx_process_connections",
          "Connections of clients by state.",
          ...states({ active, reading, writing, waiting }),
        ),
        ...this.#metric(
          "counter",
          "nginx_process_connections_total",
          "Connections of clients since nginx began.",
          ...states({ accepted, handled }),
        ),
        ...this.#own("counter", "nginx_process_requests_total", "Requests since nginx began.", requests),
      );
    }
    const processes = this.#processes;
    if (processes === null) return out;
    const gauges = [
      ["num_procs", "Processes of nginx.", processes.processes],
      ["resident_memory_bytes", "Memory that they use.", processes.residentBytes],
      ["virtual_memory_bytes", "Memory that they may use.", processes.virtualBytes],
      ["oldest_start_time_seconds", "When the first began, in seconds since 1970.", processes.startedAt],
    ] as const;
    const counters = [
      ["cpu_seconds_total", "Processor time that they took.", processes.cpuSeconds],
      ["read_bytes_total", "Bytes that they read from disks.", processes.readBytes],
      ["write_bytes_total", "Bytes that they wrote to disks.", processes.writeBytes],
    ] as const;
    out.push(...gauges.flatMap(([name, help, n]) => this.#own("gauge", `nginx_process_${name}`, help, n)));
    out.push(
      ...counters.flatMap(([name, help, n]) => this.#own("counter", `nginx_process_${name}`, help, n)),
    );
    return out;
  }

  #expiries(): string[] {
    const soonest = this.#certificates()
      .toSorted((a, b) => a.at - b.at)
      .slice(0, MOST_CERTIFICATES);
    const { fleet } = this.#options;
    return this.#metric(
      "gauge",
      "ssl_expire_time_seconds",
      "When the certificate of a host ends, in seconds since 1970.",
      ...soonest.map(
        ({ host, namespace, secret, at }): Sample => [
          { class: fleet, host, namespace, secret_name: secret },
          at,
        ],
      ),
    );
  }
}
