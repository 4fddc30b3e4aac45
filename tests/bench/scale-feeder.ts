// Plays the member-watchers of any number of clusters: writes `slices` and `clusters` through the real bus code.
import { connectBus, type PartHolder } from "@sluice/bus";
import { clustersTable, newTrace, type SliceValue, sliceKeys, slicesTable } from "@sluice/contracts";
import { createKit, createLogger, slept } from "@sluice/service-kit";
import {
  addressAt,
  clusterName,
  clusterOf,
  endpointsPerSlice,
  exportOf,
  NAMESPACE,
  plannedCopies,
  type ScaleSize,
  serviceName,
  sliceOf,
} from "./scale-plan.ts";

/** What the bench asks of the feeder. */
export type FeederOrder =
  | { readonly kind: "fill" }
  /** Replaces `perSecond` endpoints a second, each in another slice than the one before. */
  | { readonly kind: "change"; readonly perSecond: number; readonly seconds: number };

/** What the feeder answers. */
export type FeederReport =
  | { readonly kind: "started" }
  | { readonly kind: "filled"; readonly seconds: number }
  /** Endpoints with these numbers were made; `seconds` is how long that took. */
  | { readonly kind: "changed"; readonly first: number; readonly end: number; readonly seconds: number }
  | { readonly kind: "failed"; readonly message: string };

const HEARTBEAT_MS = 10_000;
const TICK_MS = 5;
const CHANGE_STEP = 7919;

async function main([url, text]: readonly string[]): Promise<void> {
  const size = JSON.parse(text ?? "") as ScaleSize;
  const controller = new AbortController();
  for (const name of ["SIGTERM", "SIGINT", "disconnect"] as const)
    process.on(name as "SIGTERM", () => controller.abort(new Error(name)));
  const { signal } = controller;
  const log = await createLogger({ service: "feeder", level: "warn" });
  const kit = createKit({ service: "feeder", signal, log });
  const bus = await connectBus({ url: url ?? "", name: "member-watcher", kit });
  const copies = plannedCopies(size);
  const perSlice = endpointsPerSlice(size);
  /** Numbers of the addresses in each copy's slice. */
  const numbers = copies.map((_, at) => Array.from({ length: perSlice }, (_, i) => at * perSlice + i));
  let next = copies.length * perSlice;
  let turn = 0;
  const holders = new Map<number, PartHolder<SliceValue>>();
  const clusters = bus.writer(clustersTable);
  const say = (report: FeederReport) => process.send?.(report);
  void bus.join();

  const keyOf = (at: number) => {
    const { cluster, service } = copies[at]!;
    const name = serviceName(service);
    return sliceKeys.slice(clusterName(cluster), NAMESPACE, name, `${name}-a1`);
  };
  const write = (at: number, traced: boolean) => {
    const copy = copies[at]!;
    const record = sliceOf(copy, numbers[at]!.map(addressAt));
    holders.get(copy.cluster)?.set(keyOf(at), record, traced ? newTrace(kit.clock.now()) : undefined);
  };

  async function fill(): Promise<void> {
    const began = performance.now();
    const exportsOf = new Map<number, number>();
    for (let cluster = 0; cluster < size.clusters; cluster++) {
      const part = { scope: clusterName(cluster), shard: "0" };
      holders.set(cluster, bus.hold(slicesTable, part, { fresh: async () => {} }));
      // Consumers are made one after the other, as watchers that start do not all do at the same moment.
      if (cluster % 25 === 24) await slept(kit.clock, 20, signal);
    }
    for (const [at, copy] of copies.entries()) {
      const key = sliceKeys.export(clusterName(copy.cluster), NAMESPACE, serviceName(copy.service));
      holders.get(copy.cluster)?.set(key, exportOf(copy));
      exportsOf.set(copy.cluster, (exportsOf.get(copy.cluster) ?? 0) + 1);
      write(at, false);
    }
    const beat = () => {
      for (let cluster = 0; cluster < size.clusters; cluster++)
        clusters.set(clusterName(cluster), clusterOf(cluster, kit.clock.now(), exportsOf.get(cluster) ?? 0));
    };
    beat();
    void (async () => {
      while (await slept(kit.clock, HEARTBEAT_MS, signal)) beat();
    })();
    while (![...holders.values()].every((holder) => holder.synced)) {
      if (!(await slept(kit.clock, 50, signal))) return;
    }
    say({ kind: "filled", seconds: (performance.now() - began) / 1000 });
  }

  async function change(perSecond: number, seconds: number): Promise<void> {
    const first = next;
    const began = performance.now();
    const wanted = Math.round(perSecond * seconds);
    for (let made = 0; made < wanted; ) {
      const due = Math.min(wanted, Math.floor(((performance.now() - began) / 1000) * perSecond));
      for (; made < due; made++) {
        turn = (turn + CHANGE_STEP) % copies.length;
        const slice = numbers[turn]!;
        slice.shift();
        slice.push(next++);
        write(turn, true);
      }
      if (!(await slept(kit.clock, TICK_MS, signal))) return;
    }
    const took = (performance.now() - began) / 1000;
    await Promise.all([...holders.values()].map((holder) => holder.idle()));
    say({ kind: "changed", first, end: next, seconds: took });
  }

  process.on("message", (order: FeederOrder) => {
    const work = order.kind === "fill" ? fill() : change(order.perSecond, order.seconds);
    work.catch((error: unknown) => say({ kind: "failed", message: String(error) }));
  });
  say({ kind: "started" });
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  await Promise.all([...[...holders.values()].map((holder) => holder.done), clusters.done]);
  await bus.close();
  process.disconnect?.();
}

await main(process.argv.slice(2));
