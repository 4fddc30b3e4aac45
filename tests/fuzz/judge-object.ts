// One object on the real way: model, records as the bus carries them, the agent's rows, nginx.conf.
import { join } from "node:path";
import {
  BadRecordError,
  decode,
  type FleetCluster,
  type FleetValue,
  fleetKeys,
  fleetTable,
  type SealedContents,
  type SecretRow,
  type TableSpec,
  type TopologyPeers,
  topologyTable,
} from "@sluice/contracts";
import {
  buildFleet,
  defaultSettings,
  type KubeObject,
  type ListenerSettings,
  type ProfileSettings,
  ReadSecret,
  type SecretWant,
  type Verdict,
} from "@sluice/ingress";
import {
  FleetRows,
  type NginxOptions,
  type NginxRow,
  profileName,
  readProfile,
  renderNginx,
  type SecretSource,
} from "@sluice/proxy-agent/testing";
import { type Settings, UnexpectedError } from "./expected-locations.ts";
import { type HostileObject, NAMESPACE, PEERS } from "./hostile-object.ts";
import { judgeConf, type Renderer } from "./judge-conf.ts";
import { judgeListeners } from "./judge-listeners.ts";
import { judgeRow } from "./judge-rows.ts";
import { readNginxConf } from "./read-nginx-conf.ts";

/** What nginx is to be given for an object. */
export interface Rendered {
  readonly profiles: ReadonlyMap<string, ProfileSettings>;
  readonly rows: readonly NginxRow[];
  /** What is said of listeners, for nginx to judge. */
  readonly listeners?: Partial<ListenerSettings>;
}

const FLEET = "default";
const CONFIG = { namespace: NAMESPACE, name: "nginx-configuration" };
/** As NATS has it where nobody says otherwise: a larger record is refused by its writer, by name. */
const MAX_RECORD = 1024 * 1024;
/** Milliseconds of this thread's own work for one object, whatever is in it: several times what the largest take. */
const MAX_CPU_MS = 5000;
/** Bytes of all routes that an object asks for: each path has all that its annotations say, and other names repeat them. */
const MAX_ROUTES = 9_000_000;
/** Of all other rows: bytes that are made of one byte of an object. */
const MAX_GROWTH = 8;
const ALWAYS_BYTES = 1_000_000;
const MAX_MESSAGE = 2000;
const MAX_VERDICTS = 16;

export class Judge {
  readonly #options: NginxOptions;
  readonly #renderer: Renderer;
  readonly #pem: Pem;

  constructor(options: NginxOptions, pem: Pem) {
    this.#options = options;
    this.#pem = pem;
    this.#renderer = {
      unsaid: { ...defaultSettings },
      render: (profiles) =>
        renderNginx(options, profiles as unknown as ReadonlyMap<string, ProfileSettings>).conf,
    };
  }

  /** @throws Error with what must not be */
  judge(object: HostileObject): Rendered {
    const began = process.threadCpuUsage();
    const rendered = this.#judge(object);
    const { user, system } = process.threadCpuUsage(began);
    const ms = (user + system) / 1000;
    if (ms > MAX_CPU_MS) throw new UnexpectedError(`it cost ${ms.toFixed(0)} ms of work`);
    return rendered;
  }

  #judge(object: HostileObject): Rendered {
    if (object.settings !== undefined) return this.#judgeSettings(object.settings);
    if (object.listeners !== undefined)
      return { profiles: new Map(), rows: [], listeners: this.#judgeListeners(object.listeners) };
    if (object.paths !== undefined) return this.#judgePaths(object.paths);
    const { records, left, opened } =
      object.kind === "rows" ? foreignRecords(object) : modelRecords(object, this.#pem);
    const rows = new FleetRows({ peers: new Map(), refused: [], secrets: opened });
    for (const cluster of ["member1", "member2"]) {
      const value: FleetCluster = { cluster, state: "ok", allowed: [PEERS] };
      rows.set(fleetKeys.cluster(FLEET, cluster), value);
    }
    for (const [key, value] of records) rows.set(key, value);
    const profiles = new Map<string, ProfileSettings>();
    for (const [, row] of rows.profileRows()) {
      const settings = readProfile(row);
      if ("problem" in settings) {
        if (object.kind !== "rows")
          throw new UnexpectedError(`the agent refuses its profile: ${settings.problem}`);
      } else if (profileName(row.hash) !== "default") profiles.set(row.hash, settings);
    }
    const made = profiles as unknown as ReadonlyMap<string, Settings>;
    judgeConf(this.#renderer.render(made), made, this.#renderer);
    rows.setProfiles(new Set(["default", ...profiles.keys()]));
    const sent: NginxRow[] = [];
    for (let planned = rows.next(); planned.length > 0; planned = rows.next()) {
      for (const each of planned) {
        // Rows of others are for nginx to refuse.
        if (object.kind !== "rows") judgeRow(each.row);
        sent.push(each.row);
        rows.taken(each);
      }
    }
    const waiting = rows.problems.find(({ problem }) => problem.includes(" waits for "));
    if (object.kind !== "rows" && !left && waiting !== undefined) {
      throw new UnexpectedError(`a route waits for what never comes: ${waiting.problem}`);
    }
    const said = rows.settings?.[1].settings;
    if (said === undefined) return { profiles, rows: sent };
    const listeners = this.#judgeListeners(said);
    if (object.kind !== "rows" && Object.keys(listeners).length < Object.keys(said).length)
      throw new UnexpectedError(`the agent leaves out of the model's settings: ${JSON.stringify(said)}`);
    return { profiles, rows: sent, listeners };
  }

  #judgeListeners(given: Settings): Partial<ListenerSettings> {
    return judgeListeners(given, { ...this.#options, httpsAddress: "127.0.0.1:31591" });
  }

  /** The emitter by itself: it has to refuse what is of no type, whoever let it through. */
  #judgeSettings(given: Settings): Rendered {
    const profiles = new Map([["a1", { ...defaultSettings, ...given }]]);
    let text: string;
    try {
      text = this.#renderer.render(profiles as unknown as ReadonlyMap<string, Settings>);
    } catch (error) {
      if (error instanceof RangeError || error instanceof TypeError) return { profiles: new Map(), rows: [] };
      throw error;
    }
    // What it does not know it does not write.
    const known = Object.fromEntries(
      Object.entries(profiles.get("a1") ?? {}).filter(([name]) => Object.hasOwn(defaultSettings, name)),
    );
    judgeConf(text, new Map([["a1", known]]), this.#renderer, "typed");
    return { profiles: new Map(), rows: [] };
  }

  /** Texts of the process's own options: whatever they hold, nginx must read the same text again. */
  #judgePaths({ dir, luaPackagePath, httpAddress }: NonNullable<HostileObject["paths"]>): Rendered {
    const nothing = { profiles: new Map(), rows: [] };
    const options = this.#options;
    const tool = { ...options.tool, modules: { ...options.tool.modules, luaPackagePath } };
    let text: string;
    try {
      text = renderNginx({ ...options, tool, dir, httpAddress }, new Map()).conf;
    } catch (error) {
      if (error instanceof RangeError) return nothing;
      throw error;
    }
    const marks = { dir: "/mark", luaPackagePath: "/mark-lua", httpAddress: "127.0.0.1:1" };
    const plain = { ...tool, modules: { ...tool.modules, luaPackagePath: marks.luaPackagePath } };
    const wanted = renderNginx(
      { ...options, tool: plain, dir: marks.dir, httpAddress: marks.httpAddress },
      new Map(),
    ).conf;
    const said = (json: string) =>
      json
        .replaceAll(/settings-[0-9a-f]{16}/g, "settings")
        .replaceAll("/mark/settings", () => inJson(join(dir, "settings")))
        .replaceAll("/mark-lua", () => inJson(luaPackagePath))
        .replaceAll("/mark", () => inJson(dir))
        .replaceAll('"127.0.0.1:1"', () => JSON.stringify(httpAddress));
    const there = JSON.stringify(readNginxConf(text)).replaceAll(/settings-[0-9a-f]{16}/g, "settings");
    // Without a path of its own nothing is said of it.
    if (luaPackagePath === "") return nothing;
    if (there !== said(JSON.stringify(readNginxConf(wanted)))) {
      throw new UnexpectedError(
        `nginx.conf says something else than its options: ${JSON.stringify({ dir, luaPackagePath, httpAddress })}`,
      );
    }
    return nothing;
  }
}

function inJson(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

/** What stands for `@cert`, `@key` and `@ca` in Secrets: made anew by each process. */
export interface Pem {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

/** Opens what was never sealed: sealing has tests of its own, and costs more than all the rest. */
class Unsealed implements SecretSource {
  readonly contents = new Map<string, SealedContents>();

  of({ id, chain, authorities }: SecretRow): NonNullable<ReturnType<SecretSource["of"]>> {
    const { key, users } = this.contents.get(id) ?? {};
    return {
      row: {
        k: "secret",
        id,
        ...(chain === undefined ? {} : { chain }),
        ...(authorities === undefined ? {} : { authorities }),
        ...(key === undefined ? {} : { key }),
        ...(users === undefined ? {} : { users }),
      },
    };
  }

  remember(): void {}
  forget(): void {}
}

const SEALED = { key: "x".repeat(43), box: "AAAA" };

function secretRows(wants: ReadonlyMap<string, SecretWant>, opened: Unsealed): [string, SecretRow][] {
  return [...wants].flatMap(([id, want]): [string, SecretRow][] => {
    if (want.kind !== "row") return [];
    const { sealed, version, ...open } = want.contents;
    if (sealed !== undefined) opened.contents.set(id, sealed.reveal());
    const { namespace, name } = want.need;
    const row = {
      id,
      namespace,
      name,
      ...open,
      version,
      ...(sealed === undefined ? {} : { sealed: SEALED }),
    };
    return [[fleetKeys.secret(FLEET, id), row]];
  });
}

function readSecrets(object: HostileObject, { cert, key, ca }: Pem): Map<string, ReadSecret> {
  const filled = (text: string) =>
    text
      .replaceAll("@cert", () => cert)
      .replaceAll("@key", () => key)
      .replaceAll("@ca", () => ca);
  return new Map(
    Object.entries(object.secrets).map(([name, data]) => [
      `${NAMESPACE}/${name}`,
      new ReadSecret({
        metadata: { namespace: NAMESPACE, name, uid: "1", resourceVersion: "1" },
        data: Object.fromEntries(
          Object.entries(data).map(([field, text]) => [field, Buffer.from(filled(text)).toString("base64")]),
        ),
      }),
    ]),
  );
}

/** A record that a reader takes; null: none would. */
function taken<T>(spec: TableSpec<T>, key: string, value: unknown): T | null {
  const schema = spec.schemaOf(key);
  if (schema === null) return null;
  try {
    return decode(schema, JSON.parse(JSON.stringify(value)), key) as T;
  } catch (error) {
    if (error instanceof BadRecordError) return null;
    throw error;
  }
}

interface Records {
  readonly records: ReadonlyMap<string, FleetValue>;
  /** Some were too large for the bus. */
  readonly left: boolean;
  readonly opened: Unsealed;
}

function foreignRecords({ rows }: HostileObject): Records {
  const records = new Map<string, FleetValue>();
  for (const [key, row] of Object.entries(rows)) {
    const value = taken(fleetTable, key, row);
    if (value !== null) records.set(key, value);
  }
  return { records, left: false, opened: new Unsealed() };
}

function judgeVerdicts(verdicts: readonly Verdict[]): void {
  const counts = new Map<string, number>();
  for (const { object, reason, message } of verdicts) {
    const of = `${object.kind} ${object.namespace}/${object.name}`;
    counts.set(of, (counts.get(of) ?? 0) + 1);
    if ((counts.get(of) ?? 0) > MAX_VERDICTS)
      throw new UnexpectedError(`more than ${MAX_VERDICTS} things are said of ${of}`);
    if (message.length > MAX_MESSAGE)
      throw new UnexpectedError(`${reason} is told in ${message.length} characters`);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point
    if (/[\x00-\x1f\x7f]/.test(message)) {
      throw new UnexpectedError(
        `${reason} is told with a control character: ${JSON.stringify(message.slice(0, 200))}`,
      );
    }
  }
}

/** As the model makes them and the bus carries them. */
function modelRecords(object: HostileObject, pem: Pem): Records {
  const opened = new Unsealed();
  const peers = object.peers
    .map((record) => taken(topologyTable, "shop.web.member1", record) as TopologyPeers | null)
    .filter((record) => record !== null);
  const { rows, secrets, verdicts } = buildFleet(
    {
      ingresses: object.ingresses as readonly KubeObject[],
      imports: object.imports as readonly KubeObject[],
      classes: object.classes as readonly KubeObject[],
      peers: peers,
      exported: new Map([[`${NAMESPACE}/web`, new Set(["", "http"])]]),
      secrets: readSecrets(object, pem),
      configMaps: new Map([
        [
          `${NAMESPACE}/headers`,
          { metadata: { namespace: NAMESPACE, name: "headers" }, data: object.headers ?? {} },
        ],
      ]),
      now: Date.now(),
      ...(Object.keys(object.config).length === 0
        ? {}
        : { config: { metadata: CONFIG, data: object.config } }),
    },
    {
      fleet: FLEET,
      ingressClasses: ["nginx"],
      watchWithoutClass: false,
      servesTls: true,
      configMap: Object.keys(object.config).length === 0 ? null : CONFIG,
    },
  );
  judgeVerdicts(verdicts);
  const records = new Map<string, FleetValue>();
  const bytes = { routes: 0, others: 0 };
  let left = false;
  for (const [key, row] of [...secretRows(secrets, opened), ...rows]) {
    const text = JSON.stringify(row);
    if (text.includes("PRIVATE KEY")) throw new UnexpectedError(`${key} holds a private key in clear`);
    const route = key.startsWith(fleetKeys.route(FLEET, "").replace(/[^.]*$/, ""));
    bytes[route ? "routes" : "others"] += text.length;
    if (text.length > MAX_RECORD) {
      // The bus would refuse it, and all that anybody has on that host would stay as it was.
      if (route) throw new UnexpectedError(`${key} is larger than a record: ${text.length} bytes`);
      left = true;
      continue;
    }
    records.set(key, decode(fleetTable.schemaOf(key)!, JSON.parse(text), key) as FleetValue);
  }
  const given = JSON.stringify(object).length;
  if (
    bytes.routes > MAX_ROUTES * object.ingresses.length ||
    bytes.others > ALWAYS_BYTES + MAX_GROWTH * given
  ) {
    throw new UnexpectedError(
      `of ${given} bytes it makes ${bytes.routes} of routes and ${bytes.others} of others`,
    );
  }
  return { records, left, opened };
}
