import type { ProfileSettings } from "@sluice/ingress";
import { type Directive, directive, errorLocation, lua, luaSet, number, word } from "./nginx-text.ts";

const w = word;
const d = directive;

/** A page would be no answer to who speaks gRPC. */
const codesOf = ({ errorCodes, protocol }: ProfileSettings): number[] =>
  errorCodes === "" || protocol.startsWith("grpc") ? [] : errorCodes.split(" ").map(Number);

/** In the location of a profile: which answers of peers, and of nginx in their place, somebody else gives. */
export function errorPagesOf(settings: ProfileSettings): Directive[] {
  const codes = codesOf(settings);
  if (codes.length === 0) return [];
  return [
    d("proxy_intercept_errors", [w`on`]),
    ...codes.map((code) => d("error_page", [number(code), w`=`, errorLocation(code)])),
  ];
}

function allCodes(profiles: readonly ProfileSettings[]): number[] {
  return [...new Set(profiles.flatMap(codesOf))].sort((a, b) => a - b);
}

/** In `http`: whoever answers errors, a route's spare peers or our own server. */
export function errorUpstream(
  profiles: readonly ProfileSettings[],
  keepalive: readonly Directive[],
): Directive[] {
  if (allCodes(profiles).length === 0) return [];
  return [
    // The jump to a profile's location was one already.
    d("recursive_error_pages", [w`on`]),
    d(
      "upstream",
      [w`sluice_errors`],
      [d("server", [w`0.0.0.1`]), lua("balancer_by_lua_block")`sluice.balance_errors()`, ...keepalive],
    ),
  ];
}

/** A location for each status. @param headers those that every peer gets */
export function errorLocations(
  profiles: readonly ProfileSettings[],
  headers: readonly Directive[],
): Directive[] {
  return allCodes(profiles).map((code) =>
    d(
      "location",
      [errorLocation(code)],
      [
        d("set", [w`$sluice_error_code`, number(code)]),
        d("set", [w`$sluice_error_namespace`, w`""`]),
        d("set", [w`$sluice_error_ingress`, w`""`]),
        d("set", [w`$sluice_error_service`, w`""`]),
        d("set", [w`$sluice_error_port`, w`""`]),
        luaSet(w`$sluice_error_uri`)`return sluice.error_page()`,
        ...headers.filter((header) => !("args" in header && header.args[0]?.text === "X-Sluice-Code")),
        d("proxy_set_header", [w`X-Sluice-Code`, number(code)]),
        d("proxy_set_header", [w`X-Code`, number(code)]),
        d("proxy_set_header", [w`X-Format`, w`$http_accept`]),
        d("proxy_set_header", [w`X-Original-URI`, w`$request_uri`]),
        d("proxy_set_header", [w`X-Namespace`, w`$sluice_error_namespace`]),
        d("proxy_set_header", [w`X-Ingress-Name`, w`$sluice_error_ingress`]),
        d("proxy_set_header", [w`X-Service-Name`, w`$sluice_error_service`]),
        d("proxy_set_header", [w`X-Service-Port`, w`$sluice_error_port`]),
        // What has failed is not done once more there.
        d("proxy_method", [w`GET`]),
        d("proxy_pass_request_body", [w`off`]),
        d("proxy_set_header", [w`Content-Length`, w`""`]),
        d("proxy_pass", [w`http://sluice_errors$sluice_error_uri`]),
      ],
    ),
  );
}
