// Routes that ask who comes, with rows as given: an agent brings them to a real nginx.
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { MemoryServer } from "@sluice/bus/testing";
import { fleetKeys, type PathPolicy } from "@sluice/contracts";
import type { Lookup } from "../auth-names.ts";
import { type TestAgent, testAgent, testFleet } from "./agent-world.ts";
import { fleetSealer } from "./fleet-sealer.ts";
import { type TestNginx, type TestPod, testNginx, testPod } from "./proxy-world.ts";

export const HOST = "shop.example.test";
const SETTLED = "settled.example.test";
const ASKED = "asked.example.test";
const PROFILE = "guarded";

export interface GuardedWorld {
  readonly nginx: TestNginx;
  readonly agent: TestAgent;
  /** Serves `web` behind every path. */
  readonly pod: TestPod;
  /** What name servers say, by name; a name that is not there is unknown. */
  readonly names: Map<string, Lookup>;
  /** Paths of HOST with what each says; resolves when nginx has them. */
  show(paths: Readonly<Record<string, PathPolicy>>): Promise<void>;
  /** Password hashes by user, as the Secret `id` has them; null: it is gone. Resolves when nginx knows. */
  users(id: string, users: Readonly<Record<string, string>> | null): Promise<void>;
}

/** @param range third byte of addresses in 127.25.0.0/16 */
export async function guardedWorld(t: TestContext, range: number, workers = 1): Promise<GuardedWorld> {
  const phases = { guards: true, filters: true };
  const nginx = await testNginx(t, { workers, https: true, profiles: { [PROFILE]: phases } });
  const pod = await testPod(t, `127.25.${range}.1`, "web");
  const server = new MemoryServer();
  const sealer = await fleetSealer(t);
  const fleet = testFleet(t, server);
  const names = new Map<string, Lookup>();
  const agent = testAgent(
    nginx,
    server,
    { member1: ["127.25.0.0/16"] },
    {
      fleetKeys: sealer.keys,
      authAddresses: ["127.25.0.0/16"],
      lookup: async (name) => names.get(name) ?? Promise.reject(new Error(`nobody knows ${name}`)),
    },
  );
  fleet.set(fleetKeys.profile("default", PROFILE), { hash: PROFILE, settings: phases });
  fleet.upstream("web", { member1: [pod] });
  const source = { kind: "MultiClusterIngress", namespace: "shop", name: "web" };
  let shown = 0;
  // A route of its own says when nginx has those that were set before: they go out in their order.
  const mark = async () => {
    const path = `/${++shown}`;
    fleet.set(fleetKeys.route("default", SETTLED), {
      host: SETTLED,
      paths: [{ type: "Exact", path, upstream: null, profile: PROFILE, source }],
    });
    await fleet.idle();
    await t.waitFor(
      async () => assert.equal((await nginx.get(path, { host: SETTLED, fresh: true })).status, 503),
      { timeout: 60_000, interval: 20 },
    );
  };
  const world: GuardedWorld = {
    nginx,
    agent,
    pod,
    names,
    async show(paths) {
      const type = "Prefix";
      fleet.set(fleetKeys.route("default", HOST), {
        host: HOST,
        paths: Object.entries(paths).map(([path, policy]) => ({
          ...policy,
          ...({ type, path, upstream: "web", profile: PROFILE, source } as const),
        })),
      });
      await mark();
    },
    async users(id, users) {
      const key = fleetKeys.secret("default", id);
      // A secret is opened beside the rows that go out: a user of its own says when nginx has this one.
      const last = `settled-${++shown}`;
      if (users === null) fleet.remove(key);
      else fleet.set(key, await sealer.row(id, { users: { ...users, [last]: `{PLAIN}${last}` } }));
      fleet.set(fleetKeys.route("default", ASKED), {
        host: ASKED,
        paths: [
          {
            type: "Prefix",
            path: "/",
            upstream: "web",
            profile: PROFILE,
            access: { users: { secret: id, realm: "" } },
            source,
          },
        ],
      });
      await fleet.idle();
      const authorization = `Basic ${Buffer.from(`${last}:${last}`).toString("base64")}`;
      await t.waitFor(
        async () => {
          const { status, headers } = await nginx.get("/", { host: ASKED, headers: { authorization } });
          if (users === null) assert.equal(headers["x-sluice-reason"], "no-users");
          else assert.equal(status, 200);
        },
        { timeout: 60_000, interval: 20 },
      );
    },
  };
  return world;
}
