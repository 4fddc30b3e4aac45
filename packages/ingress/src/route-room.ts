// How much routes may take. What is left out is told, and leaves all else as it is: without a bound a host's row would be
// refused by the bus as a whole, and one object could fill the memory that nginx has for the rows of all.
import type { RoutePath } from "@sluice/contracts";
import { byAge, type CompiledIngress, type CompiledPath } from "./compile-ingress.ts";
import { quote } from "./objects.ts";
import type { SecuredHost } from "./secured-host.ts";
import type { Reason, Verdict } from "./verdict.ts";

/** Bytes of a host's row: a record holds 1 MiB, its envelope too. */
const MOST_OF_A_HOST = 900_000;
/** Bytes of the routes of one object, and as many for copies of them under other names; nginx has 64 MiB for all. */
const MOST_OF_AN_OBJECT = 4 * 1024 * 1024;
/** Of a path's row beside what its object says of it: names of upstreams, of its profile and of its object. */
const AROUND = 300;

const bytesOf = (value: unknown): number => Buffer.byteLength(JSON.stringify(value) ?? "");

/** @param more bytes that each path gets of its host @returns the paths for which there is room, the first ones */
export function withinObject(
  paths: CompiledPath[],
  more: number,
  warn: (reason: Reason, message: string) => void,
): CompiledPath[] {
  let left = MOST_OF_AN_OBJECT;
  const end = paths.findIndex(({ path, policy, redirect }) => {
    left -= AROUND + more + bytesOf([path, policy, redirect]);
    return left < 0;
  });
  if (end < 0) return paths;
  warn(
    "NoRoom",
    `${paths[end]?.field}: all routes of an object take 4 MiB at most; this path and ${paths.length - end - 1} after ` +
      "it are left out. Write fewer paths, or shorter annotations",
  );
  return paths.slice(0, end);
}

/** Of so many names of a host how many may be served as the host is. */
export function copiesOf(paths: readonly RoutePath[]): number {
  return Math.floor(MOST_OF_AN_OBJECT / bytesOf(paths));
}

/** The same host with the paths for which its row has room: those of the oldest objects. @param at MCIs with that host */
export function withinHost(routes: SecuredHost, at: readonly CompiledIngress[]): SecuredHost {
  const { row } = routes;
  if (row === null || bytesOf(row) <= MOST_OF_A_HOST) return routes;
  const ages = new Map([...at].sort(byAge).map(({ key }, age) => [key, age]));
  // The class's default backend is nobody's object.
  const ageOf = (path: RoutePath) => ages.get(ownerOf(path)) ?? -1;
  let left = MOST_OF_A_HOST - bytesOf({ ...row, paths: [] });
  const kept = new Set<RoutePath>();
  const lost = new Map<string, RoutePath[]>();
  for (const path of row.paths.toSorted((a, b) => ageOf(a) - ageOf(b))) {
    const bytes = bytesOf(path) + 1;
    if (bytes <= left) {
      left -= bytes;
      kept.add(path);
    } else lost.set(ownerOf(path), [...(lost.get(ownerOf(path)) ?? []), path]);
  }
  const paths = row.paths.filter((path) => kept.has(path));
  const upstreams = new Set(
    paths.flatMap(({ upstream, spare, canary }) => [upstream, spare, canary?.upstream]),
  );
  const profiles = new Set(paths.map(({ profile }) => profile));
  return {
    ...routes,
    row: { ...row, paths },
    upstreams: routes.upstreams.filter(({ id }) => upstreams.has(id)),
    profiles: routes.profiles.filter(({ hash }) => profiles.has(hash)),
    verdicts: told(routes.verdicts, row.host, lost, at),
  };
}

function ownerOf({ source: { namespace, name } }: RoutePath): string {
  return `${namespace}/${name}`;
}

function told(
  before: ReadonlyMap<string, readonly Verdict[]>,
  host: string,
  lost: ReadonlyMap<string, readonly RoutePath[]>,
  at: readonly CompiledIngress[],
): ReadonlyMap<string, readonly Verdict[]> {
  const verdicts = new Map(before);
  for (const { key, ref } of at) {
    const paths = lost.get(key);
    if (paths?.[0] === undefined) continue;
    const [{ type, path }] = paths as [RoutePath];
    const others = paths.length === 1 ? "" : ` and ${paths.length - 1} more of its paths`;
    const message =
      `spec.rules: host ${quote(host)} has more and longer paths and annotations than one record holds (900 kB); ` +
      `${type} ${quote(path)}${others} are left out. Write fewer or shorter ones, or use another host`;
    const said: Verdict = { object: ref, type: "Warning", reason: "NoRoom", message };
    verdicts.set(key, [...(verdicts.get(key) ?? []), said]);
  }
  return verdicts;
}
