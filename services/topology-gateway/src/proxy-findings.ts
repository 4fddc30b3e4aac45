import { type Finding, fleetKeys, type StatusProxy, type UpstreamRow } from "@sluice/contracts";
import type { GatewayState } from "./gateway-state.ts";

/** Peers on hold, and rows refused, that a status names; a fleet of a hundred proxies says the same a hundred times. */
const MAX_NAMED = 20;
const MAX_PROXIES = 3;

/** What proxies find of peers and of rows, said once with who says it. */
export function proxyFindings(state: GatewayState, proxies: readonly StatusProxy[]): Finding[] {
  return [...rowFindings(proxies), ...peerFindings(state, proxies)];
}

function rowFindings(proxies: readonly StatusProxy[]): Finding[] {
  const saidBy = new Groups();
  for (const { proxy, problems } of proxies)
    for (const { key, problem } of problems) saidBy.add(`${key}: ${problem}`, proxy);
  return saidBy.list("rows", (message, names) => ({
    severity: "warning",
    about: names.length === 1 ? `proxy ${names[0]}` : `proxies ${some(names)}`,
    message,
  }));
}

function peerFindings(state: GatewayState, proxies: readonly StatusProxy[]): Finding[] {
  const out = new Groups();
  const facts = new Map<string, { readonly about: string; readonly why: string }>();
  for (const { fleet, proxy, ejected } of proxies) {
    for (const { upstream, cluster, peer, by } of ejected) {
      const id = JSON.stringify([fleet, upstream, cluster, peer, by]);
      const of = serviceOf(state, fleet, upstream);
      facts.set(id, {
        about: peer === "*" ? `cluster ${cluster}` : `peer ${peer} of ${cluster}`,
        why: `${of}out at %, ${by === "checks" ? "for it misses its checks" : "since requests failed there"}`,
      });
      out.add(id, proxy);
    }
  }
  return out.list("peers", (id, names) => {
    const { about, why } = facts.get(id) as { about: string; why: string };
    const word = names.length === 1 ? "proxy" : "proxies";
    return { severity: "warning", about, message: why.replace("%", () => `${word} ${some(names)}`) };
  });
}

/** `shop/web: `, or nothing where it is not known. */
function serviceOf(state: GatewayState, fleet: string, upstream: string | undefined): string {
  if (upstream === undefined) return "";
  const row = state.fleet.get(fleetKeys.upstream(fleet, upstream));
  if (row === undefined) return `${upstream}: `;
  const { namespace, service } = row as UpstreamRow;
  return `${namespace}/${service}: `;
}

function some(names: readonly string[]): string {
  const more = names.length > MAX_PROXIES ? ` and ${names.length - MAX_PROXIES} more` : "";
  return `${names.slice(0, MAX_PROXIES).join(", ")}${more}`;
}

/** Proxies by what they say, in the order in which it was said first. */
class Groups {
  readonly #by = new Map<string, string[]>();

  add(said: string, proxy: string): void {
    const names = this.#by.get(said);
    if (names === undefined) this.#by.set(said, [proxy]);
    else if (!names.includes(proxy)) names.push(proxy);
  }

  /** @param what is named for those beyond the bound */
  list(what: string, finding: (said: string, names: readonly string[]) => Finding): Finding[] {
    const listed = [...this.#by].slice(0, MAX_NAMED).map(([said, names]) => finding(said, names.toSorted()));
    const more = this.#by.size - listed.length;
    if (more > 0)
      listed.push({
        severity: "warning",
        about: what,
        message: `${more} more are out or refused; sluice get proxies -o json has all`,
      });
    return listed;
  }
}
