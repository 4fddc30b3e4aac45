import type { RouteRow, SecretRow, StatusProxy } from "@sluice/contracts";
import { certificateFacts } from "./certificate-facts.ts";
import { type Getting, type Got, untilWords } from "./get-command.ts";
import { shortened } from "./shortened.ts";
import { fetchStatus } from "./status-command.ts";
import { askFleets, type FleetRows } from "./table-rows.ts";

interface CertificateLine {
  readonly fleet: string;
  /** `namespace/name`; null: a host names one that the fleet does not have. */
  readonly secret: string | null;
  readonly id: string;
  /** Hosts whose clients are shown it. */
  readonly hosts: readonly string[];
  /** Hosts that it is for. */
  readonly names: readonly string[];
  readonly issuer?: string;
  readonly key?: string;
  /** ms since 1970. */
  readonly notBefore?: number;
  readonly notAfter?: number;
  readonly problems: readonly string[];
}

/** Certificates that clients are shown, those that end first at the top. @param name `namespace/name` of a Secret, or a host */
export async function getCertificates({ gateway, name, wide }: Getting): Promise<Got> {
  const { told, fleets } = await askFleets(gateway, undefined, ["routes", "secrets"]);
  const { proxies } = await fetchStatus(gateway);
  const lines = fleets
    .flatMap((rows) => certificatesOf(rows, proxies, told.at))
    .filter(({ secret, hosts }) => name === undefined || secret === name || hosts.includes(name))
    .sort((a, b) => (a.notAfter ?? 0) - (b.notAfter ?? 0));
  return {
    told,
    gaps: [],
    answer: { certificates: lines },
    tables: [{ rows: cells(lines, told.at, wide) }],
  };
}

export function certificatesOf(
  rows: FleetRows,
  proxies: readonly StatusProxy[],
  now: number,
): CertificateLine[] {
  const hosts = new Map<string, string[]>();
  for (const { host, certificate } of rows.all("routes") as readonly RouteRow[]) {
    if (certificate === undefined) continue;
    hosts.set(certificate, [...(hosts.get(certificate) ?? []), host === "" ? "(any)" : host]);
  }
  const lines = rows
    .all("secrets")
    .filter((row) => row.chain !== undefined)
    .map((row) => lineOf(rows.fleet, row, hosts.get(row.id) ?? [], proxies, now));
  const there = new Set(lines.map(({ id }) => id));
  for (const [id, missing] of hosts) {
    if (there.has(id)) continue;
    const problems = ["its Secret is not there, or is none; the default certificate is shown"];
    lines.push({ fleet: rows.fleet, secret: null, id, hosts: missing, names: [], problems });
  }
  return lines;
}

function lineOf(
  fleet: string,
  { id, namespace, name, chain = "" }: SecretRow,
  hosts: readonly string[],
  proxies: readonly StatusProxy[],
  now: number,
): CertificateLine {
  const own = { fleet, secret: `${namespace}/${name}`, id, hosts };
  const refused = refusals(fleet, id, proxies);
  try {
    const facts = certificateFacts(chain);
    return { ...own, ...facts, problems: [...timeProblems(facts, now), ...refused] };
  } catch (error) {
    const problem = `it cannot be read: ${error instanceof Error ? error.message : String(error)}`;
    return { ...own, names: [], problems: [problem, ...refused] };
  }
}

function timeProblems(
  { notBefore, notAfter }: { notBefore: number; notAfter: number },
  now: number,
): string[] {
  if (now >= notAfter) return ["it has ended, and is shown all the same"];
  return now < notBefore ? ["it is not valid yet, and is shown all the same"] : [];
}

/** What proxies say that have not taken it. */
function refusals(fleet: string, id: string, proxies: readonly StatusProxy[]): string[] {
  return proxies
    .filter((proxy) => proxy.fleet === fleet)
    .flatMap(({ proxy, problems }) =>
      problems
        .filter(({ key }) => key.endsWith(`.secrets.${id}`))
        .map(({ problem }) => `proxy ${proxy}: ${problem}`),
    );
}

const MOST_HOSTS = 3;

function cells(lines: readonly CertificateLine[], now: number, wide: boolean): string[][] {
  const some = (names: readonly string[]) => shortened(names, wide ? names.length : MOST_HOSTS, " ");
  const more = wide ? ["KEY", "ISSUER", "FROM"] : [];
  return [
    ["FLEET", "SECRET", "HOSTS", "NAMES", ...more, "ENDS", "PROBLEM"],
    ...lines.map((line) => [
      line.fleet,
      line.secret ?? `(${line.id})`,
      some(line.hosts),
      some(line.names),
      ...(wide
        ? [
            line.key ?? "",
            line.issuer ?? "",
            line.notBefore === undefined ? "" : untilWords(line.notBefore, now),
          ]
        : []),
      line.notAfter === undefined ? "" : untilWords(line.notAfter, now),
      line.problems.join("; "),
    ]),
  ];
}
