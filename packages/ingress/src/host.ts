import { domainToASCII } from "node:url";

export type HostCheck =
  | { readonly ok: true; readonly host: string }
  | { readonly ok: false; readonly why: string };

const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const ADDRESS = /^[0-9]+(\.[0-9]+){3}$/;
/** RFC 1035, without the closing dot. */
const MAX_HOST = 253;

/** The host of a rule, lower case; `""` for none; `*.x` for a wildcard of one label (Ingress v1). */
export function checkHost(value: unknown): HostCheck {
  if (value === undefined || value === null || value === "") return { ok: true, host: "" };
  if (typeof value !== "string") return { ok: false, why: "is no text; write a DNS name" };
  // Hosts compare without case (RFC 9110 4.2.3), so an upper-case one means the same.
  const host = value.toLowerCase();
  if (host.length > MAX_HOST) return { ok: false, why: `is longer than ${MAX_HOST} characters` };
  if (/[^\x20-\x7e]/.test(host)) {
    const ascii = domainToASCII(host);
    return { ok: false, why: ascii === "" ? "is no DNS name" : `is not ASCII; write ${ascii}` };
  }
  const name = host.startsWith("*.") ? host.slice(2) : host;
  if (host.includes(":"))
    return { ok: false, why: "holds a port or an IPv6 address; write a DNS name alone" };
  if (ADDRESS.test(name)) return { ok: false, why: "is an IP address; write a DNS name" };
  if (name.includes("*"))
    return { ok: false, why: "may hold * only as its whole first label, as in *.example.test" };
  if (!name.split(".").every((label) => LABEL.test(label))) {
    return { ok: false, why: "is no DNS name; labels hold letters, digits and inner hyphens, 63 at most" };
  }
  return { ok: true, host };
}
