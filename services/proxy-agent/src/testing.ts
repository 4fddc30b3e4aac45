// For tests and benchmarks only: the proxy's nginx in other shapes, from the same emitter.

import { defaultSettings } from "@sluice/ingress";
import {
  apiServer,
  headerVariables,
  httpBasics,
  luaDirectives,
  type NginxConf,
  peersUpstream,
  processDirectives,
  proxyHeaders,
  proxyPolicy,
  upstreamKeepalive,
} from "./nginx-conf.ts";
import { type Directive, directive, listenAddress, lua, number, render, word } from "./nginx-text.ts";
import { confOf, type NginxOptions, renderNginx } from "./prepare-nginx.ts";

export { confPathOf, renderNginx } from "./prepare-nginx.ts";

/** What nginx.conf of a proxy without profiles is made from. */
export function testConf(options: NginxOptions): NginxConf {
  const profiles = new Map([["default", defaultSettings]]);
  return confOf(options, profiles, renderNginx(options, new Map()).settingsFile);
}

const w = word;
const d = directive;

function server(address: string, inside: readonly Directive[]): Directive {
  return d("server", [], [d("listen", [listenAddress(address), w`default_server`]), ...inside]);
}

/** What a person would write by hand for one upstream: the measure for the price of our balancer. */
export function staticConf(conf: NginxConf, peers: readonly string[]): string {
  const upstream = d(
    "upstream",
    [w`fixed_peers`],
    [...peers.map((peer) => d("server", [listenAddress(peer)])), ...upstreamKeepalive()],
  );
  return render([
    ...processDirectives({ ...conf, loadModules: [] }),
    d(
      "http",
      [],
      [
        ...httpBasics(conf),
        ...headerVariables(),
        ...proxyHeaders(),
        ...proxyPolicy(conf),
        upstream,
        server(conf.httpAddress, [d("location", [w`/`], [d("proxy_pass", [w`http://fixed_peers`])])]),
      ],
    ),
  ]);
}

/** Our balancer for one fixed upstream, `echo`, and no routing: the price of routing is the difference. */
export function unroutedConf(conf: NginxConf): string {
  const [hook] = luaDirectives(conf).filter((each) => "name" in each && each.name === "init_by_lua_block");
  if (hook === undefined || !("lua" in hook)) throw new TypeError("the configuration has no init hook");
  // The router is what is left out: every request has the same target.
  const fixed = lua("init_by_lua_block")`
    local labels = { host = "", path = "", namespace = "", ingress = "", service = "", canary = "" }
    local target = { id = "echo", profile = "default", labels = labels }
    package.loaded["sluice.router"] = { find = function() return target end }
    sluice = require "sluice.start"
  `;
  const both = { name: hook.name, lua: `${"lua" in fixed ? fixed.lua : ""}${hook.lua}` };
  const upstream = peersUpstream();
  return render([
    ...processDirectives(conf),
    d(
      "http",
      [],
      [
        ...httpBasics(conf),
        ...luaDirectives(conf).map((each) => ("name" in each && each.name === hook.name ? both : each)),
        ...headerVariables(),
        ...proxyHeaders(),
        ...proxyPolicy(conf),
        d(
          "upstream",
          [w`sluice_peers`],
          ("block" in upstream ? (upstream.block ?? []) : []).map((each) =>
            "lua" in each ? lua("balancer_by_lua_block")`sluice.balance()` : each,
          ),
        ),
        server(conf.httpAddress, [
          lua("log_by_lua_block")`sluice.log()`,
          d("location", [w`/`], [d("proxy_pass", [w`http://sluice_peers`])]),
        ]),
        apiServer(conf),
      ],
    ),
  ]);
}

/** A backend that costs next to nothing: answers 200 with a small body on several loopback addresses. */
export function backendConf(conf: NginxConf, addresses: readonly string[]): string {
  return render([
    ...processDirectives({ ...conf, loadModules: [] }),
    d(
      "http",
      [],
      [
        ...httpBasics(conf),
        d(
          "server",
          [],
          [
            ...addresses.map((address) => d("listen", [listenAddress(address)])),
            d("keepalive_timeout", [number(3600)]),
            d("location", [w`/`], [d("return", [number(200), w`"Hello, world!\n"`])]),
          ],
        ),
      ],
    ),
  ]);
}

export { FleetRows, type SecretSource } from "./fleet-rows.ts";
export { LastGoodFile } from "./last-good.ts";
export { UnixNginxClient } from "./nginx-client.ts";
export { accepts, type NginxProcess, startNginx } from "./nginx-process.ts";
export { type NginxRow, removal as removalOf } from "./nginx-row.ts";
export { lastGoodPathOf, type NginxOptions, prepareNginx, secretsPathOf } from "./prepare-nginx.ts";
export { profileName, readProfile } from "./profile-settings.ts";
export { agentPorts } from "./testing/agent-ports.ts";
export { type TestCertificate, testAuthority, testCertificate } from "./testing/certificates.ts";
