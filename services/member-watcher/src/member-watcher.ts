import type { Bus } from "@sluice/bus";
import type { KubeClient } from "@sluice/kube";
import type { Kit } from "@sluice/service-kit";
import { watchMember } from "./watch-member.ts";

export interface MemberWatcherPorts {
  readonly bus: Bus;
  /** One client a member; its name is the cluster's. */
  readonly members: readonly KubeClient[];
}

/** Watches any number of members from one process. Resolves when the kit's signal has aborted and nothing runs. */
export async function runMemberWatcher({ bus, members }: MemberWatcherPorts, kit: Kit): Promise<void> {
  await Promise.all([bus.join(), ...members.map((client) => watchMember({ bus, client }, kit))]);
}
