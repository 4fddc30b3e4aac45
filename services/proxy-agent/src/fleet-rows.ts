import {
  type FleetCluster,
  type FleetValue,
  type HealthCheck,
  type PeersRow,
  type ProfileRow,
  peerFilter,
  type RolloutRow,
  type RouteRow,
  type SecretRow,
  type SettingsRow,
  type UpstreamRow,
} from "@sluice/contracts";
import { defaultSettings, type ProfileSettings } from "@sluice/ingress";
import type { CheckedPeer } from "./checks/active-checks.ts";
import { type CheckSecrets, type CheckTls, checkTls, isTlsCheck } from "./checks/check-tls.ts";
import type { CertificateExpiry } from "./dashboard-metrics.ts";
import {
  BATCH_COST,
  costOf,
  type NginxRow,
  type NginxRowName,
  type NginxSecret,
  type PathEntry,
  type PathSource,
  type PeerEntry,
  pathEntry,
  removal,
  rowKey,
  upstreamRow,
} from "./nginx-row.ts";
import { profileName, readProfile } from "./profile-settings.ts";
import type { OpenedSecret } from "./secret-opener.ts";
import { STAGES, StagedKeys } from "./staged-keys.ts";

export interface FleetRowsOptions {
  /** CIDRs by cluster that a person allowed with `--peers`. */
  readonly peers: ReadonlyMap<string, readonly string[]>;
  /** Addresses that are no peers whatever the ranges say. */
  readonly refused: readonly string[];
  /** Absent: no secret is opened. */
  readonly secrets?: SecretSource;
}

/** Who opens secrets. */
export interface SecretSource {
  /** null: not yet; `secretOpened` says when. */
  of(row: SecretRow): OpenedSecret | null;
  remember(row: SecretRow, opened: NginxSecret): void;
  forget(id: string): void;
}

/** A row to send, and the fleet record that asks for it (null: nobody does any more). */
export interface PlannedRow {
  readonly key: string | null;
  readonly name: string;
  readonly row: NginxRow;
  /** Of the record as it was when this was planned. */
  readonly version: number;
}

interface Held {
  readonly name: NginxRowName;
  /** null: nginx has it, but what is in it is not known. */
  readonly row: NginxRow | null;
}

type NginxPeers = Extract<NginxRow, { readonly peers: unknown }>;

type Built = { readonly row: NginxRow } | { readonly waits: string } | { readonly problem: string };

/**
 * What nginx should have against what it has: no I/O, no clock. `next()` says what to send; `taken()` and `refused()`
 * say what came of it. Nothing is sent that was taken already, and rows go out make-before-break: what routes need,
 * then routes, then what no route needs any more.
 */
export class FleetRows {
  readonly #options: FleetRowsOptions;
  readonly #wanted = new Map<string, FleetValue>();
  /** By fleet key. */
  readonly #nameOf = new Map<string, NginxRowName>();
  /** By row key. */
  readonly #keyOf = new Map<string, string>();
  readonly #held = new Map<string, Held>();
  readonly #dirty = new StagedKeys();
  /** How many changes there had been at the last one of each key: a key that goes and comes back is not what it was. */
  readonly #versions = new Map<string, number>();
  #changes = 0;
  readonly #waiting = new Map<string, string>();
  /** Keys whose value is a last-good copy's, and has not been heard of on the bus since. */
  readonly #copied = new Set<string>();
  readonly #problems = new Map<string, string>();
  /** Rows that may go: removed by somebody who may, by row key. */
  readonly #removable = new Set<string>();
  /** Peers that nginx has, by cluster and row key. */
  readonly #peersOf = new Map<string, Map<string, NginxPeers>>();
  /** Which routes in nginx use an upstream. */
  readonly #users = new Map<string, Set<string>>();
  readonly #refusedPeers = new Map<string, number>();
  readonly #filters = new Map<string, ReturnType<typeof peerFilter>>();
  /** Rows whose contents in nginx are a guess: sent again even when they look the same. */
  #unsure = new Set<string>();
  #profiles: ReadonlySet<string> = new Set(["default"]);
  /** Rows that were told last: nginx may have them before it is known. */
  #sent: readonly PlannedRow[] = [];
  #peerCount = 0;
  /** How many rows of each kind nginx holds: told after every batch, so nobody counts them. */
  #heldOf = noRows();
  readonly #profileKeys = new Set<string>();
  #rolloutKey: string | undefined;
  #settingsKey: string | undefined;
  /** By upstream. */
  readonly #checks = new Map<string, HealthCheck>();
  readonly #checkSecrets: CheckSecrets = {
    authorities: (id) => this.authorities(id),
    client: (id) => {
      const key = this.#keyOf.get(rowKey({ k: "secret", id }));
      const row = key === undefined ? undefined : (this.#wanted.get(key) as SecretRow);
      const opened = row === undefined ? null : (this.#options.secrets?.of(row) ?? null);
      if (opened === null || "problem" in opened) return undefined;
      const { chain, key: privateKey } = opened.row;
      return chain === undefined || privateKey === undefined ? undefined : { chain, key: privateKey };
    },
  };

  constructor(options: FleetRowsOptions) {
    this.#options = options;
  }

  /** A fleet record as it is now; undefined: it is gone. */
  set(key: string, value: FleetValue | undefined): void {
    this.#problems.delete(key);
    this.#waiting.delete(key);
    this.#refusedPeers.delete(key);
    this.#copied.delete(key);
    const before = this.#wanted.get(key);
    if (value === undefined) return this.#remove(key);
    this.#wanted.set(key, value);
    if (key.split(".")[1] === "profiles") this.#profileKeys.add(key);
    if (key.split(".")[1] === "rollout") this.#rolloutKey = key;
    if (key.split(".")[1] === "settings") this.#settingsKey = key;
    const name = nameOf(key, value);
    if (name === null) return;
    this.#nameOf.set(key, name);
    this.#keyOf.set(rowKey(name), key);
    this.#removable.delete(rowKey(name));
    this.#mark(key);
    if (name.k === "upstream") this.#noteCheck(name.id, (value as UpstreamRow).check);
    if (name.k !== "cluster") return;
    const { allowed } = value as FleetCluster;
    if (before === undefined || !sameTexts((before as FleetCluster).allowed, allowed)) {
      this.#judgeAnew(name.cluster);
    }
  }

  #mark(key: string): void {
    this.#versions.set(key, ++this.#changes);
    this.#dirty.add(key);
  }

  #remove(key: string): void {
    const name = this.#nameOf.get(key);
    this.#wanted.delete(key);
    this.#profileKeys.delete(key);
    if (key === this.#rolloutKey) this.#rolloutKey = undefined;
    if (key === this.#settingsKey) this.#settingsKey = undefined;
    this.#nameOf.delete(key);
    this.#dirty.delete(key);
    this.#versions.delete(key);
    if (name === undefined) return;
    if (name.k === "secret") {
      this.#options.secrets?.forget(name.id);
      this.#retryWaiting();
    }
    this.#keyOf.delete(rowKey(name));
    this.#removable.add(rowKey(name));
    if (name.k === "upstream") this.#noteCheck(name.id, undefined);
    if (name.k === "cluster") this.#judgeAnew(name.cluster);
  }

  #noteCheck(upstream: string, check: HealthCheck | undefined): void {
    if (check === undefined) this.#checks.delete(upstream);
    else this.#checks.set(upstream, check);
  }

  /** Its allowed addresses have changed: all its peers are judged anew, if any were judged yet. */
  #judgeAnew(cluster: string): void {
    if (!this.#filters.delete(cluster)) return;
    for (const [key, name] of this.#nameOf) {
      if (name.k === "peers" && name.cluster === cluster) this.#mark(key);
    }
  }

  /** Profiles that nginx has loaded; routes that waited for one go on. */
  setProfiles(loaded: ReadonlySet<string>): void {
    this.#profiles = loaded;
    this.#retryWaiting();
  }

  #retryWaiting(): void {
    for (const key of this.#waiting.keys()) this.#dirty.add(key);
    this.#waiting.clear();
  }

  /** What a last-good copy says was wanted, and what nginx had for it: used until the bus and nginx itself are asked. */
  remember(key: string, value: FleetValue, row: NginxRow | null): void {
    this.set(key, value);
    this.#copied.add(key);
    if (row === null || "del" in row) return;
    if (row.k === "secret") this.#options.secrets?.remember(value as SecretRow, row);
    this.#hold(row, row);
  }

  /** Another nginx, or one that is met for the first time: it has these rows, with contents that nobody knows. */
  meet(there: readonly NginxRowName[]): void {
    const before = new Map(this.#held);
    this.#held.clear();
    this.#users.clear();
    this.#peersOf.clear();
    this.#peerCount = 0;
    this.#heldOf = noRows();
    for (const name of there) {
      const known = before.get(rowKey(name))?.row ?? null;
      this.#hold(name, known);
    }
    this.#unsure = new Set(this.#held.keys());
    for (const [key, name] of this.#nameOf) {
      // The copy may be a moment older than what this nginx has been given since: it fills gaps and nothing else.
      if (this.#copied.has(key) && this.#held.has(rowKey(name))) this.#dirty.delete(key);
      else this.#dirty.add(key);
    }
  }

  /**
   * The table is settled: what nginx has and nobody wants may go, and what the copy says is as the table has it; but for
   * keys that are still being asked for. @param doubtful those
   */
  settle(doubtful: (key: string) => boolean): void {
    for (const key of this.#copied) {
      if (doubtful(key)) continue;
      this.#copied.delete(key);
      if (this.#nameOf.has(key)) this.#dirty.add(key);
    }
    for (const name of this.#held.keys()) if (!this.#keyOf.has(name)) this.#removable.add(name);
  }

  /** Rows of the last good copy that the bus has neither confirmed nor replaced. */
  get copied(): number {
    return this.#copied.size;
  }

  /** Refused rows are tried again: memory may have become free. */
  retryRefused(): void {
    for (const key of this.#problems.keys()) if (this.#nameOf.has(key)) this.#dirty.add(key);
  }

  /** The next rows to send, of one stage; empty when nginx has all it can have. What was told before has an outcome. */
  next(): PlannedRow[] {
    const rows = this.#nextOf();
    this.#sent = rows;
    return rows;
  }

  #nextOf(): PlannedRow[] {
    for (let stage = 0; stage < STAGES; stage++) {
      const rows = this.#changed(this.#dirty.of(stage));
      if (rows.length > 0) return rows;
    }
    for (const kind of ["route", "peers", "upstream", "cluster", "secret"] as const) {
      const rows = this.#removals(kind);
      if (rows.length > 0) return rows;
    }
    return [];
  }

  #changed(dirty: Set<string>): PlannedRow[] {
    const planned: PlannedRow[] = [];
    let cost = 0;
    for (const key of dirty) {
      const name = this.#nameOf.get(key);
      if (name === undefined) {
        dirty.delete(key);
        continue;
      }
      const built = this.#build(key);
      if ("waits" in built) {
        dirty.delete(key);
        this.#waiting.set(key, built.waits);
        continue;
      }
      if ("problem" in built) {
        dirty.delete(key);
        this.#problems.set(key, built.problem);
        this.#retryWaiting();
        continue;
      }
      const id = rowKey(name);
      const held = this.#held.get(id)?.row;
      if (held != null && !this.#unsure.has(id) && same(held, built.row)) {
        dirty.delete(key);
        continue;
      }
      cost += costOf(built.row);
      // A row that is dearer than a whole batch goes alone.
      if (planned.length > 0 && cost > BATCH_COST) break;
      planned.push({ key, name: id, row: built.row, version: this.#versions.get(key) ?? 0 });
    }
    return planned;
  }

  #removals(kind: NginxRowName["k"]): PlannedRow[] {
    const planned: PlannedRow[] = [];
    for (const name of this.#removable) {
      const held = this.#held.get(name);
      if (held === undefined || this.#keyOf.has(name)) {
        this.#removable.delete(name);
        continue;
      }
      if (held.name.k !== kind || planned.length * 10 >= BATCH_COST) continue;
      // An upstream that a route in nginx still uses stays until that route has changed.
      if (held.name.k === "upstream" && (this.#users.get(held.name.id)?.size ?? 0) > 0) continue;
      planned.push({ key: null, name, row: removal(held.name), version: 0 });
    }
    return planned;
  }

  #build(key: string): Built {
    const value = this.#wanted.get(key);
    const kind = key.split(".")[1];
    if (kind === "clusters") {
      const { cluster, state, forced } = value as FleetCluster;
      return { row: { k: "cluster", cluster, state, ...(forced === true ? { forced } : {}) } };
    }
    if (kind === "upstreams") return { row: upstreamRow(value as UpstreamRow) };
    if (kind === "peers") return { row: this.#buildPeers(key, value as PeersRow) };
    if (kind === "secrets") return this.#buildSecret(value as SecretRow);
    return this.#buildRoute(value as RouteRow);
  }

  #buildSecret(row: SecretRow): Built {
    const { secrets } = this.#options;
    if (secrets === undefined) return { problem: "this proxy opens no secrets" };
    return secrets.of(row) ?? { waits: "it is being opened" };
  }

  /** A secret that was being opened has been, or has turned out not to open. */
  secretOpened(id: string): void {
    const key = this.#keyOf.get(rowKey({ k: "secret", id }));
    if (key === undefined) return;
    this.#waiting.delete(key);
    this.#dirty.add(key);
  }

  /** Whether a secret is on its way to nginx, which has nothing of it yet. One that cannot come keeps no route waiting. */
  #isComing(id: string): boolean {
    const name = rowKey({ k: "secret", id });
    const key = this.#keyOf.get(name);
    return key !== undefined && !this.#held.has(name) && !this.#problems.has(key);
  }

  #buildPeers(key: string, { upstream, cluster, peers, share, rank }: PeersRow): NginxRow {
    const filter = this.#filterOf(cluster);
    const kept: PeerEntry[] = [];
    let refused = 0;
    let why = "";
    for (const peer of peers) {
      const verdict = filter(peer.address);
      if (verdict.allowed) {
        kept.push(peer.draining === true ? [peer.address, peer.port, 1, 1] : [peer.address, peer.port, 1]);
      } else {
        refused++;
        why ||= verdict.why;
      }
    }
    if (refused === 0) {
      this.#refusedPeers.delete(key);
      this.#problems.delete(key);
    } else {
      this.#refusedPeers.set(key, refused);
      this.#problems.set(key, `${refused} of ${peers.length} peers left out: ${why}`);
    }
    return {
      k: "peers",
      upstream,
      cluster,
      ...(share === undefined ? {} : { share }),
      ...(rank === undefined ? {} : { rank }),
      peers: kept,
    };
  }

  #filterOf(cluster: string): ReturnType<typeof peerFilter> {
    const known = this.#filters.get(cluster);
    if (known !== undefined) return known;
    const clusterKey = this.#keyOf.get(rowKey({ k: "cluster", cluster }));
    const record = clusterKey === undefined ? undefined : (this.#wanted.get(clusterKey) as FleetCluster);
    const filter = peerFilter({
      fromNodes: record?.allowed ?? [],
      fromFlags: this.#options.peers.get(cluster) ?? [],
      refused: this.#options.refused,
    });
    this.#filters.set(cluster, filter);
    return filter;
  }

  #buildRoute({ host, paths, certificate, clients }: RouteRow): Built {
    for (const id of [certificate, clients?.authorities]) {
      if (id !== undefined && this.#isComing(id)) return { waits: `waits for secret ${id}` };
    }
    for (const path of paths) {
      for (const id of [path.upstream, path.spare, path.canary?.upstream]) {
        if (id == null || this.#held.has(rowKey({ k: "upstream", id }))) continue;
        return { waits: `path ${path.path} waits for upstream ${id}` };
      }
      if (!this.#profiles.has(profileName(path.profile))) {
        return { waits: `path ${path.path} waits for profile ${path.profile}` };
      }
    }
    return {
      row: {
        k: "route",
        host,
        paths: paths.map((path) => pathEntry(path, profileName(path.profile))),
        ...this.#sourcesOf(paths),
        ...(certificate === undefined ? {} : { certificate }),
        ...(clients === undefined ? {} : { clients }),
      },
    };
  }

  #sourcesOf(paths: RouteRow["paths"]): { sources: PathSource[]; of: number[] } {
    const places = new Map<string, number>();
    const sources: PathSource[] = [];
    const of = paths.map(({ source, service = "" }) => {
      const entry = [source.namespace, source.name, service] as const;
      const text = entry.join(" ");
      const place = places.get(text) ?? sources.push(entry);
      places.set(text, place);
      return place;
    });
    return { sources, of };
  }

  /** nginx has taken this row. */
  taken({ key, name, row, version }: PlannedRow): void {
    this.#unsure.delete(name);
    if ("del" in row) {
      this.#forget(name);
      this.#removable.delete(name);
      return;
    }
    this.#forget(name);
    this.#hold(row, row);
    if (row.k === "upstream" || row.k === "secret") this.#retryWaiting();
    // The record may have changed while the row was on its way: then it is sent once more.
    if (key === null) return;
    if (this.#versions.get(key) !== version) return;
    this.#dirty.delete(key);
    if (!this.#refusedPeers.has(key)) this.#problems.delete(key);
  }

  /** nginx would not have it; the row that it has serves on. */
  refused({ key, name, version }: PlannedRow, why: string): void {
    if (key === null) {
      this.#removable.delete(name);
      return;
    }
    if (this.#versions.get(key) !== version) return;
    this.#dirty.delete(key);
    this.#problems.set(key, why);
    if (this.#nameOf.get(key)?.k === "secret") this.#retryWaiting();
  }

  #hold(name: NginxRowName, row: NginxRow | null): void {
    const id = rowKey(name);
    if (!this.#held.has(id)) this.#heldOf[name.k]++;
    this.#held.set(id, { name, row });
    if (row === null || "del" in row) return;
    if (row.k === "peers") {
      this.#peerCount += row.peers.length;
      const known = this.#peersOf.get(row.cluster);
      if (known === undefined) this.#peersOf.set(row.cluster, new Map([[id, row]]));
      else known.set(id, row);
    }
    if (row.k !== "route") return;
    for (const upstream of upstreamsOf(row.paths)) {
      const users = this.#users.get(upstream) ?? new Set();
      this.#users.set(upstream, users.add(id));
    }
  }

  #forget(id: string): void {
    const held = this.#held.get(id);
    if (held !== undefined) this.#heldOf[held.name.k]--;
    const row = held?.row;
    this.#held.delete(id);
    if (row == null || "del" in row) return;
    if (row.k === "peers") {
      this.#peerCount -= row.peers.length;
      const known = this.#peersOf.get(row.cluster);
      if (known?.delete(id) && known.size === 0) this.#peersOf.delete(row.cluster);
    }
    if (row.k === "route") for (const each of upstreamsOf(row.paths)) this.#users.get(each)?.delete(id);
  }

  /** Peers that nginx has, of upstreams that want theirs checked; none that terminates. */
  *checkedPeers(): IterableIterator<CheckedPeer> {
    if (this.#checks.size === 0) return;
    const identities = new Map<string, CheckTls | null>();
    for (const rows of this.#peersOf.values()) {
      for (const { upstream, cluster, peers } of rows.values()) {
        const check = this.#checks.get(upstream);
        if (check === undefined) continue;
        let tls = identities.get(upstream);
        if (tls === undefined && isTlsCheck(check)) {
          tls = checkTls(this.#profilesOf(upstream), this.#checkSecrets);
          identities.set(upstream, tls);
        }
        // Nobody could prove anything yet: requests find out for themselves.
        if (tls === null) continue;
        for (const [address, port, , draining] of peers) {
          if (draining === 1) continue;
          yield { upstream, cluster, address, port, check, ...(tls === undefined ? {} : { tls }) };
        }
      }
    }
  }

  /** Of the routes in nginx that lead to an upstream, by name. */
  #profilesOf(upstream: string): Map<string, ProfileSettings> {
    const names = new Set<string>();
    for (const id of this.#users.get(upstream) ?? []) {
      const row = this.#held.get(id)?.row;
      if (row?.k !== "route" || "del" in row) continue;
      for (const path of row.paths) if ([...upstreamsOf([path])].includes(upstream)) names.add(path[3]);
    }
    const profiles = new Map<string, ProfileSettings>();
    if (names.has("default")) profiles.set("default", defaultSettings);
    for (const [, row] of this.profileRows()) {
      const name = profileName(row.hash);
      const settings = names.has(name) ? readProfile(row) : null;
      if (settings !== null && !("problem" in settings)) profiles.set(name, settings);
    }
    return profiles;
  }

  /** Every record with the row that nginx has for it. */
  *copy(): IterableIterator<{ key: string; value: FleetValue; row: NginxRow | null }> {
    for (const [key, value] of this.#wanted) {
      const name = this.#nameOf.get(key);
      yield { key, value, row: (name && this.#held.get(rowKey(name))?.row) ?? null };
    }
  }

  /** The peers that nginx has, by cluster. */
  peersByCluster(): Map<string, IteratorObject<NginxPeers>> {
    return new Map([...this.#peersOf].map(([cluster, rows]) => [cluster, rows.values()]));
  }

  /** Profile rows that are wanted, by fleet key. */
  *profileRows(): IterableIterator<[key: string, row: ProfileRow]> {
    for (const key of this.#profileKeys) {
      const value = this.#wanted.get(key);
      if (value !== undefined) yield [key, value as ProfileRow];
    }
  }

  /** What is said of the fleet's listeners, and its fleet key; undefined: nothing is. */
  get settings(): readonly [key: string, row: SettingsRow] | undefined {
    const key = this.#settingsKey;
    return key === undefined ? undefined : [key, this.#wanted.get(key) as SettingsRow];
  }

  /** Which profiles this fleet's proxies may run; undefined: nobody has said. */
  get rollout(): RolloutRow | undefined {
    return this.#rolloutKey === undefined ? undefined : (this.#wanted.get(this.#rolloutKey) as RolloutRow);
  }

  /** The bus has said so, or has not contradicted it: it is not only the last good copy's. */
  get rolloutHeard(): boolean {
    return this.#rolloutKey !== undefined && !this.#copied.has(this.#rolloutKey);
  }

  /** Names of the profiles that routes use which are in nginx, or on their way to it. */
  usedProfiles(): Set<string> {
    const used = new Set<string>();
    for (const rows of [this.#held.values(), this.#sent]) {
      for (const { row } of rows)
        if (row?.k === "route" && !("del" in row)) for (const path of row.paths) used.add(path[3]);
    }
    return used;
  }

  /** `<Kind> <namespace>/<name>` of objects whose paths want one of these profiles, sorted. */
  objectsWith(hashes: ReadonlySet<string>): string[] {
    const found = new Set<string>();
    for (const [key, value] of this.#wanted) {
      if (hashes.size === 0 || key.split(".")[1] !== "routes") continue;
      for (const { profile, source } of (value as RouteRow).paths)
        if (hashes.has(profile)) found.add(`${source.kind} ${source.namespace}/${source.name}`);
    }
    return [...found].sort();
  }

  /** When the certificates of hosts end, as far as their Secrets say it. */
  expiries(): CertificateExpiry[] {
    const found: CertificateExpiry[] = [];
    for (const [key, value] of this.#wanted) {
      if (key.split(".")[1] !== "routes") continue;
      const { host, certificate } = value as RouteRow;
      const name = certificate === undefined ? undefined : rowKey({ k: "secret", id: certificate });
      const secretKey = name === undefined ? undefined : this.#keyOf.get(name);
      const secret = secretKey === undefined ? undefined : (this.#wanted.get(secretKey) as SecretRow);
      if (secret?.notAfter === undefined) continue;
      found.push({ host, namespace: secret.namespace, secret: secret.name, at: secret.notAfter / 1000 });
    }
    return found;
  }

  get problems(): { key: string; problem: string }[] {
    return [...this.#waiting, ...this.#problems].map(([key, problem]) => ({ key, problem }));
  }

  get refusedPeers(): number {
    let sum = 0;
    for (const n of this.#refusedPeers.values()) sum += n;
    return sum;
  }

  /** Secrets that nginx holds. */
  /** PEM: who the SecretRow of this id says signs certificates. */
  authorities(id: string): string | undefined {
    const key = this.#keyOf.get(rowKey({ k: "secret", id }));
    return key === undefined ? undefined : (this.#wanted.get(key) as SecretRow).authorities;
  }

  get secretCount(): number {
    return this.#heldOf.secret;
  }

  /** When each certificate ends that nginx shows for a host. */
  *certificateEnds(): IterableIterator<number> {
    for (const { secret } of this.certificates()) if (secret.notAfter !== undefined) yield secret.notAfter;
  }

  /** The certificates that nginx shows, by host. */
  *certificates(): IterableIterator<{ readonly host: string; readonly secret: SecretRow }> {
    for (const { row } of this.#held.values()) {
      if (row?.k !== "route" || "del" in row || row.certificate === undefined) continue;
      const key = this.#keyOf.get(rowKey({ k: "secret", id: row.certificate }));
      const secret = key === undefined ? undefined : (this.#wanted.get(key) as SecretRow);
      if (secret !== undefined) yield { host: row.host, secret };
    }
  }

  get counts(): { routes: number; upstreams: number; peers: number } {
    const { route: routes, upstream: upstreams } = this.#heldOf;
    return { routes, upstreams, peers: this.#peerCount };
  }

  /** Number of records; 0: nothing has ever been wanted. */
  get size(): number {
    return this.#wanted.size;
  }
}

function* upstreamsOf(paths: readonly PathEntry[]): IterableIterator<string> {
  for (const [, , upstream, , more] of paths) {
    yield upstream;
    if (more?.spare !== undefined) yield more.spare;
    if (more?.canary !== undefined) yield more.canary.upstream;
  }
}

function noRows(): Record<NginxRowName["k"], number> {
  return { cluster: 0, upstream: 0, peers: 0, route: 0, secret: 0 };
}

function nameOf(key: string, value: FleetValue): NginxRowName | null {
  switch (key.split(".")[1]) {
    case "clusters":
      return { k: "cluster", cluster: (value as FleetCluster).cluster };
    case "upstreams":
      return { k: "upstream", id: (value as UpstreamRow).id };
    case "peers": {
      const { upstream, cluster } = value as PeersRow;
      return { k: "peers", upstream, cluster };
    }
    case "routes":
      return { k: "route", host: (value as RouteRow).host };
    case "secrets":
      return { k: "secret", id: (value as SecretRow).id };
    default:
      return null;
  }
}

function sameTexts(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, i) => text === b[i]);
}

function same(a: NginxRow, b: NginxRow): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
