import { BREAKS_FROM } from "./nginx-plan.ts";
import { SeededRandom } from "./seeded-random.ts";
import type { Deed, Step } from "./steps.ts";
import { APIS, type Crew, MEMBERS, namesOf, SERVICES, SLICES } from "./topology.ts";

/** How often a kind of step comes, against the others. */
export type Weights = Readonly<Partial<Record<Deed["do"], number>>>;

/** Every fault that there is, and as much churn as all of them together. */
const DEFAULT_WEIGHTS: Weights = {
  crash: 6,
  stop: 3,
  freeze: 5,
  clock: 2,
  "cut-bus": 5,
  "slow-bus": 2,
  "lost-acks": 3,
  "late-writes": 3,
  "repeat-writes": 2,
  "reset-consumer": 2,
  "restart-bus": 2,
  "wipe-bus": 1,
  "back-up-bus": 2,
  "restore-bus": 1,
  "change-leader": 2,
  "cut-api": 4,
  "api-down": 2,
  "compact-api": 2,
  "end-watches": 2,
  unauthorized: 2,
  "slow-lists": 2,
  "stuck-lists": 1,
  "restart-nginx": 1,
  "bad-record": 2,
  "bad-slice": 1,
  "replace-endpoint": 25,
  "roll-out": 10,
  "remove-slice": 5,
  export: 12,
  serve: 5,
  drain: 6,
  unjoin: 5,
  "cut-member": 3,
  import: 4,
  ingress: 4,
  tune: 4,
};

export interface Schedule {
  readonly seed: string;
  readonly crew: Crew;
  readonly steps: readonly Step[];
}

export interface GenerateOptions {
  readonly crew: Crew;
  readonly weights?: Weights;
  /** Milliseconds in which steps come; they begin when the system has settled. */
  readonly spanMs?: number;
  readonly steps?: readonly [least: number, most: number];
}

/** The system has started and settled by then, ms. */
export const SETTLED_MS = 3000;

/** A schedule that follows from its seed alone. */
export function generate(seed: string, options: GenerateOptions): Schedule {
  const { crew, weights = DEFAULT_WEIGHTS, spanMs = 9000, steps = [6, 28] } = options;
  const random = new SeededRandom(`${seed}/schedule`);
  const deeds = Object.entries(weights) as [Deed["do"], number][];
  const total = deeds.reduce((sum, [, weight]) => sum + weight, 0);
  const all = Array.from({ length: random.between(...steps) }, (): Step => {
    let left = random.next() * total;
    const chosen = deeds.find(([, weight]) => {
      left -= weight;
      return left < 0;
    });
    const [kind] = chosen ?? deeds[0]!;
    return { at: SETTLED_MS + random.between(0, spanMs), ...deedOf(kind, random, crew) };
  });
  return { seed, crew, steps: all.sort((a, b) => a.at - b.at) };
}

/** Shorter and longer spells alike: what matters is which bound of the system a spell lies beyond. */
function spell(random: SeededRandom): number {
  const [low, high] = random.pick([
    [20, 300],
    [20, 300],
    [300, 2500],
    [300, 2500],
    [2500, 6000],
    [2500, 6000],
    [6000, 13_000],
  ] as const);
  return random.between(low, high);
}

function deedOf(kind: Deed["do"], random: SeededRandom, crew: Crew): Deed {
  const process = () => random.pick(namesOf(crew));
  const connected = () => random.pick(namesOf({ ...crew, agent: 0, reader: 0, gateway: 0 }));
  const member = () => random.pick(MEMBERS);
  const service = () => random.pick(SERVICES);
  const api = () => random.pick(APIS);
  const slice = () => random.between(0, SLICES - 1);
  const forMs = spell(random);
  switch (kind) {
    case "crash":
    case "stop":
    case "freeze":
    case "cut-bus":
    case "lost-acks":
    case "late-writes":
    case "repeat-writes":
      return { do: kind, process: process(), forMs };
    case "slow-bus":
      return { do: kind, process: process(), byMs: random.between(50, 3000), forMs };
    case "clock":
      return {
        do: kind,
        process: process(),
        byMs: random.pick([-3_600_000, -5000, 5000, 3_600_000, 90_000_000]),
      };
    case "reset-consumer":
      return { do: kind, process: process() };
    case "restart-bus":
    case "wipe-bus":
    case "restore-bus":
    case "change-leader":
      return { do: kind, forMs };
    case "back-up-bus":
      return { do: kind };
    case "cut-api": {
      const cut = connected();
      return { do: kind, process: cut, api: cut.startsWith("watcher") ? member() : "hub", forMs };
    }
    case "api-down":
    case "unauthorized":
    case "slow-lists":
    case "stuck-lists":
      return { do: kind, api: api(), forMs };
    case "compact-api":
    case "end-watches":
      return { do: kind, api: api() };
    case "restart-nginx":
      return { do: kind, nginx: `nginx-${random.between(1, crew.agent)}` };
    case "replace-endpoint":
    case "remove-slice":
      return { do: kind, member: member(), service: service(), slice: slice() };
    case "roll-out":
      return { do: kind, member: member(), service: service(), slice: slice(), size: random.between(0, 3) };
    case "export":
    case "serve":
      return { do: kind, member: member(), service: service(), on: random.chance(0.6) };
    case "drain":
      return { do: kind, member: member(), on: random.chance(0.6) };
    case "unjoin":
      return { do: kind, member: member(), on: random.chance(0.5) };
    case "cut-member": {
      const watcher = `watcher-${random.between(1, crew.watcher)}`;
      return { do: kind, process: watcher, member: member(), shards: random.between(1, 4), forMs };
    }
    case "import":
      return { do: kind, service: service(), on: random.chance(0.6) };
    case "ingress":
      return { do: kind, services: SERVICES.filter(() => random.chance(0.7)) };
    case "tune": {
      // Each ask is another one: what broke once may have been asked for and refused already.
      const bad = BREAKS_FROM + random.between(0, 10_000);
      return { do: kind, seconds: random.pick([null, 30, random.between(61, BREAKS_FROM - 1), bad, bad]) };
    }
    case "bad-record":
      return { do: kind, ...badRecord(random) };
    case "bad-slice":
      return { do: kind, member: member(), service: service() };
    case "sleep-all":
      return { do: kind, forMs: 25 * 3_600_000 };
  }
}

/** Keys that only somebody else's mistake could have written, in every table, and what nobody can read. */
function badRecord(random: SeededRandom): { table: string; key: string; value: string } {
  const [table, key] = random.pick([
    ["slices", "member2.shop.api.planted"],
    ["slices", "member1.shop.planted._export"],
    ["slices", "member1.shop.web.web-0"],
    ["slices", "member3.shop.api._export"],
    ["slices", "member3._meta.synced.0"],
    ["slices", "member2._meta.claim.0.99"],
    ["slices", "not a key of ours"],
    ["clusters", "planted"],
    ["clusters", "member1"],
    ["verdicts", "member1.shop.web"],
    ["topology", "shop.web.planted"],
    ["topology", "shop.planted._service"],
    ["topology", "shop.web.member1"],
    ["topology", "_meta.synced.3"],
    ["fleet", "default.routes.planted"],
    ["fleet", "default.peers.shop-web-http.member1"],
    ["fleet", "default.peers.shop-web-http.planted"],
    ["members", "member-watcher.planted"],
    ["intents", "drain.planted"],
    ["proxies", "default.planted"],
  ] as const);
  const value = random.pick([
    "nonsense",
    "",
    "null",
    '{"v":1}',
    '{"v":2,"data":{}}',
    '{"v":1,"epoch":{"n":1,"id":"x"},"data":{"cluster":"member1"}}',
    '{"v":1,"epoch":{"n":99,"id":"x"},"deleted":1}',
  ]);
  return { table, key, value };
}
