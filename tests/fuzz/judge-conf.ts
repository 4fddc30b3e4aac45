// Whether an nginx.conf holds only what was asked for: the part that no object has a say in, word for word as without any
// object; and for each profile its location, with the directives that its values mean, those that the emitter has for its
// flags (as the reviewed files in services/proxy-agent/src/testdata/golden show them), and no others.
import {
  AUTHORITIES,
  codesOf,
  expectedLines,
  flagsOf,
  identityOf,
  linesOf,
  type Settings,
  UnexpectedError,
} from "./expected-locations.ts";
import { type ConfNode, readNginxConf } from "./read-nginx-conf.ts";

export interface Renderer {
  /** The emitter. @throws RangeError for what it will not write */
  render(profiles: ReadonlyMap<string, Settings>): string;
  /** What holds when nothing is said. */
  readonly unsaid: Settings;
}

const LOCATION = "@profile_";
/** Settings that nobody hostile has written; they differ from the unsaid ones in a time alone. */
const PLAIN = { readTimeoutMs: 61_000 };

interface Parts {
  /** All but the locations of profiles, one line a directive. */
  readonly rest: readonly string[];
  /** By name, one for each server that has it. */
  readonly locations: ReadonlyMap<string, readonly ConfNode[]>;
  /** Upstream blocks, by name. */
  readonly upstreams: ReadonlyMap<string, ConfNode>;
}

function take(
  nodes: readonly ConfNode[],
  path: string,
  parts: { rest: string[]; locations: Map<string, ConfNode[]>; upstreams: Map<string, ConfNode> },
): void {
  for (const node of nodes) {
    const { name, args, block, lua } = node;
    const [first = ""] = args;
    if (name === "location" && first.startsWith(LOCATION)) {
      if (path !== "/http/server") throw new UnexpectedError(`location ${first} stands in ${path}`);
      const hash = first.slice(LOCATION.length);
      parts.locations.set(hash, [...(parts.locations.get(hash) ?? []), node]);
      continue;
    }
    if (path === "/http" && name === "upstream" && first !== "sluice_errors") {
      if (parts.upstreams.has(first)) throw new UnexpectedError(`upstream ${first} stands there twice`);
      parts.upstreams.set(first, node);
      continue;
    }
    parts.rest.push(
      JSON.stringify([
        path,
        name,
        ...args,
        ...(lua === undefined ? [] : [`lua: ${lua}`]),
        block === null ? ";" : "{",
      ]),
    );
    if (block !== null) take(block, `${path}/${name}`, parts);
  }
}

/** The name of the file that settings stand in is a hash of them. */
const SETTINGS_FILE = /settings-[0-9a-f]{16}\.json/g;
const AUTHORITIES_FILE = /"[^"\n]*\/authorities-[0-9a-f]{16}\.pem"/g;
/** An upstream block's name where it has a hash in it. */
const HASHED = /sluice_(https|grpcs)_[0-9a-f]{16}/;

function partsOf(text: string): Parts {
  const parts = { rest: [], locations: new Map(), upstreams: new Map() };
  const plain = text
    .replaceAll(SETTINGS_FILE, "settings.json")
    .replaceAll(AUTHORITIES_FILE, JSON.stringify(AUTHORITIES));
  take(readNginxConf(plain), "", parts);
  return parts;
}

const references = new Map<string, Parts>();

/** The same proxy with a profile that is above suspicion, and with as large a body as any of these allows. */
function reference(renderer: Renderer, largest: number, flags: Settings): Parts {
  const key = JSON.stringify([largest, flags]);
  const known = references.get(key);
  if (known !== undefined) return known;
  const settings = { ...renderer.unsaid, ...PLAIN, ...flags, maxBodyBytes: largest };
  const parts = partsOf(renderer.render(new Map([["plain", settings]])));
  // Sizes are up to whoever writes them: few are kept.
  if (references.size < 1000) references.set(key, parts);
  return parts;
}

function largestBody(profiles: ReadonlyMap<string, Settings>, unsaid: Settings): number {
  const limits = [...profiles.values(), unsaid].map(({ maxBodyBytes }) => maxBodyBytes as number);
  return limits.includes(0) ? 0 : Math.max(...limits);
}

/** Each status that some profile names has a location; it says nothing that an object says. */
function errorCodes(profiles: ReadonlyMap<string, Settings>): Settings {
  const asked = [...profiles.values()].filter((each) => !String(each["protocol"]).startsWith("grpc"));
  const codes = new Set(asked.flatMap((each) => codesOf(each["errorCodes"])));
  if (codes.size === 0) return {};
  return { errorCodes: [...codes].sort((a, b) => a - b).join(" ") };
}

function asTexts(lines: readonly (readonly string[])[]): string[] {
  return lines.map((line) => JSON.stringify(line).replace(HASHED, "sluice_$1")).sort();
}

/** Peers of one identity have one upstream block, and no others have it. @throws UnexpectedError */
function judgeUpstreams(
  upstreams: ReadonlyMap<string, ConfNode>,
  profiles: ReadonlyMap<string, Settings>,
  locations: ReadonlyMap<string, readonly ConfNode[]>,
): void {
  const common = upstreams.get("sluice_peers");
  const used = new Map<string, string>([["sluice_peers", "http"]]);
  for (const [name, nodes] of locations) {
    const identity = identityOf(profiles.get(name) ?? { protocol: "http" });
    for (const node of nodes) {
      const passes = (node.block ?? []).filter(
        (each) => each.name === "proxy_pass" || each.name === "grpc_pass",
      );
      const [pass] = passes;
      const upstream = /^(?:https?|grpcs?):\/\/(sluice_[a-z0-9_]+)(?:\$sluice_uri)?$/.exec(
        pass?.args[0] ?? "",
      )?.[1];
      if (passes.length !== 1 || upstream === undefined)
        throw new UnexpectedError(`profile ${name} leads nowhere`);
      const other = used.get(upstream) ?? identity;
      if (other !== identity) {
        throw new UnexpectedError(
          `profile ${name} shares upstream ${upstream} with another identity: ${other}, ${identity}`,
        );
      }
      used.set(upstream, identity);
    }
  }
  for (const [name, node] of upstreams) {
    if (!used.has(name)) throw new UnexpectedError(`nobody asked for upstream ${name}`);
    if (JSON.stringify(node.block) !== JSON.stringify(common?.block)) {
      throw new UnexpectedError(`upstream ${name} is not as the others are`);
    }
  }
  for (const name of used.keys())
    if (!upstreams.has(name)) throw new UnexpectedError(`there is no upstream ${name}`);
}

/** @returns what is in the one and not in the other */
function differences(
  there: readonly string[],
  wanted: readonly string[],
): { added: string[]; missing: string[] } {
  const missing = [...wanted];
  const added = there.filter((line) => {
    const at = missing.indexOf(line);
    if (at >= 0) missing.splice(at, 1);
    return at < 0;
  });
  return { added, missing };
}

/**
 * @param profiles what the model asked for, by hash
 * @throws UnexpectedError and ConfError with the first thing that is there and should not be, or the other way round
 */
export function judgeConf(
  text: string,
  profiles: ReadonlyMap<string, Settings>,
  renderer: Renderer,
  by: "judged" | "typed" = "judged",
): void {
  const { unsaid } = renderer;
  const { rest, locations, upstreams } = partsOf(text);
  const plain = reference(renderer, largestBody(profiles, unsaid), errorCodes(profiles));
  const wanted = profiles.size === 0 ? partsOf(renderer.render(new Map())).rest : plain.rest;
  for (let i = 0; i < Math.max(rest.length, wanted.length); i++) {
    if (rest[i] === wanted[i]) continue;
    throw new UnexpectedError(`${rest[i] ?? "nothing"} stands where ${wanted[i] ?? "nothing"} belongs`);
  }
  judgeUpstreams(upstreams, profiles, locations);
  if (profiles.size === 0 && locations.size === 0) return;
  const servers = plain.locations.get("plain")?.length ?? 0;
  for (const name of new Set([...locations.keys(), ...profiles.keys(), "default"])) {
    const there = locations.get(name) ?? [];
    if (there.length !== servers)
      throw new UnexpectedError(`profile ${name} has ${there.length} locations, not ${servers}`);
    const settings = name === "default" ? unsaid : profiles.get(name);
    if (settings === undefined) throw new UnexpectedError(`nobody asked for profile ${name}`);
    const values = asTexts(expectedLines(settings, unsaid, by));
    const flags = flagsOf(settings, unsaid, by);
    const own = reference(renderer, unsaid["maxBodyBytes"] as number, flags).locations.get("plain");
    const unflagged = asTexts(expectedLines({ ...unsaid, ...PLAIN, ...flags }, unsaid, "judged"));
    for (const [i, location] of there.entries()) {
      const constant = differences(asTexts(linesOf(own![i]!)), unflagged).added;
      const { added, missing } = differences(asTexts(linesOf(location)), [...values, ...constant]);
      if (added.length > 0) throw new UnexpectedError(`profile ${name}: ${added[0]} was not asked for`);
      if (missing.length > 0) throw new UnexpectedError(`profile ${name}: ${missing[0]} is missing`);
    }
  }
}
