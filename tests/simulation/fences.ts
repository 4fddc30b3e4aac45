import type { Schedule } from "./generate.ts";
import { SeededRandom } from "./seeded-random.ts";
import type { Deed, Step } from "./steps.ts";
import type { Mutation } from "./take-away.ts";
import { type Crew, MEMBERS, SERVICES } from "./topology.ts";

/**
 * One rule of the bus that keeps late, lost and repeated writes from doing harm, the place in the product where it
 * stands, and schedules in which harm is likely without it.
 */
export interface Fence extends Mutation {
  /** Seeds that are tried at most. */
  readonly seeds: number;
  /** Who takes part; default: two watchers and one of each other. */
  readonly crew?: Crew;
  schedule(random: SeededRandom): (Deed & { readonly at: number })[];
}

const CREW: Crew = { watcher: 2, aggregator: 1, renderer: 1, agent: 1, reader: 1, gateway: 0 };
const DAY_MS = 25 * 3_600_000;
const believer = "packages/bus/src/believer.ts";
const holder = "packages/bus/src/part-holder.ts";
const writer = "packages/bus/src/part-writer.ts";

const everywhere = (deed: (member: string) => Deed & { readonly at: number }) => MEMBERS.map(deed);
const replaced = (at: number) =>
  everywhere((member) => ({ at, do: "replace-endpoint", member, service: "web", slice: 0 }));
const exported = (at: number, on: boolean) =>
  everywhere((member) => ({ at, do: "export", member, service: "web", on }));

/** Which of the two watchers holds a member follows from chance, so either may be the one to suffer. */
function pair(random: SeededRandom): [one: string, other: string] {
  return random.chance(0.5) ? ["watcher-1", "watcher-2"] : ["watcher-2", "watcher-1"];
}

/** Writes of one that is killed land after its heir's claim, and before the heir, who is far away, has written. */
function lateWriter(random: SeededRandom): (Deed & { readonly at: number })[] {
  const [one, other] = pair(random);
  return [
    { at: 4500, do: "late-writes", process: one, byMs: [2600, 3300], forMs: 6000 },
    // Any farther, and it would not count as living.
    { at: 3000, do: "slow-bus", process: other, byMs: random.between(150, 200), forMs: 11_000 },
    ...SERVICES.flatMap((service) =>
      [0, 1].flatMap((slice) =>
        everywhere((member) => ({
          at: random.between(4600, 5050),
          do: "replace-endpoint",
          member,
          service,
          slice,
        })),
      ),
    ),
    { at: 5100, do: "crash", process: one, forMs: 10_000 },
  ];
}

export const fences: readonly Fence[] = [
  {
    name: "current by claim",
    file: believer,
    from: "const current = claim !== null && claim.id === record.epoch.id && record.revision > claim.revision;",
    to: "const current = claim !== null && record.revision > claim.revision;",
    seeds: 60,
    schedule: lateWriter,
  },
  {
    name: "settled before absence",
    file: believer,
    from: "return claim !== null && this.#synced.get(partId(part)) === claim.id;",
    to: "return claim !== null;",
    seeds: 10,
    schedule: (random) => [
      ...everywhere((api) => ({ at: 3000, do: "slow-lists", api, forMs: 8000 })),
      { at: random.between(3500, 4500), do: "wipe-bus", forMs: random.between(50, 500) },
    ],
  },
  {
    name: "asking before absence",
    file: "packages/bus/src/view.ts",
    from: "const found = await this.store.get(this.spec, key, signal);",
    to: "const found = null as { revision: number } | null;",
    seeds: 10,
    schedule: (random) => [
      { at: 3100, do: "cut-bus", process: "aggregator-1", forMs: random.between(4000, 8000) },
      { at: 3100, do: "cut-bus", process: "reader-1", forMs: random.between(4000, 8000) },
      ...replaced(random.between(3300, 3600)),
      { at: random.between(4000, 5000), do: "restart-bus", forMs: random.between(50, 500) },
    ],
  },
  {
    name: "stale counts as a difference",
    file: writer,
    from: "return foreign || there.text !== (wanted?.text ?? null);",
    to: "return there.text !== (wanted?.text ?? null);",
    seeds: 60,
    schedule: lateWriter,
  },
  {
    name: "compare-and-set",
    file: writer,
    from: ".put(this.#spec, key, bytes, there?.revision ?? 0, signal)",
    to: ".put(this.#spec, key, bytes, null, signal)",
    seeds: 20,
    schedule: (random) => [
      { at: 3000, do: "late-writes", process: "watcher-1", forMs: 9000 },
      { at: 3000, do: "late-writes", process: "watcher-2", forMs: 9000 },
      ...[0, 1, 2, 3, 4, 5].flatMap((i) => replaced(3200 + i * 1400 + random.between(0, 1000))),
    ],
  },
  {
    name: "tombstones as puts",
    file: writer,
    from: "    const result = await this.#store\n",
    to: `    if (text === null) {
      await this.#store.removeMessage(this.#spec, there?.revision ?? 0, signal);
      this.#there.delete(key);
      return "written";
    }
    const result = await this.#store\n`,
    seeds: 3,
    schedule: (random) => exported(random.between(3200, 4000), false),
  },
  {
    name: "purge by sequence",
    file: writer,
    from: "await this.#store.removeMessage(this.#spec, there.revision, signal);",
    to: `const { signal: whole } = this.#options.kit;
        const found = await this.#store.get(this.#spec, key, whole);
        await this.#store.removeMessage(this.#spec, found?.revision ?? 0, whole);`,
    seeds: 20,
    schedule: (random) => [
      ...exported(3100, false),
      { at: 4000, do: "freeze", process: pair(random)[0], forMs: DAY_MS + 10_000 },
      { at: 4200, do: "sleep-all", forMs: DAY_MS },
      ...exported(random.between(10_000, 11_000), true),
      { at: 16_500, do: "crash", process: "aggregator-1", forMs: 500 },
      { at: 16_500, do: "crash", process: "reader-1", forMs: 500 },
    ],
  },
  {
    name: "list after the claim",
    file: "services/member-watcher/src/watch-member.ts",
    from: "return version === undefined ? reflector.listed(signal) : reflector.reach(version, signal);",
    to: "return reflector.listed(signal);",
    seeds: 20,
    schedule: (random) => {
      const [one, other] = pair(random);
      return [
        ...everywhere((api) => ({ at: 3050, do: "cut-api", process: other, api, forMs: 12_000 })),
        ...replaced(random.between(3300, 4000)),
        { at: random.between(4500, 5500), do: "crash", process: one, forMs: 9000 },
      ];
    },
  },
  {
    name: "boot",
    file: believer,
    from: "if (claim === undefined || claim.boot !== this.#boot) return null;",
    to: "if (claim === undefined) return null;",
    seeds: 10,
    schedule: (random) => [
      { at: 3100, do: "back-up-bus" },
      ...replaced(random.between(3300, 4000)),
      { at: random.between(4500, 5500), do: "restore-bus", forMs: random.between(50, 500) },
    ],
  },
  {
    name: "bounded resume",
    file: "packages/bus/src/resume-point.ts",
    from: "if (found.now - point.heardAt >= RESUME_MS) return null;",
    to: "",
    seeds: 10,
    schedule: (random) => [
      { at: 3100, do: "cut-bus", process: "aggregator-1", forMs: DAY_MS + 6000 },
      { at: 3100, do: "cut-bus", process: "reader-1", forMs: DAY_MS + 6000 },
      ...exported(random.between(3300, 4000), false),
      { at: 5000, do: "sleep-all", forMs: DAY_MS },
    ],
  },
  {
    name: "stepping down",
    file: holder,
    from: "if (this.#own !== null && what.n > this.#own.epoch.n) {",
    to: "if (this.#own !== null && what.n > this.#own.epoch.n && this.#own.revision < 0) {",
    seeds: 10,
    schedule: (random) => [
      { at: 3100, do: "freeze", process: pair(random)[0], forMs: random.between(4500, 5500) },
      ...replaced(random.between(8200, 9000)),
    ],
  },
];

/** The schedule of a fence for one seed. */
export function fenceSchedule(fence: Fence, seed: number): Schedule {
  const name = `${fence.name}-${seed}`;
  const steps: Step[] = fence.schedule(new SeededRandom(`${name}/schedule`));
  return { seed: name, crew: fence.crew ?? CREW, steps: steps.sort((a, b) => a.at - b.at) };
}
