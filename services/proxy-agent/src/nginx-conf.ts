import { defaultSettings, type ListenerSettings, type ProfileSettings } from "@sluice/ingress";
import { type AccessLog, accessLogFormat, accessLogOf } from "./access-log.ts";
import {
  type ClientTrust,
  clientFactHeaders,
  clientFactVariables,
  preface,
  type RequestIds,
} from "./client-facts.ts";
import { asGrpc, backendPass, backendUpstreams, speaksGrpc } from "./nginx-backends.ts";
import { errorLocations, errorPagesOf, errorUpstream } from "./nginx-errors.ts";
import {
  type Directive,
  directive,
  keywords,
  listenAddress,
  locationName,
  lua,
  luaSet,
  megabytes,
  milliseconds,
  number,
  onOff,
  quoted,
  render,
  unixSocket,
  type Value,
  word,
} from "./nginx-text.ts";
import { clientHeaders, type TlsListener, tlsListener } from "./nginx-tls.ts";

export interface NginxConf {
  /** Absolute folder for everything that nginx writes. */
  readonly dir: string;
  readonly httpAddress: string;
  /** Absent: TLS is not served. */
  readonly https?: TlsListener;
  /** Such as `1.22.1`: what later versions say otherwise goes by it. */
  readonly version: string;
  readonly workers: number;
  /** Lines such as `load_module /usr/lib/nginx/modules/ndk_http_module.so;`. */
  readonly loadModules: readonly string[];
  /** Of the tool, without the closing `;;`; empty: the built-in path. */
  readonly luaPackagePath: string;
  readonly luaPackageCpath: string;
  readonly settingsFile: string;
  /** Started as root: workers stay root, because nobody else may read the folder. Elsewhere nginx is started as a user. */
  readonly asRoot: boolean;
  readonly rowsMegabytes: number;
  readonly secretsMegabytes: number;
  /** 0: off. */
  readonly firstByteTimeoutMs: number;
  /** How long workers of before a reload go on with the connections that they have. */
  readonly shutdownTimeoutMs: number;
  /** Absent: off. */
  readonly accessLog?: AccessLog;
  /** Absent: nobody is believed about a client. */
  readonly clients?: ClientTrust;
  readonly requestIds?: RequestIds;
  /** What the fleet says for all its proxies, of what no flag of a proxy's own says. */
  readonly listeners: Partial<ListenerSettings>;
  /** By name; `default` is what nginx.conf says without any of them. */
  readonly profiles: ReadonlyMap<string, ProfileSettings>;
}

export const socketPathOf = (dir: string): string => `${dir}/api.sock`;
/** Where nginx sends itself the requests that no peer is there for. */
export const replySocketPathOf = (dir: string): string => `${dir}/reply.sock`;
export const pidFileOf = (dir: string): string => `${dir}/nginx.pid`;

/** Never seen outside: a jump to the location that answers, or that enters another profile. */
const ELSEWHERE = 418;

const w = word;
const d = directive;

function loadModule(line: string): Directive {
  const path = /^load_module (\S+);$/.exec(line)?.[1];
  if (path === undefined) throw new RangeError(`${JSON.stringify(line)} is no load_module line`);
  return d("load_module", [quoted(path)]);
}

function temporaryPaths(dir: string): Directive[] {
  return ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) =>
    d(`${kind}_temp_path`, [quoted(`${dir}/temp/${kind}`)]),
  );
}

function policy(settings: ProfileSettings, base: ProfileSettings | null): Directive[] {
  const out: Directive[] = [];
  const say = <K extends keyof ProfileSettings>(
    key: K,
    name: string,
    value: (v: ProfileSettings[K]) => Value,
  ) => {
    if (base === null || settings[key] !== base[key]) out.push(d(name, [value(settings[key])]));
  };
  say("connectTimeoutMs", "proxy_connect_timeout", milliseconds);
  say("readTimeoutMs", "proxy_read_timeout", milliseconds);
  say("sendTimeoutMs", "proxy_send_timeout", milliseconds);
  say("maxBodyBytes", "client_max_body_size", number);
  say("bodyBufferBytes", "client_body_buffer_size", number);
  say("requestBuffering", "proxy_request_buffering", onOff);
  say("responseBuffering", "proxy_buffering", onOff);
  say("bufferBytes", "proxy_buffer_size", number);
  const { buffers, bufferBytes } = settings;
  if (base === null || buffers !== base.buffers || bufferBytes !== base.bufferBytes) {
    out.push(
      d("proxy_buffers", [number(buffers), number(bufferBytes)]),
      // nginx's own is two buffers, and it refuses what leaves it none to fill meanwhile.
      d("proxy_busy_buffers_size", [number(Math.min(2, buffers - 1) * bufferBytes)]),
    );
  }
  say("httpVersion", "proxy_http_version", (version) => (version === "1.0" ? w`1.0` : w`1.1`));
  if (base === null || settings.nextUpstream !== base.nextUpstream) {
    out.push(d("proxy_next_upstream", keywords(settings.nextUpstream)));
  }
  return out;
}

/** Variables that the headers to a peer are made of. */
export function headerVariables(trust?: ClientTrust, ids?: RequestIds): Directive[] {
  return [
    // An upgrade to HTTP/2 would be a tunnel: what came through it would meet no route and no limit.
    d("map", [w`$http_upgrade`, w`$sluice_upgrade`], [d("default", [w`$http_upgrade`]), d("~*h2", [w`""`])]),
    // nginx would upgrade a stream of HTTP/2 as well, and read all that comes on its connection for it.
    d(
      "map",
      [w`"$http2:$http_upgrade"`, w`$sluice_upgraded_stream`],
      [d("default", [w`""`]), d('"~^h2c?:."', [w`1`])],
    ),
    d("map", [w`$sluice_upgrade`, w`$sluice_connection`], [d("default", [w`upgrade`]), d('""', [w`""`])]),
    ...clientFactVariables(trust, ids),
    // The port that was asked for; the name comes from $host, by which the route was found: of two that differ (an
    // absolute-form request has another beside the header) the peer must not believe the other one.
    d(
      "map",
      [w`$http_host`, w`$sluice_port`],
      [d("default", [w`""`]), d("~(?<sluice_p>:[0-9]+)$", [w`$sluice_p`])],
    ),
  ];
}

/** All that is said to a peer; repeated where one differs, because a location with a header of its own inherits none. */
export function proxyHeaders(
  host: Value = w`$host$sluice_port`,
  prefix: Value = w`""`,
  clientFacts: ProfileSettings["clientFacts"] = "none",
): Directive[] {
  return [
    d("proxy_set_header", [w`Host`, host]),
    d("proxy_set_header", [w`Upgrade`, w`$sluice_upgrade`]),
    d("proxy_set_header", [w`Connection`, w`$sluice_connection`]),
    // httpoxy: a CGI program would take it for a setting.
    d("proxy_set_header", [w`Proxy`, w`""`]),
    // Said to our own server alone: errorLocations.
    d("proxy_set_header", [w`X-Sluice-Code`, w`""`]),
    d("proxy_set_header", [w`X-Forwarded-Prefix`, prefix]),
    ...clientFactHeaders(),
    ...clientHeaders(clientFacts),
  ];
}

/** Keep-alive on both sides, alike in every upstream block that is measured against another. */
export function upstreamKeepalive(listeners: Partial<ListenerSettings> = {}): Directive[] {
  const { peerConnections = 256, peerRequests = 100_000, peerIdleMs, peerLifeMs } = listeners;
  return [
    d("keepalive", [number(peerConnections)]),
    d("keepalive_requests", [number(peerRequests)]),
    d("keepalive_timeout", [peerIdleMs === undefined ? w`60s` : milliseconds(peerIdleMs)]),
    ...(peerLifeMs === undefined ? [] : [d("keepalive_time", [milliseconds(peerLifeMs)])]),
  ];
}

/** What clients may take: of their listeners alone, for nginx speaks to itself and to the agent too. */
function clientLimits(listeners: Partial<ListenerSettings>): Directive[] {
  const out: Directive[] = [];
  const say = <K extends keyof ListenerSettings>(
    key: K,
    name: string,
    value: (v: ListenerSettings[K]) => Value | readonly Value[],
  ) => {
    const said = listeners[key];
    if (said !== undefined) out.push(d(name, [value(said)].flat()));
  };
  say("keepAliveMs", "keepalive_timeout", milliseconds);
  say("keepAliveRequests", "keepalive_requests", number);
  say("headerTimeoutMs", "client_header_timeout", milliseconds);
  say("headerBufferBytes", "client_header_buffer_size", number);
  say("largeHeaderBuffers", "large_client_header_buffers", (text) => headerBuffers(text));
  say("bodyTimeoutMs", "client_body_timeout", milliseconds);
  say("http2Streams", "http2_max_concurrent_streams", number);
  return out;
}

/** @param text such as `4 8192` */
function headerBuffers(text: string, least: readonly [count: number, bytes: number] = [0, 0]): Value[] {
  return text.split(" ").map((given, i) => number(Math.max(Number(given), least[i] ?? 0)));
}

export function processDirectives(conf: NginxConf): Directive[] {
  return [
    ...conf.loadModules.map(loadModule),
    ...(conf.asRoot ? [d("user", [w`root`, w`root`])] : []),
    d("daemon", [w`off`]),
    d("worker_processes", [number(conf.workers)]),
    // Streams that outlive a reload stay with the worker that they have, until then.
    d("worker_shutdown_timeout", [milliseconds(conf.shutdownTimeoutMs)]),
    d("pid", [quoted(pidFileOf(conf.dir))]),
    d("error_log", [quoted(`${conf.dir}/error.log`), w`warn`]),
    d("events", [], [d("worker_connections", [number(4096)])]),
  ];
}

export function httpBasics(conf: NginxConf): Directive[] {
  return [
    d("access_log", [w`off`]),
    d("server_tokens", [onOff(conf.listeners.versionTold ?? false)]),
    ...temporaryPaths(conf.dir),
    d("keepalive_requests", [number(100_000)]),
  ];
}

export function luaDirectives(conf: NginxConf): Directive[] {
  const path = [`${conf.dir}/lua/?.lua`, conf.luaPackagePath].filter((part) => part !== "").join(";");
  return [
    d("lua_package_path", [quoted(`${path};;`)]),
    ...(conf.luaPackageCpath === "" ? [] : [d("lua_package_cpath", [quoted(`${conf.luaPackageCpath};;`)])]),
    d("lua_shared_dict", [w`sluice_rows`, megabytes(conf.rowsMegabytes)]),
    d("lua_shared_dict", [w`sluice_secrets`, megabytes(conf.secretsMegabytes)]),
    d("lua_shared_dict", [w`sluice_holds`, megabytes(8)]),
    // Clients with limits: about 100,000 buckets, and 30,000 with requests in hand.
    d("lua_shared_dict", [w`sluice_limits`, megabytes(16)]),
    d("lua_shared_dict", [w`sluice_open`, megabytes(8)]),
    // Users write regular expressions: what one may cost, and how many a worker keeps compiled.
    d("lua_regex_match_limit", [number(100_000)]),
    d("lua_regex_cache_max_entries", [number(16_384)]),
    lua("init_by_lua_block")`sluice = require "sluice.start"; sluice.init(${conf.settingsFile})`,
    lua("init_worker_by_lua_block")`sluice.worker()`,
    lua("exit_worker_by_lua_block")`sluice.flush()`,
  ];
}

/** The upstream of every request: the peer is chosen per request, never written here. */
export function peersUpstream(listeners: Partial<ListenerSettings> = {}): Directive {
  return d("upstream", [w`sluice_peers`], chosenPeers(listeners));
}

function chosenPeers(listeners: Partial<ListenerSettings>): Directive[] {
  const keepalive = upstreamKeepalive(listeners);
  return [d("server", [w`0.0.0.1`]), lua("balancer_by_lua_block")`sluice.balance()`, ...keepalive];
}

export function proxyPolicy(conf: NginxConf): Directive[] {
  const base = conf.profiles.get("default") ?? defaultSettings;
  return [
    ...policy(base, null),
    d("proxy_redirect", [w`off`]),
    // Bounds all tries together; the tries after a missing first byte are shortened by the balancer.
    d("proxy_next_upstream_timeout", [
      milliseconds(Math.max(base.nextTimeoutMs, 2 * conf.firstByteTimeoutMs)),
    ]),
  ];
}

/** Asks for the profile first. Where there is one only, the balancer finds the route, and this costs nothing. */
function toProfiles(secure: boolean): Directive[] {
  const answer = luaSet(w`$sluice_answer`);
  return [
    secure ? answer`return sluice.route(true)` : answer`return sluice.route()`,
    d("if", [w`($sluice_answer)`], [d("return", [number(ELSEWHERE)])]),
    d("error_page", [number(ELSEWHERE), w`=`, w`@answer`]),
  ];
}

/** What a peer is asked for, and under which name, comes from the route. */
function rewrittenPass(settings: ProfileSettings, dir: string): Directive[] {
  return [
    d("set", [w`$sluice_vhost`, w`$host$sluice_port`]),
    d("set", [w`$sluice_prefix`, w`""`]),
    luaSet(w`$sluice_uri`)`return sluice.rewrite()`,
    ...proxyHeaders(w`$sluice_vhost`, w`$sluice_prefix`, settings.clientFacts),
    ...backendPass(settings, dir, true),
  ];
}

function plainPass(settings: ProfileSettings, dir: string): Directive[] {
  const { clientFacts } = settings;
  return [
    ...(clientFacts === "none" && !speaksGrpc(settings)
      ? []
      : proxyHeaders(undefined, undefined, clientFacts)),
    ...backendPass(settings, dir, false),
  ];
}

function toPeers(settings: ProfileSettings, dir: string): Directive[] {
  const pass = settings.rewrites ? rewrittenPass(settings, dir) : plainPass(settings, dir);
  return speaksGrpc(settings) ? asGrpc(pass) : pass;
}

/** What differs from all others' policy; of gRPC all, for nothing of it is said for all. */
function timesAndSizes(settings: ProfileSettings, base: ProfileSettings): Directive[] {
  const grpc = speaksGrpc(settings);
  const own = policy(settings, base);
  const limit =
    grpc || settings.nextTimeoutMs !== base.nextTimeoutMs
      ? [d("proxy_next_upstream_timeout", [milliseconds(settings.nextTimeoutMs)])]
      : [];
  if (!grpc) return [...own, ...limit];
  const ofClients = own.filter((each) => "args" in each && !each.name.startsWith("proxy_"));
  const ofPeers = policy(settings, null).filter((each) => "args" in each && each.name.startsWith("proxy_"));
  return [...ofClients, ...asGrpc([...ofPeers, ...limit])];
}

/** Who may come in, and how fast an answer goes out. */
function guarded(): Directive[] {
  return [
    d("set", [w`$sluice_free_bytes`, w`0`]),
    d("limit_rate_after", [w`$sluice_free_bytes`]),
    lua("access_by_lua_block")`sluice.access()`,
  ];
}

function filters(secure: boolean): Directive {
  const filter = lua("header_filter_by_lua_block");
  // A location with a filter of its own inherits none.
  return secure ? filter`sluice.secure() sluice.filter()` : filter`sluice.filter()`;
}

/** What clients meet; the same behind each listener but for what TLS needs. */
function clientServer(conf: NginxConf, listener: readonly Directive[], secure: boolean): Directive {
  const base = conf.profiles.get("default") ?? defaultSettings;
  const others = [...conf.profiles]
    .filter(([name]) => name !== "default")
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const limits = [base, ...others.map(([, settings]) => settings)].map(({ maxBodyBytes }) => maxBodyBytes);
  // nginx measures a body where a request arrives, before its profile is known, and not again after a jump:
  // there the largest limit holds, and proxy.lua holds each profile to its own.
  const largest = limits.includes(0) ? 0 : Math.max(...limits);
  const locations = others.length === 0 ? [] : [["default", base] as const, ...others];
  return d(
    "server",
    [],
    [
      ...listener,
      d("server_name", [w`_`]),
      ...(secure ? [d("if", [w`($sluice_upgraded_stream)`], [d("return", [number(400)])])] : []),
      ...clientLimits(conf.listeners),
      lua("log_by_lua_block")`sluice.log()`,
      ...accessLogOf(conf.accessLog, conf.dir),
      d(
        "location",
        [w`/`],
        [
          ...(largest === base.maxBodyBytes ? [] : [d("client_max_body_size", [number(largest)])]),
          ...(others.length === 0 ? [] : toProfiles(secure)),
          d("proxy_pass", [w`http://sluice_peers`]),
        ],
      ),
      ...(others.length === 0
        ? []
        : [d("location", [w`@answer`], [lua("content_by_lua_block")`sluice.answer()`])]),
      ...locations.map(([name, settings]) =>
        d(
          "location",
          [locationName("@profile_", name)],
          [
            ...timesAndSizes(settings, base),
            ...(settings.guards ? guarded() : []),
            ...(settings.filters ? [filters(secure)] : []),
            ...errorPagesOf(settings),
            ...toPeers(settings, conf.dir),
          ],
        ),
      ),
      ...errorLocations([...conf.profiles.values()], proxyHeaders()),
    ],
  );
}

export function apiServer(conf: NginxConf): Directive {
  return d(
    "server",
    [],
    [
      d("listen", [unixSocket(socketPathOf(conf.dir))]),
      d("client_max_body_size", [megabytes(16)]),
      d("client_body_buffer_size", [megabytes(1)]),
      d("keepalive_requests", [number(1_000_000_000)]),
      d("keepalive_timeout", [w`1h`]),
      d("location", [w`/`], [lua("content_by_lua_block")`sluice.api()`]),
      d("location", [w`=`, w`/stub`], [d("internal"), d("stub_status")]),
    ],
  );
}

function replyServer(conf: NginxConf): Directive {
  return d(
    "server",
    [],
    [
      d("listen", [unixSocket(replySocketPathOf(conf.dir))]),
      // The request was measured where it came in; what it has more is what peers are told.
      d("client_max_body_size", [number(0)]),
      ...(conf.listeners.largeHeaderBuffers === undefined
        ? []
        : [
            d(
              "large_client_header_buffers",
              headerBuffers(conf.listeners.largeHeaderBuffers, [8, 16 * 1024]),
            ),
          ]),
      d("location", [w`/`], [lua("content_by_lua_block")`sluice.reply()`]),
    ],
  );
}

/** The whole nginx.conf of a proxy. Same input, same text. */
export function nginxConf(conf: NginxConf): string {
  return render([
    {
      comment: "Written by Sluice's proxy-agent; a change here is lost. Peers and routes are data, not text.",
    },
    ...processDirectives(conf),
    d(
      "http",
      [],
      [
        ...httpBasics(conf),
        ...luaDirectives(conf),
        ...headerVariables(conf.clients, conf.requestIds),
        ...accessLogFormat(conf.accessLog),
        ...proxyHeaders(),
        ...proxyPolicy(conf),
        peersUpstream(conf.listeners),
        ...backendUpstreams(conf.profiles.values(), () => chosenPeers(conf.listeners)),
        ...errorUpstream([...conf.profiles.values()], upstreamKeepalive(conf.listeners)),
        clientServer(
          conf,
          [d("listen", [listenAddress(conf.httpAddress), w`default_server`, ...preface(conf.clients)])],
          false,
        ),
        ...(conf.https === undefined
          ? []
          : [
              clientServer(
                conf,
                tlsListener(conf.https, conf.version, preface(conf.clients), conf.listeners),
                true,
              ),
            ]),
        apiServer(conf),
        replyServer(conf),
      ],
    ),
  ]);
}
