import {
  type FleetSettings,
  type FleetValue,
  fleetKeys,
  type PeersRow,
  type ProfileRow,
  type RefusedProfile,
  type RefusedSetting,
  type TopologyPeers,
  type UpstreamRow,
} from "@sluice/contracts";
import { namesOf } from "./by-host.ts";
import { placeOf } from "./cluster-order.ts";
import { type CompiledIngress, compileIngress } from "./compile-ingress.ts";
import { type ConfigMap, type ConfigName, type ReadConfig, readConfig } from "./config-map/read-config.ts";
import { refusals } from "./config-map/refused-settings.ts";
import { FleetConfigMaps } from "./fleet-config-maps.ts";
import { FleetSecrets, type SecretChanges, type SecretOptions } from "./fleet-secrets.ts";
import { importNames, type LastBackend } from "./host-routes.ts";
import { type ClassRules, classRules } from "./ingress-class.ts";
import {
  type IngressClass,
  keyOf,
  type MultiClusterIngress,
  type ObjectRef,
  type ServiceImport,
} from "./objects.ts";
import { buildPeers } from "./peers.ts";
import { defaultProfile } from "./profile.ts";
import { ProfileGrants } from "./profile-grants.ts";
import { noDefaults } from "./read-annotations.ts";
import type { ReadSecret } from "./secret.ts";
import { assembleSecured, type SecuredHost, sameTls, wildcardOf } from "./secured-host.ts";
import { portMismatches, type ReadImport, readImport } from "./service-import.ts";
import { SetIndex } from "./set-index.ts";
import { SharedRows } from "./shared-rows.ts";
import { bounded, type Verdict } from "./verdict.ts";

export interface FleetOptions extends SecretOptions {
  readonly fleet: string;
  readonly ingressClasses: readonly string[];
  readonly watchWithoutClass: boolean;
  /** Takes what no rule takes, under every host; null: that is answered 404. */
  readonly defaultBackend?: LastBackend | null;
  /** A ConfigMap with ingress-nginx's options; null: what it says of all objects is not read. */
  readonly configMap?: ConfigName | null;
  /** Clusters that are near the fleet, by rank, lowest first; null: none is nearer than another. */
  readonly locality?: ReadonlyMap<string, number> | null;
  /** Different sets of sizes and times at most; default 200. */
  readonly maxProfiles?: number;
}

/** What differs since the last `settle`. */
export interface FleetChanges extends SecretChanges {
  /** Profiles, upstreams and routes; null: gone. */
  readonly rows: ReadonlyMap<string, FleetValue | null>;
  /** `namespace/name` of services whose upstreams or accepted clusters changed: their peers are to be built again. */
  readonly services: ReadonlySet<string>;
  /** Upstreams that are gone: their peers go with them. */
  readonly removedUpstreams: readonly UpstreamRow[];
  /** By `kind namespace/name`: all that is to be said of that object now; empty when it is well again or gone. */
  readonly verdicts: ReadonlyMap<string, readonly Verdict[]>;
}

const INGRESS = "MultiClusterIngress";
const IMPORT = "ServiceImport";
const CONFIG = "ConfigMap";

/**
 * The fleet's routes as a function of the hub's objects, kept current object by object. It has no clock and does no
 * I/O; after any sequence of sets and removes its rows equal those of a fresh model that was given what is left.
 */
export class FleetModel {
  readonly #options: FleetOptions;
  readonly #objects = new Map<string, MultiClusterIngress>();
  readonly #ingresses = new Map<string, CompiledIngress>();
  readonly #imports = new Map<string, ReadImport>();
  readonly #classes = new Map<string, IngressClass>();
  readonly #last: LastBackend | null;
  #rules: ClassRules;
  /** Port names that exported Services have, by service; absent: topology knows nothing of it. */
  readonly #exported = new Map<string, ReadonlySet<string>>();
  readonly #byHost = new SetIndex();
  /** MCIs by the import names that their backends may mean. */
  readonly #byImport = new SetIndex();
  readonly #hosts = new Map<string, SecuredHost>();
  /** Hosts by the wildcard host whose certificate they are shown if they have none. */
  readonly #underWildcard = new SetIndex();
  readonly #secrets: FleetSecrets;
  readonly #configMaps = new FleetConfigMaps();
  readonly #upstreams = new SharedRows<UpstreamRow>(({ id }) => id);
  readonly #upstreamsOfService = new SetIndex();
  readonly #profiles = new SharedRows<ProfileRow>(({ hash }) => hash);
  readonly #grants: ProfileGrants;

  #config: ReadConfig = { defaults: noDefaults, settings: {}, verdicts: [] };
  /** Of the ConfigMap that is read; null: none is, or there is none. */
  #configObject: ConfigMap | null = null;
  #refusedSettings: readonly RefusedSetting[] = [];
  /** What the row said of it at the last `settle`, as text. */
  #settingsSaid = "{}";

  readonly #dirtyHosts = new Set<string>();
  readonly #dirtyVerdicts = new Set<string>();
  readonly #dirtyServices = new Set<string>();
  #started = false;

  constructor(options: FleetOptions) {
    this.#options = options;
    this.#rules = classRules(options, []);
    this.#last = options.defaultBackend ?? null;
    this.#grants = new ProfileGrants(options.maxProfiles);
    this.#secrets = new FleetSecrets(options);
    if (this.#last !== null || this.#secrets.defaultCertificate !== null) this.#dirtyHosts.add("");
  }

  setIngress(object: MultiClusterIngress): void {
    const key = keyOf(object);
    this.#unlink(key);
    this.#objects.set(key, object);
    const { servesTls = false } = this.#options;
    const { lookup } = this.#configMaps;
    this.#link(compileIngress(object, this.#rules, servesTls, this.#config.defaults, lookup));
  }

  removeIngress(key: string): void {
    this.#unlink(key);
    this.#objects.delete(key);
  }

  setImport(object: ServiceImport): void {
    const key = keyOf(object);
    this.#imports.set(key, readImport(object));
    this.#importChanged(key);
  }

  removeImport(key: string): void {
    if (this.#imports.delete(key)) this.#importChanged(key);
  }

  setClass(object: IngressClass): void {
    this.#classes.set(object.metadata.name, object);
    this.#classesChanged();
  }

  removeClass(name: string): void {
    if (this.#classes.delete(name)) this.#classesChanged();
  }

  /** @param object null: the hub has none of that name. Nothing where no ConfigMap is asked for. */
  setConfig(object: ConfigMap | null): void {
    const of = this.#options.configMap;
    if (of == null) return;
    this.#config = readConfig(of, object);
    this.#configObject = object;
    this.#dirtyVerdicts.add(`${CONFIG} ${of.namespace}/${of.name}`);
    this.#readAgain();
  }

  /** @param object null: the hub has none of that name; undefined: nobody can tell any more */
  setConfigMap(key: string, object: ConfigMap | null | undefined): void {
    for (const ingress of this.#configMaps.set(key, object)) {
      this.setIngress(this.#objects.get(ingress) as MultiClusterIngress);
    }
  }

  /** `namespace/name` of ConfigMaps that objects name since the last call, or (false) name no more. */
  takeNamedConfigMaps(): ReadonlyMap<string, boolean> {
    return this.#configMaps.takeNamed();
  }

  /** @param secret null: the hub has none of that name; undefined: nobody can tell any more */
  setSecret(key: string, secret: ReadSecret | null | undefined): void {
    for (const ingress of this.#secrets.set(key, secret)) this.#touch(ingress);
  }

  /** Time goes on. @param now milliseconds since 1970. @returns whether there is something else to say of certificates */
  setNow(now: number): boolean {
    const concerned = this.#secrets.setNow(now);
    for (const ingress of concerned) this.#dirtyVerdicts.add(`${INGRESS} ${ingress}`);
    return concerned.size > 0;
  }

  /** Certificates that are named: `namespace/name` of their Secret, and when they end, milliseconds since 1970. */
  certificateEnds(): IterableIterator<[key: string, notAfter: number]> {
    return this.#secrets.ends();
  }

  /** `names` null: topology no longer knows the service. @returns whether that is news */
  setExportedPorts(service: string, names: ReadonlySet<string> | null): boolean {
    const before = this.#exported.get(service);
    if (names === null ? before === undefined : before !== undefined && sameSet(before, names)) return false;
    if (names === null) this.#exported.delete(service);
    else this.#exported.set(service, names);
    this.#dirtyVerdicts.add(`${IMPORT} ${service}`);
    return true;
  }

  /** Whether this fleet serves the MCI: then its status names the fleet's address. */
  serves(key: string): boolean {
    return this.#ingresses.get(key)?.served ?? false;
  }

  /** Profiles that a proxy could not run with; routes follow at the next `settle`. @returns whether that is news */
  refuseProfiles(refused: readonly RefusedProfile[]): boolean {
    return this.#grants.refuse(refused);
  }

  /** Settings of listeners that a proxy could not run with; told at the next `settle`. @returns whether that is news */
  refuseSettings(refused: readonly RefusedSetting[]): boolean {
    const of = this.#options.configMap;
    if (JSON.stringify(refused) === JSON.stringify(this.#refusedSettings)) return false;
    this.#refusedSettings = refused;
    if (of == null) return false;
    this.#dirtyVerdicts.add(`${CONFIG} ${of.namespace}/${of.name}`);
    return true;
  }

  /** What the ConfigMap says of listeners, refused or not. */
  settings(): FleetSettings {
    return { ...this.#config.settings };
  }

  /** What objects ask for and may have, refused or not, by hash; without the default one. */
  profiles(): ReadonlyMap<string, ProfileRow> {
    return this.#grants.wanted();
  }

  /** As of the last `settle`. */
  hasUpstream(id: string): boolean {
    return this.#upstreams.has(id);
  }

  /** `namespace/name` of the service that an upstream stands for, as of the last `settle`. */
  serviceOf(id: string): string | undefined {
    const upstream = this.#upstreams.get(id);
    return upstream === undefined ? undefined : serviceOf(upstream);
  }

  /** Rows of one cluster's topology record, one an upstream of that service; null: the row is not to be. */
  *peerRows(record: TopologyPeers): IterableIterator<[string, PeersRow | null]> {
    const service = serviceOf(record);
    const ids = this.#upstreamsOfService.get(service);
    if (ids.size === 0) return;
    const imported = this.#imports.get(service);
    // An import that has just gone accepts nobody: whose exports counted went with it.
    const accepted = imported !== undefined && (imported.from === null || imported.from.has(record.cluster));
    for (const id of ids) {
      const key = fleetKeys.peers(this.#options.fleet, id, record.cluster);
      if (!accepted) yield [key, null];
      else {
        const place = placeOf(record.cluster, imported.order, this.#options.locality);
        yield [key, buildPeers(this.#upstreams.get(id) as UpstreamRow, record, place)];
      }
    }
  }

  /** Brings the rows up to date and says what changed: O(hosts that changed objects touch). */
  settle(): FleetChanges {
    const rows = new Map<string, FleetValue | null>();
    const { fleet } = this.#options;
    if (!this.#started) {
      this.#started = true;
      rows.set(fleetKeys.profile(fleet, defaultProfile.hash), defaultProfile);
    }
    this.#settleSettings(rows);
    for (const key of this.#grants.settle()) this.#touch(key);
    const at = (host: string) =>
      [...this.#byHost.get(host)].map((key) =>
        this.#grants.granted(this.#ingresses.get(key) as CompiledIngress),
      );
    const around = {
      at,
      imports: (ns: string, name: string) => this.#imports.get(`${ns}/${name}`),
      last: this.#last,
      secrets: this.#secrets.lookup,
      defaultCertificate: this.#secrets.defaultCertificate,
    };
    for (const host of this.#dirtyHosts) {
      // What it serves is served under its other names too; a set that grows is walked to its end.
      for (const { otherNames } of at(host)) {
        for (const { name } of namesOf(otherNames, host)) this.#dirtyHosts.add(name);
      }
      const before = this.#hosts.get(host);
      const after = assembleSecured(host, around);
      if (!sameTls(before, after))
        for (const under of this.#underWildcard.get(host)) this.#dirtyHosts.add(under);
      this.#upstreams.use(host, before?.upstreams, after.upstreams);
      this.#profiles.use(host, before?.profiles, after.profiles);
      this.#secrets.use(host, before?.needs, after.needs);
      for (const key of before?.verdicts.keys() ?? []) this.#dirtyVerdicts.add(`${INGRESS} ${key}`);
      for (const key of after.verdicts.keys()) this.#dirtyVerdicts.add(`${INGRESS} ${key}`);
      // A canary that stands beside nothing has a verdict, and its host no row.
      if (after.row === null && after.verdicts.size === 0) this.#hosts.delete(host);
      else this.#hosts.set(host, after);
      if (after.row !== null || before?.row != null) rows.set(fleetKeys.route(fleet, host), after.row);
    }
    this.#dirtyHosts.clear();
    for (const [hash, profile, used] of this.#profiles.settle()) {
      // The default one is always there.
      if (hash !== defaultProfile.hash) rows.set(fleetKeys.profile(fleet, hash), used ? profile : null);
    }
    const removedUpstreams: UpstreamRow[] = [];
    for (const [id, upstream, used] of this.#upstreams.settle()) {
      const service = serviceOf(upstream);
      rows.set(fleetKeys.upstream(fleet, id), used ? upstream : null);
      if (used) {
        this.#upstreamsOfService.add(service, id);
        this.#dirtyServices.add(service);
      } else {
        this.#upstreamsOfService.delete(service, id);
        removedUpstreams.push(upstream);
      }
    }
    const services = new Set(this.#dirtyServices);
    this.#dirtyServices.clear();
    const verdicts = new Map<string, readonly Verdict[]>();
    for (const object of this.#dirtyVerdicts) verdicts.set(object, this.#verdictsOf(object));
    this.#dirtyVerdicts.clear();
    return { rows, services, removedUpstreams, ...this.#secrets.settle(), verdicts };
  }

  #settleSettings(rows: Map<string, FleetValue | null>): void {
    const { fleet, configMap: source } = this.#options;
    const settings = this.settings();
    const said = JSON.stringify(settings);
    if (source == null || said === this.#settingsSaid) return;
    this.#settingsSaid = said;
    rows.set(fleetKeys.settings(fleet), said === "{}" ? null : { source: { ...source }, settings });
  }

  #verdictsOf(object: string): readonly Verdict[] {
    const space = object.indexOf(" ");
    const key = object.slice(space + 1);
    if (object.slice(0, space) === IMPORT) {
      const imported = this.#imports.get(key);
      if (imported === undefined) return [];
      const exported = this.#exported.get(key);
      const mismatches = exported === undefined ? [] : portMismatches(imported, exported);
      return bounded([...imported.verdicts, ...mismatches]);
    }
    if (object.slice(0, space) === CONFIG) return bounded(this.#configVerdicts());
    const compiled = this.#ingresses.get(key);
    if (compiled === undefined) return [];
    const profile = this.#grants.verdict(compiled);
    const own = [...compiled.verdicts, ...this.#secrets.verdicts(compiled)];
    const said = [...(profile === null ? [] : [profile]), ...own];
    for (const host of [...hostsOf(compiled)].sort())
      said.push(...(this.#hosts.get(host)?.verdicts.get(key) ?? []));
    return bounded(said);
  }

  #configVerdicts(): readonly Verdict[] {
    const of = this.#options.configMap;
    if (of == null) return [];
    return [...refusals(of, this.#configObject, this.#refusedSettings), ...this.#config.verdicts];
  }

  /** Its routes are to be made again. */
  #touch(key: string): void {
    // The default certificate is named by nobody's object.
    if (key === "") this.#dirtyHosts.add("");
    const compiled = this.#ingresses.get(key);
    if (compiled === undefined) return;
    this.#dirtyVerdicts.add(`${INGRESS} ${key}`);
    for (const host of hostsOf(compiled)) this.#dirtyHosts.add(host);
  }

  #link(compiled: CompiledIngress): void {
    const { key } = compiled;
    this.#ingresses.set(key, compiled);
    this.#grants.set(compiled);
    this.#dirtyVerdicts.add(`${INGRESS} ${key}`);
    for (const host of hostsOf(compiled)) {
      this.#byHost.add(host, key);
      this.#dirtyHosts.add(host);
      const above = wildcardOf(host);
      if (above !== null) this.#underWildcard.add(above, host);
    }
    this.#secrets.link(compiled);
    this.#configMaps.link(compiled);
    for (const service of importsOf(compiled)) this.#byImport.add(service, key);
  }

  #unlink(key: string): void {
    const compiled = this.#ingresses.get(key);
    if (compiled === undefined) return;
    this.#ingresses.delete(key);
    this.#grants.remove(key);
    this.#dirtyVerdicts.add(`${INGRESS} ${key}`);
    for (const host of hostsOf(compiled)) {
      this.#byHost.delete(host, key);
      this.#dirtyHosts.add(host);
      const above = wildcardOf(host);
      if (above !== null && this.#byHost.get(host).size === 0) this.#underWildcard.delete(above, host);
    }
    this.#secrets.unlink(compiled);
    this.#configMaps.unlink(compiled);
    for (const service of importsOf(compiled)) this.#byImport.delete(service, key);
  }

  #importChanged(key: string): void {
    this.#dirtyVerdicts.add(`${IMPORT} ${key}`);
    this.#dirtyServices.add(key);
    if (this.#last !== null && importsOfName(this.#last.namespace, this.#last.name).includes(key)) {
      for (const host of [...this.#byHost.keys(), ""]) this.#dirtyHosts.add(host);
    }
    for (const ingress of this.#byImport.get(key)) {
      for (const host of hostsOf(this.#ingresses.get(ingress) as CompiledIngress)) this.#dirtyHosts.add(host);
    }
  }

  #classesChanged(): void {
    this.#rules = classRules(this.#options, this.#classes.values());
    this.#readAgain();
  }

  /** Rare, so all MCIs are. */
  #readAgain(): void {
    for (const object of [...this.#objects.values()]) this.setIngress(object);
  }
}

function serviceOf({ namespace, service }: UpstreamRow | TopologyPeers): string {
  return `${namespace}/${service}`;
}

function sameSet(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && a.isSubsetOf(b);
}

function hostsOf(compiled: CompiledIngress): Set<string> {
  return new Set([
    ...compiled.paths.map((path) => path.host),
    ...compiled.otherNames.map(({ name }) => name),
  ]);
}

/** Every import that a change of would change this MCI's rows. */
function importsOf(compiled: CompiledIngress): Set<string> {
  const found = new Set<string>();
  for (const { backend, spare } of compiled.paths) {
    const names = backend.kind === "service" ? [backend.name] : [];
    if (spare !== undefined) names.push(spare);
    for (const name of names) for (const each of importsOfName(compiled.ref.namespace, name)) found.add(each);
  }
  return found;
}

function importsOfName(namespace: string, name: string): string[] {
  return importNames(name).map((each) => `${namespace}/${each}`);
}

/** `kind namespace/name`, as `FleetChanges.verdicts` names objects. */
export function verdictKey(ref: ObjectRef): string {
  return `${ref.kind} ${ref.namespace}/${ref.name}`;
}
