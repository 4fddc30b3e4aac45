import { type Directive, directive as d, jsonLine, quoted, type Value, word as w } from "./nginx-text.ts";

/** Where requests are written, one JSON object a line: into a file of nginx's folder, or to its standard output. */
export type AccessLog = "file" | "stdout";

export const accessLogPathOf = (dir: string): string => `${dir}/access.log`;

/** What a line says: name, nginx's variable, whether it is a number, and the meaning. docs/reference/access-log.md lists it. */
export const accessLogFields: readonly (readonly [
  name: string,
  value: Value,
  kind: "text" | "number",
  meaning: string,
])[] = [
  ["time", w`$time_iso8601`, "text", "when the answer was sent, to the second"],
  ["timestamp", w`$msec`, "number", "the same in seconds since 1970, to the millisecond"],
  [
    "request_id",
    w`$sluice_request_id`,
    "text",
    "the client's X-Request-Id, or one that was made; the peer gets it too",
  ],
  ["trace_id", w`$sluice_trace_id`, "text", "of the traceparent that the peer got (W3C Trace Context)"],
  [
    "remote_addr",
    w`$remote_addr`,
    "text",
    "the client, as far as it is believed (reference/proxy-headers.md)",
  ],
  ["method", w`$request_method`, "text", ""],
  ["scheme", w`$sluice_scheme`, "text", "that the client used"],
  ["host", w`$sluice_host`, "text", "that was asked for"],
  ["path", w`$sluice_path`, "text", "as it came, percent-encoded or not, without its query"],
  ["protocol", w`$server_protocol`, "text", ""],
  ["status", w`$sluice_status`, "number", "499: the client had gone; 0: none was sent"],
  ["request_bytes", w`$request_length`, "number", "line, header and body"],
  ["response_bytes", w`$bytes_sent`, "number", "line, header and body"],
  ["body_bytes", w`$body_bytes_sent`, "number", "the answer's body alone"],
  [
    "duration_seconds",
    w`$request_time`,
    "number",
    "from the first byte of the request to the last of the answer",
  ],
  ["route_host", w`$sluice_route_host`, "text", "the host of the rule; `_`: that of no host"],
  ["route_path", w`$sluice_route_path`, "text", "the path of the rule; empty: no rule took it"],
  ["namespace", w`$sluice_namespace`, "text", "of the MultiClusterIngress that the rule is from"],
  ["ingress", w`$sluice_ingress`, "text", "its name"],
  ["service", w`$sluice_service`, "text", "the ServiceImport"],
  ["cluster", w`$sluice_cluster`, "text", "of the peer that was asked last; empty: none was"],
  ["peer", w`$sluice_peer`, "text", "that peer, address and port"],
  ["upstream_addr", w`$upstream_addr`, "text", "each try, with commas between"],
  ["upstream_status", w`$upstream_status`, "text", "what each try came to"],
  [
    "upstream_connect_time",
    w`$upstream_connect_time`,
    "text",
    "seconds until each was connected; `-`: it never was",
  ],
  ["upstream_header_time", w`$upstream_header_time`, "text", "seconds until each sent its first byte"],
  ["upstream_response_time", w`$upstream_response_time`, "text", "seconds that each took in all"],
  ["reason", w`$sluice_reason`, "text", "why it was answered without a peer: X-Sluice-Reason"],
  ["user_agent", w`$sluice_agent`, "text", ""],
  ["referer", w`$sluice_referer`, "text", "without its query"],
];

/** Set by access_log.lua when a request has ended; declared like this they cost nothing before that. */
const SET_AT_THE_END: readonly Value[] = [
  w`$sluice_route_host`,
  w`$sluice_route_path`,
  w`$sluice_namespace`,
  w`$sluice_ingress`,
  w`$sluice_service`,
  w`$sluice_cluster`,
  w`$sluice_peer`,
  w`$sluice_reason`,
  w`$sluice_path`,
];

/** The same, where nginx's own mostly does. */
const CHANGED_AT_THE_END: readonly (readonly [Value, Value])[] = [
  [w`$sluice_host`, w`$host`],
  [w`$sluice_agent`, w`$http_user_agent`],
  [w`$sluice_referer`, w`$http_referer`],
];

/** In `http`. */
export function accessLogFormat(log: AccessLog | undefined): Directive[] {
  if (log === undefined) return [];
  return [
    ...SET_AT_THE_END.map((variable) => d("map", [w`""`, variable], [d("default", [w`""`])])),
    ...CHANGED_AT_THE_END.map(([variable, own]) => d("map", [w`""`, variable], [d("default", [own])])),
    d("map", [w`""`, w`$sluice_logged`], [d("default", [w`1`])]),
    d(
      "map",
      [w`$sluice_traceparent`, w`$sluice_trace_id`],
      [d('""', [w`""`]), d("default", [w`""`]), d('"~^..-(?<sluice_t>[0-9a-f]{32})-"', [w`$sluice_t`])],
    ),
    // A number in JSON does not begin with 0.
    d(
      "map",
      [w`$status`, w`$sluice_status`],
      [d("default", [w`$status`]), d("000", [w`0`]), d("009", [w`9`])],
    ),
    d("log_format", [w`sluice`, w`escape=json`, jsonLine(accessLogFields)]),
  ];
}

/** In a `server` that clients meet. */
export function accessLogOf(log: AccessLog | undefined, dir: string): Directive[] {
  if (log === undefined) return [];
  const to = log === "stdout" ? "/dev/stdout" : accessLogPathOf(dir);
  return [d("access_log", [quoted(to), w`sluice`, w`buffer=64k`, w`flush=1s`, w`if=$sluice_logged`])];
}
