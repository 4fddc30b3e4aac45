import { createHash } from "node:crypto";
import type {
  Configuration,
  FleetSettings,
  ProfileRow,
  RefusedSetting,
  RolloutReport,
  RolloutRow,
} from "@sluice/contracts";

/** A proxy, as far as a rollout asks. */
export interface RolloutProxy {
  readonly name: string;
  /** It is heard of, its nginx runs, and it follows the bus. */
  readonly live: boolean;
  /** Absent: it knows nothing of rollouts, and is left alone. */
  readonly report?: RolloutReport;
}

export interface RolloutView {
  /** Every profile that an object asks for and may have, by hash, the refused ones too; without the default one. */
  readonly wanted: ReadonlyMap<string, ProfileRow>;
  /** What is said of listeners, refused or not. Default: nothing. */
  readonly settings?: FleetSettings;
  readonly proxies: readonly RolloutProxy[];
  /** Milliseconds since the order was given. */
  readonly orderAgeMs: number;
}

/** What is decided anew; the order's number and name are given to it once something has changed. */
export type RolloutState = Omit<RolloutRow, "n" | "order">;

/** A proxy that was let first and says nothing of it for so long is given up, ms. */
export const GIVE_UP_MS = 120_000;
/** So many may be lost to one configuration before it is refused, whatever became of them: the first, and one more. */
const MOST_LOST = 2;
/** Share of the live proxies that are let at a time, once the first runs with it. */
const STEP = 0.25;
const ANY_NUMBER = 1000;
const MAX_WHY = 500;

/** Before anything was ever ordered. */
export const noRollout: RolloutState = {
  proven: null,
  target: null,
  admitted: [],
  refused: [],
  atOnce: ANY_NUMBER,
};

/** Equal sets have one id, whatever order they come in. @param settings absent: nothing is said of them */
export function configurationOf(profiles: Iterable<ProfileRow>, settings?: FleetSettings): Configuration {
  const sorted = [...profiles].sort((a, b) => (a.hash < b.hash ? -1 : 1));
  const said = Object.entries(settings ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const text = sorted.map(({ hash }) => hash).join();
  const id = createHash("sha256")
    .update(said.length === 0 ? text : `${text} ${JSON.stringify(said)}`)
    .digest("hex")
    .slice(0, 16);
  return { id, profiles: sorted, ...(settings === undefined ? {} : { settings: Object.fromEntries(said) }) };
}

/** One setting as it shall be; without a value: as a proxy has it by itself. */
type SettingChange = Pick<RefusedSetting, "setting" | "value">;

/** In the order of their names. */
function changesOf(before: FleetSettings, after: FleetSettings): SettingChange[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return names
    .filter((name) => before[name] !== after[name])
    .map((setting) => {
      const value = after[setting];
      return value === undefined ? { setting } : { setting, value };
    });
}

function changed(settings: FleetSettings, changes: readonly SettingChange[]): FleetSettings {
  const next = new Map(Object.entries(settings));
  for (const { setting, value } of changes) {
    if (value === undefined) next.delete(setting);
    else next.set(setting, value);
  }
  return Object.fromEntries(next);
}

/**
 * The next state of a rollout: nothing else decides which proxy runs what. One proxy tries a new configuration; only once
 * it runs with it others are let, a quarter of them at a time; the first failure stops it. Same state and view in, same
 * state out; the same object where nothing is to be changed.
 */
export function nextRollout(state: RolloutState, view: RolloutView): RolloutState {
  const judged = state.target === null ? state : judge(state, state.target, view);
  const next = judged.target === null ? begin(judged, view) : judged;
  return JSON.stringify(next) === JSON.stringify(state) ? state : next;
}

/** What became of the target so far. */
function judge(state: RolloutState, target: Configuration, view: RolloutView): RolloutState {
  const { wanted, proxies, orderAgeMs } = view;
  const byName = new Map(proxies.map((proxy) => [proxy.name, proxy]));
  const runs = (name: string) =>
    byName.get(name)?.live === true && byName.get(name)?.report?.runs === target.id;
  for (const name of state.admitted) {
    const failed = byName.get(name)?.report?.failed;
    if (failed?.configuration === target.id) return stopped(state, target, name, failed);
  }
  const waitedFor = state.admitted.filter((name) => !runs(name));
  const candidates = liveOf(proxies);
  if (waitedFor.length === state.admitted.length) {
    // Nobody runs with it yet: whoever was let may have been lost to it.
    if (orderAgeMs < GIVE_UP_MS) return state;
    if (state.admitted.length >= MOST_LOST) {
      const why = `${state.admitted.join(" and ")} said nothing any more after trying it`;
      return stopped(state, target, state.admitted.at(-1) ?? "", { why });
    }
    const [other] = candidates.filter(({ name }) => !state.admitted.includes(name));
    return other === undefined ? state : { ...state, admitted: [...state.admitted, other.name] };
  }
  // One that has gone meanwhile, or has trouble of its own, keeps nobody waiting for ever.
  const patient = orderAgeMs < GIVE_UP_MS;
  if (patient && waitedFor.some((name) => byName.get(name)?.live === true)) return state;
  const rest = candidates.filter(({ name }) => !state.admitted.includes(name));
  if (rest.length === 0) {
    const kept = target.profiles.filter(({ hash }) => wanted.has(hash));
    const proven = configurationOf(kept, target.settings);
    return { ...state, proven, target: null, admitted: [], atOnce: Math.min(ANY_NUMBER, state.atOnce * 2) };
  }
  const step = Math.ceil(candidates.length * STEP);
  const already = rest.filter(({ report }) => report?.runs === target.id);
  const more = rest.filter((proxy) => !already.includes(proxy)).slice(0, step);
  return { ...state, admitted: [...state.admitted, ...[...already, ...more].map(({ name }) => name)] };
}

/** @param failed what the proxy says of it */
function stopped(
  state: RolloutState,
  target: Configuration,
  proxy: string,
  { why, profile, setting }: { readonly why: string; readonly profile?: string; readonly setting?: string },
): RolloutState {
  const before = new Set(state.proven?.profiles.map(({ hash }) => hash));
  const fresh = target.profiles.filter(({ hash }) => !before.has(hash));
  const changes = changesOf(state.proven?.settings ?? {}, target.settings ?? {});
  const open = { ...state, target: null, admitted: [] };
  const said = { proxy, why: why.slice(0, MAX_WHY) };
  const count = fresh.length + changes.length;
  const change = changes.find((each) => each.setting === setting) ?? (count === 1 ? changes[0] : undefined);
  if (change !== undefined) {
    return { ...open, refusedSettings: [...(state.refusedSettings ?? []), { ...change, ...said }] };
  }
  const named = target.profiles.find(({ hash }) => hash === profile) ?? (count === 1 ? fresh[0] : undefined);
  // It is one of several: half of them are tried next.
  if (named === undefined) return { ...open, atOnce: Math.max(1, Math.ceil(count / 2)) };
  return { ...open, refused: [...state.refused, { hash: named.hash, ...said }] };
}

/** What is tried next, and by whom; nothing is where nobody asks for anything that has not been tried. */
function begin(state: RolloutState, { wanted, settings = {}, proxies }: RolloutView): RolloutState {
  // Nobody asks for it any more, e.g. because its object says something else now: it may be tried again.
  const refused = state.refused.filter(({ hash }) => wanted.has(hash));
  const out = new Set(refused.map(({ hash }) => hash));
  const able = [...wanted.values()].filter(({ hash }) => !out.has(hash));
  const tried = new Set(state.proven?.profiles.map(({ hash }) => hash));
  const fresh = able.filter(({ hash }) => !tried.has(hash)).sort((a, b) => (a.hash < b.hash ? -1 : 1));
  const kept = able.filter(({ hash }) => tried.has(hash));
  const before = state.proven?.settings ?? {};
  const asked = changesOf(before, settings);
  const isAsked = (of: SettingChange) =>
    asked.some((each) => each.setting === of.setting && each.value === of.value);
  const refusedSettings = (state.refusedSettings ?? []).filter(isAsked);
  const changes = asked.filter(
    ({ setting, value }) => !refusedSettings.some((each) => each.setting === setting && each.value === value),
  );
  const count = fresh.length + changes.length;
  // Of settings an earlier renderer said nothing, and proxies keep theirs until others are proven.
  const unsaid = state.proven?.settings === undefined && changes.length > 0;
  const proven =
    state.proven === null && count > 0 ? null : configurationOf(kept, unsaid ? undefined : before);
  const { refusedSettings: _, ...rest } = state;
  const settled = { ...rest, proven, refused, ...(refusedSettings.length === 0 ? {} : { refusedSettings }) };
  const [first] = liveOf(proxies);
  if (count === 0 || first === undefined) return settled;
  const profiles = fresh.slice(0, state.atOnce);
  const more = changes.slice(0, state.atOnce - profiles.length);
  const target = configurationOf([...kept, ...profiles], changed(before, more));
  return { ...settled, target, admitted: [first.name] };
}

/** Always in the same order, so that whoever had a failure before has the next one too. */
function liveOf(proxies: readonly RolloutProxy[]): RolloutProxy[] {
  return proxies
    .filter(({ live, report }) => live && report !== undefined)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}
