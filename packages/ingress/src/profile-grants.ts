import type { ProfileRow, RefusedProfile } from "@sluice/contracts";
import { byAge, type CompiledIngress } from "./compile-ingress.ts";
import { defaultProfile, needed, profileOf } from "./profile.ts";
import { SetIndex } from "./set-index.ts";
import type { Reason, Verdict } from "./verdict.ts";

/**
 * Profiles of a fleet at most, beside those without any size or time. Each is a location in nginx.conf, which every worker
 * of every proxy keeps in memory and reads at every reload: docs/reference/rollout.md has what one costs.
 */
const MAX_PROFILES = 200;

/** What becomes of paths whose object asks for a profile that it cannot have. */
interface Denial {
  readonly reason: Reason;
  readonly why: string;
  /** What is left of it; null: nothing that would be right, so its paths are closed. */
  readonly instead: ProfileRow | null;
}

/**
 * Which objects get the profile that they ask for. A profile that a proxy could not run with is nobody's; of too many, each
 * namespace's oldest ones are granted in turns, so that no namespace takes another's room, and no newer object an older
 * one's. Whoever gets none is served without its sizes and times, or, where more than those would be missing, not at all.
 */
export class ProfileGrants {
  readonly #most: number;
  readonly #asking = new Map<string, CompiledIngress>();
  /** Keys of objects by the hash of their profile. */
  readonly #users = new SetIndex();
  readonly #rows = new Map<string, ProfileRow>();
  #refused = new Map<string, RefusedProfile>();
  /** By hash, as of the last `settle`. */
  #denied = new Map<string, Denial>();
  #dirty = false;
  /** Asked for once for each host of an object. */
  readonly #closed = new WeakMap<
    CompiledIngress,
    { readonly denial: Denial; readonly served: CompiledIngress }
  >();

  constructor(most = MAX_PROFILES) {
    this.#most = most;
  }

  set(compiled: CompiledIngress): void {
    const { key, profile, served } = compiled;
    this.remove(key);
    if (!served || profile.hash === defaultProfile.hash) return;
    this.#asking.set(key, compiled);
    this.#users.add(profile.hash, key);
    this.#rows.set(profile.hash, profile);
    this.#dirty = true;
  }

  remove(key: string): void {
    const hash = this.#asking.get(key)?.profile.hash;
    if (hash === undefined) return;
    this.#asking.delete(key);
    this.#users.delete(hash, key);
    if (this.#users.get(hash).size === 0) this.#rows.delete(hash);
    this.#dirty = true;
  }

  /** @returns whether that is news */
  refuse(refused: readonly RefusedProfile[]): boolean {
    if (JSON.stringify([...this.#refused.values()]) === JSON.stringify(refused)) return false;
    this.#refused = new Map(refused.map((each) => [each.hash, each]));
    this.#dirty = true;
    return true;
  }

  /** @returns keys of the objects that are served otherwise than before */
  settle(): Set<string> {
    const moved = new Set<string>();
    if (!this.#dirty) return moved;
    this.#dirty = false;
    const before = this.#denied;
    this.#denied = new Map();
    for (const hash of this.#rows.keys()) {
      const refused = this.#refused.get(hash);
      if (refused !== undefined) this.#denied.set(hash, this.#refusal(hash, refused));
    }
    for (const hash of this.#crowdedOut()) this.#denied.set(hash, this.#noRoom(hash));
    for (const hash of new Set([...before.keys(), ...this.#denied.keys()])) {
      if (JSON.stringify(before.get(hash)) === JSON.stringify(this.#denied.get(hash))) continue;
      for (const key of this.#users.get(hash)) moved.add(key);
    }
    return moved;
  }

  /** Asked for, and not refused: those for which there is no room. */
  #crowdedOut(): string[] {
    const asked = [...this.#rows].filter(([hash, row]) => !isFree(row) && !this.#refused.has(hash));
    if (asked.length <= this.#most) return [];
    const ranks = this.#ranks();
    // Of two profiles no two are of one age: the oldest object of each is another.
    const ordered = [...ranks].sort(([, a], [, b]) => a.turn - b.turn || a.at - b.at);
    return ordered.slice(this.#most).map(([hash]) => hash);
  }

  /** Of each profile: the how many-th of a namespace it is, and the how many-th of all, by the age of its oldest object. */
  #ranks(): Map<string, { turn: number; at: number }> {
    const ranks = new Map<string, { turn: number; at: number }>();
    const turns = new Map<string, Map<string, number>>();
    const oldest = [...this.#asking.values()].filter(({ profile }) => !isFree(profile)).sort(byAge);
    for (const [at, { ref, profile }] of oldest.entries()) {
      const { hash } = profile;
      if (this.#refused.has(hash)) continue;
      const own = turns.get(ref.namespace) ?? new Map<string, number>();
      const turn = own.get(hash) ?? own.size;
      turns.set(ref.namespace, own.set(hash, turn));
      const known = ranks.get(hash);
      if (known === undefined) ranks.set(hash, { turn, at });
      else known.turn = Math.min(known.turn, turn);
    }
    return ranks;
  }

  #instead(hash: string): ProfileRow | null {
    const row = this.#rows.get(hash) as ProfileRow;
    const rest = profileOf(needed(row.settings));
    if (rest.hash === hash || this.#refused.has(rest.hash)) return null;
    return rest.hash === defaultProfile.hash || isFree(rest) ? rest : null;
  }

  #refusal(hash: string, { proxy, why }: RefusedProfile): Denial {
    const instead = this.#instead(hash);
    return {
      reason: "ProfileRefused",
      why: `metadata.annotations: proxy ${proxy} could not run with these settings (${why}); ${remedy(instead)}`,
      instead,
    };
  }

  #noRoom(hash: string): Denial {
    const instead = this.#instead(hash);
    return {
      reason: "ProfileLimit",
      why:
        `metadata.annotations: the fleet has ${this.#most} different sets of sizes and times already, and no room for ` +
        `this one; ${remedy(instead)}`,
      instead,
    };
  }

  /** The object as it is served. */
  granted(compiled: CompiledIngress): CompiledIngress {
    const denial = this.#denied.get(compiled.profile.hash);
    if (denial === undefined || !compiled.served) return compiled;
    if (denial.instead !== null) return { ...compiled, profile: denial.instead };
    const known = this.#closed.get(compiled);
    if (known?.denial === denial) return known.served;
    const paths = compiled.paths.map(({ spare: _, ...path }) => ({
      ...path,
      backend: { kind: "none" as const, problem: denial.why },
    }));
    const served = { ...compiled, profile: defaultProfile, paths };
    this.#closed.set(compiled, { denial, served });
    return served;
  }

  /** What is to be said of the object; null: it gets what it asks for. */
  verdict({ ref, profile, served }: CompiledIngress): Verdict | null {
    const denial = this.#denied.get(profile.hash);
    if (denial === undefined || !served) return null;
    return { object: ref, type: "Warning", reason: denial.reason, message: denial.why };
  }

  /** By hash: what objects ask for and have room for, refused or not, and what is granted instead. */
  wanted(): Map<string, ProfileRow> {
    const wanted = new Map<string, ProfileRow>();
    for (const [hash, row] of this.#rows) {
      const denial = this.#denied.get(hash);
      if (denial?.reason !== "ProfileLimit") wanted.set(hash, row);
      if (denial === undefined) continue;
      const rest = profileOf(needed(row.settings));
      if (rest.hash !== defaultProfile.hash && isFree(rest)) wanted.set(rest.hash, rest);
    }
    return wanted;
  }
}

/** There are few of them, whoever asks: nothing in it but what is or is not. */
function isFree({ settings }: ProfileRow): boolean {
  const all = Object.values(settings);
  return (
    all.every((value) => typeof value === "boolean") && all.length === Object.keys(needed(settings)).length
  );
}

function remedy(instead: ProfileRow | null): string {
  return instead === null
    ? "its paths answer 503 until they are changed"
    : "it is served with the sizes and times of nobody until they are changed or removed";
}
