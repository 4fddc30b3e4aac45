import { SeededRandom } from "../simulation/seeded-random.ts";

/** What there is to break, by name. */
export interface Shape {
  readonly services: readonly string[];
  /** `<process>→bus`, `<process>→<cluster>`. */
  readonly links: readonly string[];
  readonly members: readonly string[];
  readonly proxies: readonly string[];
  /** Nodes of the bus; one where it is no cluster. */
  readonly busNodes: number;
}

export type Fault =
  | {
      readonly kind: "kill" | "stop";
      readonly process: string;
      readonly downMs: number;
      /** By how much its clock is ahead once it runs again, until it is started anew; 0: it is right. */
      readonly clockMs: number;
    }
  | { readonly kind: "freeze"; readonly process: string; readonly ms: number }
  | { readonly kind: "cut"; readonly link: string }
  | { readonly kind: "refuse" | "black-hole"; readonly link: string; readonly ms: number }
  | { readonly kind: "delay"; readonly link: string; readonly ms: number; readonly lateMs: number }
  | { readonly kind: "partition"; readonly process: string; readonly ms: number }
  | { readonly kind: "bus-kill" | "bus-wipe"; readonly node: number; readonly downMs: number }
  /** The storage is copied, and `laterMs` afterwards the copy takes its place: what was written meanwhile is lost. */
  | { readonly kind: "bus-restore"; readonly node: number; readonly laterMs: number }
  | { readonly kind: "api-down" | "api-hang"; readonly cluster: string; readonly ms: number }
  | { readonly kind: "api-gone" | "api-reset"; readonly cluster: string }
  | { readonly kind: "nginx-kill"; readonly proxy: string; readonly downMs: number }
  | { readonly kind: "nginx-worker-kill" | "nginx-reload"; readonly proxy: string };

export interface Step {
  /** Milliseconds from the beginning of the schedule. */
  readonly atMs: number;
  readonly fault: Fault;
}

export interface Schedule {
  readonly seed: number;
  readonly steps: readonly Step[];
}

/** No fault begins after this, ms. */
const BEGIN_MS = 4000;
/** No fault lasts beyond this, ms. */
const END_MS = 9000;

/** One kind of fault: how often it comes, and what of it is drawn. `target`: two faults at once on the same are not drawn. */
interface Kind {
  readonly weight: number;
  draw(
    random: SeededRandom,
    shape: Shape,
  ): { readonly fault: Fault; readonly target: string; readonly ms: number };
}

const down = (random: SeededRandom) => random.between(0, 2500);

const kinds: readonly Kind[] = [
  {
    weight: 6,
    draw: (random, { services }) => {
      const process = random.pick(services);
      const downMs = down(random);
      return { fault: { kind: "kill", process, downMs, clockMs: 0 }, target: process, ms: downMs };
    },
  },
  {
    weight: 3,
    draw: (random, { services }) => {
      const process = random.pick(services);
      const downMs = down(random);
      return { fault: { kind: "stop", process, downMs, clockMs: 0 }, target: process, ms: downMs };
    },
  },
  {
    weight: 5,
    draw: (random, { services }) => {
      const process = random.pick(services);
      const ms = random.between(1000, 8000);
      return { fault: { kind: "freeze", process, ms }, target: process, ms };
    },
  },
  {
    weight: 3,
    draw: (random, { links }) => {
      const link = random.pick(links);
      return { fault: { kind: "cut", link }, target: link, ms: 0 };
    },
  },
  {
    weight: 5,
    draw: (random, { links }) => {
      const link = random.pick(links);
      const kind = random.pick(["refuse", "black-hole"] as const);
      const ms = random.between(300, 6000);
      return { fault: { kind, link, ms }, target: link, ms };
    },
  },
  {
    weight: 3,
    draw: (random, { links }) => {
      const link = random.pick(links);
      const ms = random.between(1000, 5000);
      return { fault: { kind: "delay", link, ms, lateMs: random.between(10, 500) }, target: link, ms };
    },
  },
  {
    weight: 2,
    draw: (random, { busNodes }) => {
      const downMs = down(random);
      const node = random.between(0, busNodes - 1);
      return { fault: { kind: "bus-kill", node, downMs }, target: "bus", ms: downMs };
    },
  },
  {
    weight: 2,
    draw: (random, { busNodes }) => {
      const downMs = down(random);
      const node = random.between(0, busNodes - 1);
      return { fault: { kind: "bus-wipe", node, downMs }, target: "bus", ms: downMs };
    },
  },
  {
    weight: 1,
    draw: (random, { busNodes }) => {
      const node = random.between(0, busNodes - 1);
      const laterMs = random.between(500, 3000);
      // One node of three that goes back in time breaks what the three have agreed upon: nobody may do that.
      if (busNodes > 1)
        return { fault: { kind: "bus-kill", node, downMs: laterMs }, target: "bus", ms: laterMs };
      return { fault: { kind: "bus-restore", node, laterMs }, target: "bus", ms: laterMs + 500 };
    },
  },
  {
    weight: 2,
    draw: (random, { services }) => {
      const process = random.pick(services);
      const ms = random.between(500, 6000);
      return { fault: { kind: "partition", process, ms }, target: process, ms };
    },
  },
  {
    weight: 3,
    draw: (random, { members }) => {
      const cluster = random.pick([...members, "hub"]);
      const ms = random.between(300, 5000);
      const kind = random.pick(["api-down", "api-down", "api-hang"] as const);
      return { fault: { kind, cluster, ms }, target: cluster, ms };
    },
  },
  {
    weight: 1,
    draw: (random, { members }) => {
      const cluster = random.pick([...members, "hub"]);
      return {
        fault: { kind: random.pick(["api-gone", "api-reset"] as const), cluster },
        target: cluster,
        ms: 0,
      };
    },
  },
  {
    weight: 2,
    draw: (random, { proxies }) => {
      const proxy = random.pick(proxies);
      const downMs = down(random);
      return { fault: { kind: "nginx-kill", proxy, downMs }, target: "nginx", ms: downMs };
    },
  },
  {
    weight: 2,
    draw: (random, { proxies }) => {
      const proxy = random.pick(proxies);
      return {
        fault: { kind: random.pick(["nginx-worker-kill", "nginx-reload"] as const), proxy },
        target: "nginx",
        ms: 0,
      };
    },
  },
];

/** Each kind as often as it weighs. */
const drawn = kinds.flatMap((kind) => Array.from({ length: kind.weight }, () => kind));

/** Between two faults on the same target, ms: a process that was started again gets to its work. */
const APART_MS = 600;

const HOUR_MS = 3_600_000;
/** How often a process that is started again comes back with a clock that is an hour off. */
const WRONG_CLOCK = 0.25;

/** Clocks are drawn by themselves, so that a seed's faults are what they were before there were any. */
function withClocks(steps: readonly Step[], seed: number): Step[] {
  const random = new SeededRandom(`${seed} clocks`);
  return steps.map((step) => {
    const { fault } = step;
    if (fault.kind !== "kill" && fault.kind !== "stop") return step;
    const clockMs = random.chance(WRONG_CLOCK) ? random.pick([-HOUR_MS, HOUR_MS]) : 0;
    return { ...step, fault: { ...fault, clockMs } };
  });
}

/** The same seed and shape give the same schedule. */
export function planSchedule(seed: number, shape: Shape): Schedule {
  const random = new SeededRandom(`${seed}`);
  const wanted = random.between(2, 6);
  const steps: Step[] = [];
  const busy = new Map<string, { from: number; to: number }[]>();
  for (let tries = 0; steps.length < wanted && tries < 100; tries++) {
    const { fault, target, ms } = random.pick(drawn).draw(random, shape);
    const atMs = random.between(0, Math.max(0, Math.min(BEGIN_MS, END_MS - ms)));
    const taken = busy.get(target) ?? [];
    if (taken.some(({ from, to }) => atMs < to + APART_MS && atMs + ms + APART_MS > from)) continue;
    busy.set(target, [...taken, { from: atMs, to: atMs + ms }]);
    steps.push({ atMs, fault });
  }
  return {
    seed,
    steps: withClocks(
      steps.sort((a, b) => a.atMs - b.atMs),
      seed,
    ),
  };
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;

/** One fault as a person would say it. */
export function inWords(fault: Fault, busNodes: number): string {
  const again = (ms: number) => `started again after ${seconds(ms)}`;
  const clock = (ms: number) =>
    ms === 0 ? "" : `, its clock ${seconds(Math.abs(ms))} ${ms > 0 ? "ahead" : "behind"}`;
  const bus = (node: number) => (busNodes > 1 ? `bus node ${node + 1}` : "nats-server");
  switch (fault.kind) {
    case "kill":
      return `${fault.process} killed (-9), ${again(fault.downMs)}${clock(fault.clockMs)}`;
    case "stop":
      return `${fault.process} told to end (SIGTERM), ${again(fault.downMs)}${clock(fault.clockMs)}`;
    case "freeze":
      return `${fault.process} frozen for ${seconds(fault.ms)}`;
    case "cut":
      return `${fault.link}: connections cut`;
    case "refuse":
      return `${fault.link}: refused for ${seconds(fault.ms)}`;
    case "black-hole":
      return `${fault.link}: nothing arrives for ${seconds(fault.ms)}`;
    case "delay":
      return `${fault.link}: ${fault.lateMs} ms late each way for ${seconds(fault.ms)}`;
    case "partition":
      return `${fault.process} cut off from everything for ${seconds(fault.ms)}: nothing arrives`;
    case "bus-restore":
      return `${bus(fault.node)} killed (-9), and ${seconds(fault.laterMs)} later its storage of then restored`;
    case "bus-kill":
      return `${bus(fault.node)} killed (-9), ${again(fault.downMs)}`;
    case "bus-wipe":
      return `${bus(fault.node)} killed (-9) and its storage removed, ${again(fault.downMs)}`;
    case "api-down":
      return `API of ${fault.cluster} down for ${seconds(fault.ms)}`;
    case "api-hang":
      return `API of ${fault.cluster} answers nothing for ${seconds(fault.ms)}`;
    case "api-gone":
      return `API of ${fault.cluster} forgets its history (410)`;
    case "api-reset":
      return `API of ${fault.cluster} cuts every connection`;
    case "nginx-kill":
      return `nginx of ${fault.proxy} killed (-9), ${again(fault.downMs)}`;
    case "nginx-worker-kill":
      return `one worker of nginx of ${fault.proxy} killed (-9)`;
    case "nginx-reload":
      return `nginx of ${fault.proxy} reloaded`;
  }
}

/** The whole schedule, a line a step. */
export function scheduleInWords({ steps }: Schedule, busNodes: number): string[] {
  return steps.map(({ atMs, fault }) => `at ${seconds(atMs)}: ${inWords(fault, busNodes)}`);
}
