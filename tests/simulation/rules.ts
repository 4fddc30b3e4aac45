import type { Fence } from "./fences.ts";
import { BREAKS_FROM } from "./nginx-plan.ts";
import type { SeededRandom } from "./seeded-random.ts";
import { CREW, MEMBERS, SERVICES } from "./topology.ts";

type Steps = ReturnType<Fence["schedule"]>;

/**
 * Two processes of one role: writes of one that is killed land after its heir's claim, and before the heir, who is far
 * away, has written.
 */
function lateWriter(role: "aggregator" | "renderer"): (random: SeededRandom) => Steps {
  return (random) => {
    const [one, other] = random.chance(0.5) ? [1, 2] : [2, 1];
    return [
      { at: 4500, do: "late-writes", process: `${role}-${one}`, byMs: [2600, 3300], forMs: 6000 },
      // Any farther, and it would not count as living.
      {
        at: 3000,
        do: "slow-bus",
        process: `${role}-${other}`,
        byMs: random.between(150, 200),
        forMs: 11_000,
      },
      ...SERVICES.flatMap((service) =>
        [0, 1].flatMap((slice) =>
          MEMBERS.map((member) => ({
            at: random.between(4600, 5050),
            do: "replace-endpoint" as const,
            member,
            service,
            slice,
          })),
        ),
      ),
      { at: 5100, do: "crash", process: `${role}-${one}`, forMs: 10_000 },
    ];
  };
}

/** A gateway sleeps while an unjoin is taken back through the other one, and until the bus has lost all it had. */
function missedJoin(random: SeededRandom): Steps {
  const away = `gateway-${random.between(1, 2)}`;
  const member = random.pick(MEMBERS);
  return [
    { at: 3100, do: "unjoin", member, on: true },
    { at: 5000, do: "freeze", process: away, forMs: 9000 },
    { at: 5100, do: "unjoin", member, on: false },
    // While the sleeper is asked, nobody is: the other one is asked when he has not answered for long.
    { at: 13_500, do: "wipe-bus", forMs: random.between(600, 900) },
  ];
}

const currentByClaim = {
  file: "packages/bus/src/believer.ts",
  from: "const current = claim !== null && claim.id === record.epoch.id && record.revision > claim.revision;",
  to: "const current = claim !== null && record.revision > claim.revision;",
};

/** What people order, and the same fence in the other tables: each taken away, with schedules that need it. */
export const rules: readonly Fence[] = [
  {
    name: "current by claim, in topology",
    ...currentByClaim,
    crew: CREW,
    seeds: 40,
    schedule: lateWriter("aggregator"),
  },
  {
    name: "current by claim, in fleet",
    ...currentByClaim,
    crew: CREW,
    seeds: 40,
    schedule: lateWriter("renderer"),
  },
  {
    name: "a drained cluster gets no requests",
    file: "services/config-renderer/src/cluster-states.ts",
    from: "if (drain !== undefined) {",
    to: "if (drain !== undefined && drain.verb !== 'drain') {",
    crew: CREW,
    seeds: 1,
    schedule: (random) => [{ at: 3100, do: "drain", member: random.pick(MEMBERS), on: true }],
  },
  {
    name: "nothing but an order ends a drain",
    file: "services/config-renderer/src/fleet-clusters.ts",
    from: 'const drain = orderOf(intents, "drain", cluster);',
    to: 'const drain = seen !== undefined && seen.record.api.reachable ? orderOf(intents, "drain", cluster) : undefined;',
    crew: CREW,
    seeds: 10,
    schedule: (random) => {
      const member = random.pick(MEMBERS);
      return [
        { at: 3100, do: "drain", member, on: true },
        { at: 4500, do: "api-down", api: member, forMs: 25_000 },
      ];
    },
  },
  {
    name: "what an unjoined cluster had published is removed",
    file: "services/aggregator/src/unjoin.ts",
    from: "this.#run(this.#carryOut(cluster, unjoined));",
    to: "",
    crew: CREW,
    seeds: 1,
    schedule: (random) => [{ at: 3100, do: "unjoin", member: random.pick(MEMBERS), on: true }],
  },
  {
    name: "orders that the bus has lost are written again",
    file: "services/topology-gateway/src/order-book.ts",
    from: "if ((this.#lying.get(key)?.generation ?? 0) < word.generation) yield [key, word];",
    to: "if ((this.#lying.get(key)?.generation ?? 0) < 0) yield [key, word];",
    crew: CREW,
    seeds: 3,
    schedule: (random) => [
      { at: 3100, do: "drain", member: random.pick(MEMBERS), on: true },
      { at: random.between(7000, 9000), do: "wipe-bus", forMs: random.between(50, 500) },
    ],
  },
  {
    name: "an order is written over what was read",
    file: "packages/bus/src/bus.ts",
    from: "const { ok } = await this.#store.put(spec, key, bytes, revision, this.#kit.signal);",
    to: "const { ok } = await this.#store.put(spec, key, bytes, revision < 0 ? 0 : null, this.#kit.signal);",
    crew: CREW,
    seeds: 10,
    schedule: (random) => [
      ...["gateway-1", "gateway-2"].flatMap((process) => [
        { at: 3000, do: "late-writes" as const, process, forMs: 9000 },
        { at: 3000, do: "repeat-writes" as const, process, forMs: 9000 },
      ]),
      ...MEMBERS.flatMap((member) => [
        { at: 3100, do: "drain" as const, member, on: true },
        { at: random.between(3300, 7000), do: "drain" as const, member, on: false },
      ]),
    ],
  },
  {
    name: "that an order was taken back is written again",
    file: "services/topology-gateway/src/orders.ts",
    from: "for (const [key, word] of due) {",
    to: "for (const [key, word] of due.filter(([, { intent }]) => intent !== undefined)) {",
    crew: CREW,
    seeds: 5,
    schedule: missedJoin,
  },
  {
    name: "who may know better speaks first",
    file: "services/topology-gateway/src/orders.ts",
    from: "const OTHERS_FIRST_MS = 3000;",
    to: "const OTHERS_FIRST_MS = 0;",
    crew: CREW,
    seeds: 20,
    schedule: missedJoin,
  },
  {
    name: "an order that the bus has lost may have been taken back",
    file: "services/config-renderer/src/fleet-rows.ts",
    from: 'if (kind === "clusters") {',
    to: 'if (kind === "nothing") {',
    crew: CREW,
    seeds: 20,
    schedule: (random) => {
      const member = random.pick(MEMBERS);
      return [
        { at: 3100, do: "drain", member, on: true },
        { at: 4500, do: "freeze", process: `renderer-${random.between(1, 2)}`, forMs: 6500 },
        { at: 5000, do: "drain", member, on: false },
        { at: 8500, do: "cut-bus", process: "gateway-1", forMs: 5000 },
        { at: 8500, do: "cut-bus", process: "gateway-2", forMs: 5000 },
        { at: 9000, do: "wipe-bus", forMs: random.between(50, 300) },
      ];
    },
  },
  {
    name: "peers of another moment stay only while a list is not whole",
    file: "services/member-watcher/src/list-guard.ts",
    from: "    if (trace !== undefined) {\n      this.#before.delete(key);",
    to: "    if (trace?.id === '') {\n      this.#before.delete(key);",
    crew: CREW,
    seeds: 3,
    schedule: (random) =>
      MEMBERS.flatMap((member) =>
        SERVICES.map((service) => ({
          at: random.between(3100, 5000),
          do: "roll-out",
          member,
          service,
          slice: 0,
          size: 3,
        })),
      ),
  },
  {
    name: "who starts from a whole copy fills no gap from before it",
    file: "packages/bus/src/believer.ts",
    from: "record.revision > this.#wholeAt &&",
    to: "record.revision > 0 &&",
    crew: CREW,
    seeds: 5,
    schedule: (random) => {
      const member = random.pick(MEMBERS);
      return [
        { at: 4800, do: "back-up-bus" },
        ...SERVICES.map((service) => ({
          at: 6500,
          do: "replace-endpoint" as const,
          member,
          service,
          slice: 1,
        })),
        { at: 7000, do: "unjoin", member, on: true },
        // Nobody has claimed anything by the time that the agents are back.
        { at: 8750, do: "restore-bus", forMs: 4000 },
        ...["agent-1", "agent-2"].map((process) => ({
          at: random.between(11_000, 11_900),
          do: "stop" as const,
          process,
          forMs: 300,
        })),
      ];
    },
  },
  {
    name: "one proxy tries new profiles first",
    file: "services/config-renderer/src/rollout.ts",
    from: "return { ...settled, target, admitted: [first.name] };",
    to: "return { ...settled, target, admitted: liveOf(proxies).map(({ name }) => name) };",
    crew: { ...CREW, agent: 3 },
    seeds: 1,
    schedule: (random) => [{ at: 3100, do: "tune", seconds: BREAKS_FROM + random.between(0, 1000) }],
  },
  {
    name: "a proxy waits until it is let",
    file: "services/proxy-agent/src/nginx-profiles.ts",
    from: "admitted.includes(this.#host.proxy) &&",
    to: "",
    crew: { ...CREW, agent: 3 },
    seeds: 1,
    schedule: (random) => [
      { at: 3100, do: "tune", seconds: BREAKS_FROM + random.between(0, 1000) },
      { at: random.between(3250, 3500), do: "crash", process: "agent-1", forMs: random.between(500, 3000) },
    ],
  },
  {
    name: "a proxy takes a route away when the hub does",
    file: "services/config-renderer/src/renderer.ts",
    from: "if (object === null) this.#model.removeIngress(key);",
    to: "if (object === null) {}",
    crew: CREW,
    seeds: 1,
    schedule: () => [{ at: 3100, do: "ingress", services: [] }],
  },
];
