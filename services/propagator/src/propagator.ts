import type { KubeClient } from "@sluice/kube";
import type { Kit } from "@sluice/service-kit";
import { Hub } from "./hub.ts";
import { Member } from "./member.ts";
import { ProblemReporter } from "./problem-reporter.ts";

export interface PropagatorPorts {
  readonly hub: KubeClient;
  readonly members: readonly KubeClient[];
}

/**
 * Brings to members what policies of the hub select, and takes away what it brought once they select it no more.
 * Ready when the hub's policies are known; resolves when kit.signal has aborted and nothing runs any more.
 */
export async function runPropagator(ports: PropagatorPorts, kit: Kit): Promise<void> {
  const reporter = new ProblemReporter(ports.hub, kit);
  const members: Member[] = [];
  const hub = new Hub(
    ports.hub,
    ports.members.map((client) => client.name),
    kit,
    reporter,
    {
      onObject: (id) => members.forEach((member) => void member.check(id)),
      onKind: (kind) => members.forEach((member) => void member.checkKind(kind)),
      onType: (type) => members.forEach((member) => void member.follow(type)),
    },
  );
  for (const client of ports.members) members.push(new Member(client, hub, kit, reporter));
  await Promise.all([reporter.run(), hub.run(), ...members.map((member) => member.run())]);
}
