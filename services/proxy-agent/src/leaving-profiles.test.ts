// What becomes of routes whose profile leaves nginx while they come.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type FleetValue, fleetKeys, type ProfileRow, type RouteRow } from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import type { PlannedRow } from "./fleet-rows.ts";
import { FleetRows } from "./fleet-rows.ts";
import type { NginxState } from "./nginx-client.ts";
import { NginxProfiles } from "./nginx-profiles.ts";
import { type NginxOptions, renderNginx } from "./prepare-nginx.ts";
import { readProfile } from "./profile-settings.ts";
import { ProxyMetrics } from "./proxy-metrics.ts";
import type { ReloadOutcome } from "./reload-nginx.ts";

const plan: NginxOptions = {
  dir: "/nonexistent",
  tool: {
    path: "nginx",
    version: "1.22.1",
    env: {},
    modules: { loadModules: [], luaPackagePath: "", luaPackageCpath: "" },
  },
  httpAddress: "127.0.0.1:1",
  workers: 1,
  firstByteTimeoutMs: 0,
};

const old: ProfileRow = { hash: "old", settings: { readTimeoutMs: 30_000 } };
const young: ProfileRow = { hash: "young", settings: { readTimeoutMs: 31_000 } };

const upstream: FleetValue = {
  id: "web",
  namespace: "shop",
  service: "web",
  port: "",
  balance: "round_robin",
};
const route = (host: string, profile: string): [string, RouteRow] => {
  const source = { kind: "MultiClusterIngress" as const, namespace: "shop", name: "web" };
  const path = { type: "Prefix" as const, path: "/", upstream: "web", profile, source, service: "web" };
  return [fleetKeys.route("default", host), { host, paths: [path] }];
};

function taken(rows: FleetRows): string[] {
  const names: string[] = [];
  for (let batch = rows.next(); batch.length > 0; batch = rows.next()) {
    for (const planned of batch) {
      rows.taken(planned);
      names.push(planned.name);
    }
  }
  return names;
}

/** An agent's part on an nginx that runs with `old`, told to try `young` beside it; how that ends is the test's. */
async function trying(
  body: (
    rows: FleetRows,
    reloads: { profiles: string[]; end(outcome: ReloadOutcome): void },
  ) => Promise<void>,
  before: (rows: FleetRows) => void = () => {},
): Promise<void> {
  const settings = readProfile(old);
  assert.ok(!("problem" in settings));
  const kept = new Map([["old", settings]]);
  const controller = new AbortController();
  const kit = createKit({ service: "proxy-agent", signal: controller.signal });
  const rows = new FleetRows({ peers: new Map(), refused: [] });
  rows.set(fleetKeys.upstream("default", "web"), upstream);
  rows.setProfiles(new Set(["default", "old"]));
  const configuration = (id: string, ...profiles: ProfileRow[]) => ({ id: id.repeat(16), profiles });
  rows.set(fleetKeys.rollout("default"), {
    n: 2,
    order: "2.a",
    proven: configuration("a"),
    target: configuration("b", young),
    admitted: ["proxy1"],
    refused: [],
    atOnce: 1,
  });
  taken(rows);
  before(rows);
  const begun = Promise.withResolvers<{ profiles: string[]; end(outcome: ReloadOutcome): void }>();
  const settled = Promise.withResolvers<void>();
  const config = renderNginx({ ...plan, listeners: {} }, kept).hash;
  const profiles = new NginxProfiles(
    {
      plan: () => Promise.resolve(plan),
      kept: () => Promise.resolve(kept),
      trial: { load: () => Promise.resolve(null), save: () => Promise.resolve() },
      reload: (_options, wanted) => {
        const ended = Promise.withResolvers<ReloadOutcome>();
        const stopped = () => ended.resolve({ ok: false, why: "stopped" });
        controller.signal.addEventListener("abort", stopped, { once: true });
        begun.resolve({
          profiles: [...wanted.keys()].sort(),
          end: (outcome) => ended.resolve(outcome),
        });
        return ended.promise;
      },
    },
    {
      proxy: "proxy1",
      state: { config } as NginxState,
      knowsAll: true,
      refresh: () => Promise.resolve(),
      changed: () => settled.resolve(),
    },
    rows,
    new ProxyMetrics(kit.metrics, { fleet: "default", proxy: "proxy1" }, kit.clock),
    kit,
  );
  const running = profiles.run();
  try {
    profiles.notify();
    await body(rows, await begun.promise);
    await settled.promise;
  } finally {
    controller.abort(new Error("done"));
    await running;
  }
}

test("a route that comes while its profile leaves nginx waits for it", async () => {
  let rows: FleetRows | null = null;
  await trying(async (each, { profiles, end }) => {
    rows = each;
    assert.deepEqual(profiles, ["young"]);
    each.set(...route("late.example.test", "old"));
    assert.deepEqual(taken(each), []);
    end({ ok: true });
  });
  assert.deepEqual(taken(rows!), [], "and nginx has not got it now");
});

test("where nginx keeps what it had, the route that waited comes", async () => {
  let rows: FleetRows | null = null;
  await trying(async (each, { end }) => {
    rows = each;
    each.set(...route("late.example.test", "old"));
    assert.deepEqual(taken(each), []);
    end({ ok: false, why: "it would not do" });
  });
  assert.deepEqual(taken(rows!), ["route late.example.test"]);
});

test("the profile of a route that is on its way to nginx stays", async () => {
  let sent: PlannedRow[] = [];
  await trying(
    async (each, { profiles, end }) => {
      assert.deepEqual(profiles, ["old", "young"]);
      for (const planned of sent) each.taken(planned);
      end({ ok: true });
    },
    (rows) => {
      rows.set(...route("first.example.test", "old"));
      sent = rows.next();
      assert.equal(sent.length, 1);
    },
  );
});
