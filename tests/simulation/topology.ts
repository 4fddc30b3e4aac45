/** Who takes part in every schedule. */
export const MEMBERS = ["member1", "member2", "member3"] as const;
export const SERVICES = ["web", "api"] as const;
/** Every member cuts each service into so many slices at most. */
export const SLICES = 2;
export const APIS = [...MEMBERS, "hub"] as const;

export const ROLES = {
  watcher: "member-watcher",
  aggregator: "aggregator",
  renderer: "config-renderer",
  agent: "proxy-agent",
  reader: "topology-gateway",
  gateway: "topology-gateway",
} as const;
export type Role = keyof typeof ROLES;

/** How many processes of each role a schedule has. */
export type Crew = Readonly<Record<Role, number>>;

export function namesOf(crew: Crew): string[] {
  return (Object.keys(ROLES) as Role[]).flatMap((role) =>
    Array.from({ length: crew[role] }, (_, i) => `${role}-${i + 1}`),
  );
}

export function roleOf(process: string): Role {
  const role = process.split("-")[0] as Role;
  if (!(role in ROLES)) throw new RangeError(`${process} is no process of a schedule`);
  return role;
}

/** Two of each: one that works, and one that takes over; people give their orders to either gateway. */
export const CREW: Crew = { watcher: 2, aggregator: 2, renderer: 2, agent: 2, reader: 1, gateway: 2 };
