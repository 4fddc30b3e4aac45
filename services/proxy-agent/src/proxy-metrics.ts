import type { Clock, Metrics } from "@sluice/service-kit";
import { DashboardMetrics, type DashboardOptions } from "./dashboard-metrics.ts";
import type { NginxConnections, NginxState } from "./nginx-client.ts";

/** What an agent measures of itself and of its nginx. */
export class ProxyMetrics {
  readonly #metrics: Metrics;
  readonly #clock: Clock;
  readonly dashboard: DashboardMetrics;
  #last: Record<string, number> = {};
  #instance = "";

  constructor(metrics: Metrics, options: DashboardOptions, clock: Clock) {
    this.#metrics = metrics;
    this.#clock = clock;
    this.dashboard = new DashboardMetrics(metrics, options);
  }

  applied(seconds: number, rows: number, refused: number): void {
    this.#metrics
      .histogram(
        "sluice_proxy_apply_duration_seconds",
        "Time from sending rows to nginx to its answer.",
        [0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 1],
      )
      .observe(seconds);
    const total = this.#metrics.counter("sluice_proxy_rows_total", "Rows sent to nginx by outcome.", [
      "result",
    ]);
    total.inc({ result: "applied" }, rows - refused);
    total.inc({ result: "refused" }, refused);
  }

  reloaded(reason: "profiles" | "settings" | "rolled_back"): void {
    this.#metrics
      .counter("sluice_nginx_reloads_total", "Reloads of nginx by reason.", ["reason"])
      .inc({ reason });
    this.dashboard.reloaded(reason !== "rolled_back", this.#clock.now());
  }

  /** What is begun and not finished has failed, or is under way: OpenSSL counts no failures. */
  #handshakes(grown: (name: string) => number): void {
    this.#metrics
      .counter("sluice_proxy_tls_handshakes_begun_total", "TLS handshakes that clients began.")
      .inc(grown("handshakes_begun"));
    const finished = this.#metrics.counter(
      "sluice_proxy_tls_handshakes_total",
      "TLS handshakes of clients that succeeded.",
      ["resumed"],
    );
    finished.inc({ resumed: "false" }, grown("handshakes_full"));
    finished.inc({ resumed: "true" }, grown("handshakes_resumed"));
  }

  #copies(grown: (name: string) => number): void {
    const mirrored = this.#metrics.counter(
      "sluice_proxy_mirrored_requests_total",
      "Copies of requests for mirror-target: that it has answered, that failed, and that were not sent.",
      ["result"],
    );
    mirrored.inc({ result: "answered" }, grown("mirrored"));
    mirrored.inc({ result: "failed" }, grown("mirror_failures"));
    mirrored.inc({ result: "dropped" }, grown("mirror_drops"));
  }

  /** Who was not let in, and why that was not for the client to mend. */
  #admission(grown: (name: string) => number): void {
    const limited = this.#metrics.counter(
      "sluice_proxy_limited_requests_total",
      "Requests refused because their client came too often.",
      ["limit"],
    );
    limited.inc({ limit: "rate" }, grown("limited_requests"));
    limited.inc({ limit: "connections" }, grown("limited_connections"));
    const unheld = this.#metrics.counter(
      "sluice_proxy_limits_unheld_total",
      "Clients forgotten, and requests not counted, because the memory for limits was full.",
      ["reason"],
    );
    unheld.inc({ reason: "forgotten" }, grown("limits_forgotten"));
    unheld.inc({ reason: "uncounted" }, grown("limits_uncounted"));
    this.#metrics
      .counter(
        "sluice_proxy_auth_failures_total",
        "Requests refused because the service that auth-url names did not say whether they may come in.",
      )
      .inc(grown("auth_failures"));
    this.#metrics
      .counter(
        "sluice_proxy_passwords_unchecked_total",
        "Requests refused because too many wrong passwords were being checked.",
      )
      .inc(grown("passwords_unchecked"));
  }

  /** @param ends when each certificate that is shown to clients ends, ms */
  certificates(ends: () => Iterable<number>): void {
    this.#metrics.watched(
      "sluice_proxy_certificate_expiry_timestamp_seconds",
      "When the first of the certificates that are shown to clients ends; NaN: there is none.",
      () => {
        let first = Number.POSITIVE_INFINITY;
        for (const at of ends()) first = Math.min(first, at);
        return Number.isFinite(first) ? first / 1000 : Number.NaN;
      },
    );
  }

  held(
    rows: { routes: number; upstreams: number; peers: number; secrets: number },
    refusedPeers: number,
  ): void {
    const gauge = this.#metrics.gauge("sluice_proxy_rows", "Rows that nginx holds by kind.", ["kind"]);
    for (const [kind, n] of Object.entries(rows)) gauge.set({ kind }, n);
    this.#metrics
      .gauge("sluice_proxy_refused_peers", "Peers left out because their address is not allowed.")
      .set(refusedPeers);
  }

  connections(now: NginxConnections): void {
    this.dashboard.connections(now);
    const gauge = this.#metrics.gauge("sluice_proxy_connections", "Connections of clients by state.", [
      "state",
    ]);
    for (const state of ["active", "reading", "writing", "waiting"] as const)
      gauge.set({ state }, now[state]);
  }

  /** nginx counts from its own start; what it counted before that stays counted. */
  nginx(state: NginxState): void {
    this.dashboard.runs(state.config, this.#clock.now());
    const before = state.instance === this.#instance ? this.#last : {};
    const grown = (name: string) => Math.max(0, (state.counters[name] ?? 0) - (before[name] ?? 0));
    const requests = this.#metrics.counter(
      "sluice_proxy_requests_total",
      "Requests of clients by class of status.",
      ["class"],
    );
    for (const name of Object.keys(state.counters)) {
      const status = /^requests_(\dxx)$/.exec(name)?.[1];
      if (status !== undefined) requests.inc({ class: status }, grown(name));
    }
    this.#metrics
      .counter("sluice_proxy_retries_total", "Tries of requests on another peer.")
      .inc(grown("retries"));
    this.#metrics
      .counter(
        "sluice_proxy_retries_refused_total",
        "Failed requests that were not tried again: their body had been sent, or too many were.",
      )
      .inc(grown("retries_refused"));
    this.#metrics
      .counter("sluice_proxy_ejections_total", "Peers and clusters put on hold after failures.")
      .inc(grown("ejections"));
    this.#handshakes(grown);
    this.#admission(grown);
    this.#copies(grown);
    this.#last = state.counters;
    this.#instance = state.instance;
  }
}
