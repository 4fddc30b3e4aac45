// What is said to peers of a client: nothing of it is the client's own word, unless an operator trusts whoever it came
// through.
import { cidr, type Directive, directive as d, headerName, type Value, word as w } from "./nginx-text.ts";

/** Whom to believe about clients. */
export interface ClientTrust {
  /** CIDRs of load balancers and proxies in front. Empty: nobody is believed. */
  readonly from: readonly string[];
  /** Clients begin with a PROXY protocol header; whoever sends none is refused. */
  readonly proxyProtocol?: boolean;
  /** What they say in X-Forwarded-For, -Proto, -Host and -Port holds. */
  readonly forwardedHeaders?: boolean;
  /** The client's address is the one in X-Forwarded-For, or in the header in its place; nothing else of it holds. */
  readonly realIp?: boolean;
  /** Where clients come by PROXY protocol, its address goes before that of the header. */
  readonly proxyProtocolFirst?: boolean;
  /** In place of X-Forwarded-For, e.g. `CF-Connecting-IP`. */
  readonly forwardedForHeader?: string;
  /** Peers get what they said in X-Forwarded-For and who they are behind it, not the client's address alone. */
  readonly fullForwardedFor?: boolean;
}

export interface RequestIds {
  /** A request without X-Request-Id gets one. Default: yes. */
  readonly generate?: boolean;
  /** A request without a valid traceparent begins a trace. Default: no. */
  readonly traces?: boolean;
}

/** As W3C Trace Context has it: of version 00 nothing more may follow; ff is no version. */
const TRACEPARENT =
  '"~^(?:00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$|(?!00|ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-|$))"';

function constant(variable: Value, value: Value): Directive {
  return d("map", [w`""`, variable], [d("default", [value])]);
}

/** Who the client is: nginx takes it from a header or from PROXY protocol only where the connection is trusted. */
function realAddress(trust: ClientTrust): Directive[] {
  const {
    proxyProtocol = false,
    forwardedHeaders = false,
    realIp = false,
    proxyProtocolFirst = false,
  } = trust;
  if (trust.from.length === 0 || !(proxyProtocol || forwardedHeaders || realIp)) return [];
  const byHeader = (forwardedHeaders || realIp) && !(proxyProtocol && proxyProtocolFirst);
  return [
    ...trust.from.map((each) => d("set_real_ip_from", [cidr(each)])),
    // Of both, the header: whoever speaks PROXY protocol may be one of several that are trusted.
    d("real_ip_header", [
      byHeader ? headerName(trust.forwardedForHeader ?? "X-Forwarded-For") : w`proxy_protocol`,
    ]),
    d("real_ip_recursive", [w`on`]),
  ];
}

function believed(trust: ClientTrust): Directive[] {
  const first = trust.proxyProtocol === true && trust.proxyProtocolFirst === true;
  return [
    d(
      "geo",
      [w`$realip_remote_addr`, w`$sluice_trusted`],
      [d("default", [w`0`]), ...trust.from.map((each) => d(cidr(each).text, [w`1`]))],
    ),
    d(
      "map",
      [w`"$sluice_trusted$http_x_forwarded_proto"`, w`$sluice_scheme`],
      [d("default", [w`$scheme`]), d("1http", [w`http`]), d("1https", [w`https`])],
    ),
    d(
      "map",
      [w`"$sluice_trusted$http_x_forwarded_host"`, w`$sluice_forwarded_host`],
      [
        d("default", [w`$host$sluice_port`]),
        d('"~^1(?<sluice_h>[0-9A-Za-z._:\\[\\]-]{1,259})$"', [w`$sluice_h`]),
      ],
    ),
    d(
      "map",
      [w`"$sluice_trusted$http_x_forwarded_port"`, w`$sluice_forwarded_port`],
      [d("default", [w`$server_port`]), d('"~^1(?<sluice_n>[0-9]{1,5})$"', [w`$sluice_n`])],
    ),
    ...(trust.fullForwardedFor === true
      ? [
          d(
            "map",
            [w`$http_x_forwarded_for`, w`$sluice_full_for`],
            first
              ? [
                  d('""', [w`$proxy_protocol_addr`]),
                  d("default", [w`"$http_x_forwarded_for, $proxy_protocol_addr"`]),
                ]
              : [
                  d('""', [w`$realip_remote_addr`]),
                  d("default", [w`"$http_x_forwarded_for, $realip_remote_addr"`]),
                ],
          ),
          d(
            "map",
            [w`$sluice_trusted`, w`$sluice_forwarded_for`],
            [d("1", [w`$sluice_full_for`]), d("default", [w`$remote_addr`])],
          ),
        ]
      : [constant(w`$sluice_forwarded_for`, w`$remote_addr`)]),
  ];
}

function disbelieved(): Directive[] {
  return [
    constant(w`$sluice_scheme`, w`$scheme`),
    constant(w`$sluice_forwarded_host`, w`$host$sluice_port`),
    constant(w`$sluice_forwarded_port`, w`$server_port`),
    constant(w`$sluice_forwarded_for`, w`$remote_addr`),
  ];
}

function identities({ generate = true, traces = false }: RequestIds): Directive[] {
  const own = generate ? w`$request_id` : w`""`;
  const fresh = traces ? w`"00-$request_id-$sluice_span-01"` : w`""`;
  return [
    // Whatever a client says stands in logs: printable, and of a length that fits.
    d(
      "map",
      [w`$http_x_request_id`, w`$sluice_request_id`],
      [d('""', [own]), d('"~^[!-~]{1,128}$"', [w`$http_x_request_id`]), d("default", [own])],
    ),
    ...(traces
      ? [
          d(
            "map",
            [w`$request_id`, w`$sluice_span`],
            [d("default", [w`""`]), d('"~(?<sluice_s>[0-9a-f]{16})$"', [w`$sluice_s`])],
          ),
        ]
      : []),
    d(
      "map",
      [w`$http_traceparent`, w`$sluice_traceparent`],
      [d('""', [fresh]), d(TRACEPARENT, [w`$http_traceparent`]), d("default", [fresh])],
    ),
    // Belongs to the traceparent that it came with.
    d(
      "map",
      [w`$http_traceparent`, w`$sluice_tracestate`],
      [d('""', [w`""`]), d(TRACEPARENT, [w`$http_tracestate`]), d("default", [w`""`])],
    ),
  ];
}

/** Words of `listen` for what clients begin with. */
export function preface(trust: ClientTrust | undefined): Value[] {
  return trust?.proxyProtocol === true ? [w`proxy_protocol`] : [];
}

/** Variables for `clientFactHeaders`; in `http`. */
export function clientFactVariables(trust: ClientTrust = { from: [] }, ids: RequestIds = {}): Directive[] {
  const trusts = trust.from.length > 0 && trust.forwardedHeaders === true;
  return [...realAddress(trust), ...(trusts ? believed(trust) : disbelieved()), ...identities(ids)];
}

/** All that a peer is told of its client. */
export function clientFactHeaders(): Directive[] {
  const header = (name: Value, value: Value) => d("proxy_set_header", [name, value]);
  return [
    header(w`X-Forwarded-For`, w`$sluice_forwarded_for`),
    header(w`X-Forwarded-Proto`, w`$sluice_scheme`),
    header(w`X-Forwarded-Scheme`, w`$sluice_scheme`),
    header(w`X-Scheme`, w`$sluice_scheme`),
    header(w`X-Forwarded-Host`, w`$sluice_forwarded_host`),
    header(w`X-Forwarded-Port`, w`$sluice_forwarded_port`),
    // What the client said itself, for whoever wants to know.
    header(w`X-Original-Forwarded-For`, w`$http_x_forwarded_for`),
    // RFC 7239 says the same in one header, and nobody here vouches for it.
    header(w`Forwarded`, w`""`),
    header(w`X-Real-IP`, w`$remote_addr`),
    header(w`X-Request-Id`, w`$sluice_request_id`),
    header(w`traceparent`, w`$sluice_traceparent`),
    header(w`tracestate`, w`$sluice_tracestate`),
  ];
}
