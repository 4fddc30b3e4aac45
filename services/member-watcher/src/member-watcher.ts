import type { Bus } from "@sluice/bus";
import {
  FORGET_ORDERS_MS,
  intentsTable,
  orderOf,
  plainKeys,
  saidBy,
  sliceKeys,
  slicesTable,
} from "@sluice/contracts";
import type { KubeClient } from "@sluice/kube";
import { type Kit, LinkedAbort, slept } from "@sluice/service-kit";
import { MemberLayout } from "./member-layout.ts";
import type { PeerProbe } from "./peer-probe.ts";
import { type MemberPorts, type MemberWatch, watchMember } from "./watch-member.ts";

export interface MemberWatcherPorts {
  readonly bus: Bus;
  /** One client a member; its name is the cluster's. */
  readonly members: readonly KubeClient[];
  /** Whether a peer still answers; default: by a TCP connection. */
  readonly answers?: PeerProbe;
}

export interface MemberWatcherOptions {
  /** Into how many shards to cut a member, by its name; others stay as they are cut. */
  readonly shards?: ReadonlyMap<string, number>;
}

/** A member that is no longer this process's is watched on for so long, ms: ranks may swing while processes come and go. */
const LINGER_MS = 10_000;

/**
 * Watches members. Any number of processes may watch the same ones: each shard of a member is written by one of them, and
 * a second keeps its caches warm. Resolves when the kit's signal has aborted and nothing runs.
 */
export async function runMemberWatcher(
  { bus, members, answers }: MemberWatcherPorts,
  kit: Kit,
  options: MemberWatcherOptions = {},
): Promise<void> {
  const joined = bus.join(members.map(({ name }) => name));
  const watching = members.map((client) =>
    watchWhileRanked({ bus, client, answers }, options.shards?.get(client.name), kit),
  );
  await Promise.all([joined, ...watching]);
}

/** Starts watching once this process ranks first or second for a shard, and stops once it has ranked lower for a while. */
async function watchWhileRanked(
  { bus, client, answers }: Omit<MemberPorts, "intents" | "layout">,
  wanted: number | undefined,
  kit: Kit,
): Promise<void> {
  const { signal, clock, health, log } = kit;
  let watch: MemberWatch | null = null;
  let wake = Promise.withResolvers<void>();
  const layout = new MemberLayout(bus, client.name, wanted, signal);
  layout.follow(() => wake.resolve(), signal);
  const intents = bus.view(intentsTable, {
    forgetMs: FORGET_ORDERS_MS,
    filter: plainKeys.intent("*", client.name),
    signal,
    onChange: () => {
      wake.resolve();
      watch?.ordered();
    },
  });
  /** Whoever was ordered out for good publishes nothing, and says nothing, until he may join again. */
  const unjoined = () => orderOf(intents, "unjoin", client.name);
  const ranked = () =>
    Array.from({ length: layout.shards }, (_, n) =>
      bus.rankOf(slicesTable, { scope: client.name, shard: sliceKeys.shardAt(n) }),
    ).some((rank) => rank === 0 || rank === 1);
  const needed = () => unjoined() === undefined && ranked();
  /** Until ranks or the layout may have changed. */
  const change = async (until: AbortSignal) => {
    const over = new LinkedAbort(until);
    const ranks = bus.ranksChanged(over.signal).catch(() => {});
    await Promise.race([ranks, wake.promise]);
    over.abort();
    wake = Promise.withResolvers();
  };
  health.set(client.name, "its rank is not known yet");
  // Before that nobody knows whether it was unjoined.
  await intents.caughtUp(signal).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
  while (!signal.aborted) {
    while (!needed() && !signal.aborted) {
      const order = unjoined();
      if (order !== undefined) {
        log.warn(
          { cluster: client.name },
          `unjoined ${saidBy(order)}; nothing is published until it joins again`,
        );
      }
      // With enough others for it there is nothing to wait for.
      const known = bus.rankOf(slicesTable, { scope: client.name, shard: "0" }) >= 0;
      if (known || order !== undefined) health.set(client.name, null);
      await change(signal);
    }
    if (signal.aborted) break;
    const stop = new AbortController();
    const memberKit = { ...kit, signal: AbortSignal.any([signal, stop.signal]) };
    const watching = watchMember({ bus, client, layout, intents, answers }, memberKit);
    watch = watching;
    const leave = async () => {
      while (!memberKit.signal.aborted) {
        if (needed()) await change(memberKit.signal);
        else if (unjoined() !== undefined) stop.abort(new Error("the member is unjoined"));
        else if ((await slept(clock, LINGER_MS, memberKit.signal)) && !needed() && !watching.holding) {
          log.info({ cluster: client.name }, "others watch this member now");
          stop.abort(new Error("others watch this member"));
        }
      }
    };
    await Promise.all([watching.done, leave()]);
    watch = null;
  }
  await Promise.all([layout.done, intents.done]);
}
