import assert from "node:assert/strict";
import { test } from "node:test";
import type { ProxyRecord, RolloutReport, RolloutRow } from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import { FleetRollout } from "./fleet-rollout.ts";
import type { FleetRows } from "./fleet-rows.ts";

/** Proxies that speak once a second, and a renderer that listens. */
function world(reports: Readonly<Record<string, Partial<RolloutReport>>>) {
  let now = 1000;
  const clock = { now: () => now, monotonic: () => now, sleep: async () => {} };
  const kit = createKit({ service: "config-renderer", signal: new AbortController().signal });
  const orders: RolloutRow[] = [];
  const rows = { set: (_: string, row: RolloutRow) => orders.push(row) } as unknown as FleetRows;
  const rollout = new FleetRollout("default", rows, { ...kit, clock });
  rollout.attach();
  return {
    orders,
    /** @param seconds until the last order */
    advance(seconds: number, settings: Record<string, boolean>) {
      for (let second = 0; second < seconds; second++) {
        now += 1000;
        for (const [proxy, more] of Object.entries(reports)) {
          const record = {
            proxy,
            at: now,
            source: "bus",
            nginx: { up: true, reloads: 0 },
            rollout: { order: orders.at(-1)?.order ?? "", runs: orders.at(-1)?.target?.id ?? "", ...more },
          };
          rollout.proxyChanged(`default.${proxy}`, record as unknown as ProxyRecord);
        }
        rollout.advance(new Map(), settings);
      }
      return orders.at(-1);
    },
  };
}

test("a proxy that reads no settings is neither let nor waited for while any are said", () => {
  const { orders, advance } = world({ a: {}, b: { settings: true } });
  const order = advance(20, { hsts: false });
  assert.deepEqual([order?.target, order?.proven?.settings], [null, { hsts: false }]);
  assert.deepEqual(new Set(orders.flatMap(({ admitted }) => admitted)), new Set(["b"]));
  const waiting = world({ a: {} }).advance(20, { hsts: false });
  assert.deepEqual([waiting?.target, waiting?.proven, waiting?.n], [null, null, 1]);
});
