// From objects to requests: the model makes rows of them, an agent brings these to a real nginx.
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { MemoryServer } from "@sluice/bus/testing";
import { fleetKeys } from "@sluice/contracts";
import { buildFleet, type KubeObject, ReadSecret } from "@sluice/ingress";
import { testAgent, testFleet } from "./agent-world.ts";
import { fleetSealer } from "./fleet-sealer.ts";
import { importedFrom } from "./imported.ts";
import { type TestNginx, type TestPod, testNginx } from "./proxy-world.ts";

const soon = { timeout: 30_000, interval: 10 };
const SETTLED = "settled.example.test";
const source = { kind: "MultiClusterIngress", namespace: "shop", name: "settled" };

/** A MultiClusterIngress in short. */
export interface ServedIngress {
  readonly name?: string;
  /** Behind `nginx.ingress.kubernetes.io/`. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Paths by host: `Prefix /cart -> web`. A type in short: P, E or I. */
  readonly hosts: Readonly<Record<string, readonly string[]>>;
  /** Of all its hosts, and the Secret with their certificate. */
  readonly tls?: string;
}

export interface ServedWorld {
  readonly nginx: TestNginx;
  /** What is wrong with the objects, each in a line. */
  readonly verdicts: readonly string[];
  /** Profiles with a location of their own. */
  readonly profiles: number;
  /** Secrets of namespace shop, by name; their texts are base64. They count from the next `show`. */
  readonly secrets: Map<string, Readonly<Record<string, string>>>;
  /** ConfigMaps of namespace shop, by name; `config` is the one of all objects. They count from the next `show`. */
  readonly configMaps: Map<string, Readonly<Record<string, string>>>;
  /** These instead of those before; resolves when nginx serves them. */
  show(...ingresses: readonly ServedIngress[]): Promise<void>;
}

const TYPES: Readonly<Record<string, string>> = { P: "Prefix", E: "Exact", I: "ImplementationSpecific" };

function ingressOf(given: ServedIngress, at: number): KubeObject {
  const annotations = Object.entries(given.annotations ?? {}).map(
    ([name, value]) => [`nginx.ingress.kubernetes.io/${name}`, value] as const,
  );
  return {
    metadata: {
      namespace: "shop",
      name: given.name ?? `ingress-${at}`,
      // The first one is the oldest.
      creationTimestamp: new Date(Date.UTC(2026, 0, 1 + at)).toISOString(),
      annotations: Object.fromEntries(annotations),
    },
    spec: {
      ingressClassName: "nginx",
      ...(given.tls === undefined
        ? {}
        : { tls: [{ hosts: Object.keys(given.hosts), secretName: given.tls }] }),
      rules: Object.entries(given.hosts).map(([host, paths]) => ({
        host,
        http: { paths: paths.map(pathOf) },
      })),
    },
  };
}

function pathOf(line: string): unknown {
  const [, type = "", path, name] = /^([PEI]) (\S+) -> (\S+)$/.exec(line) ?? [];
  assert.ok(path !== undefined, line);
  return { path, pathType: TYPES[type], backend: { service: { name, port: { number: 80 } } } };
}

/** @param services pods of each in one cluster; addresses in 127.25.0.0/16 */
export async function servedWorld(
  t: TestContext,
  services: Readonly<Record<string, readonly TestPod[]>>,
  ...ingresses: readonly ServedIngress[]
): Promise<ServedWorld> {
  const nginx = await testNginx(t, { workers: 1, https: true, accessLog: "file" });
  const server = new MemoryServer();
  const fleet = testFleet(t, server);
  const sealer = await fleetSealer(t);
  const agent = testAgent(
    nginx,
    server,
    { member1: ["127.25.0.0/16"] },
    { fleetKeys: sealer.keys, authAddresses: ["127.25.0.0/16"] },
  );
  const secrets: ServedWorld["secrets"] = new Map();
  const configMaps: ServedWorld["configMaps"] = new Map();
  const configMap = { namespace: "shop", name: "config" };
  const before = new Set<string>();
  let verdicts: readonly string[] = [];
  let profiles = 0;
  let shown = 0;
  const show = async (...given: readonly ServedIngress[]) => {
    // A host of its own says when nginx has it all: routes go out in the order of their keys, and it is the last.
    const mark: ServedIngress = { name: "settled", hosts: { [SETTLED]: [`E /${++shown} -> nobody`] } };
    const built = buildFleet(
      {
        ingresses: [...given, mark].map(ingressOf),
        ...importedFrom(services),
        secrets: new Map(
          [...secrets].map(([name, data]) => {
            const secret = new ReadSecret({ metadata: { namespace: "shop", name }, data });
            return [secret.key, secret] as const;
          }),
        ),
        config: { metadata: configMap, data: configMaps.get(configMap.name) ?? {} },
        configMaps: new Map(
          [...configMaps].map(([name, data]) => [
            `shop/${name}`,
            { metadata: { namespace: "shop", name }, data },
          ]),
        ),
      },
      { fleet: "default", ingressClasses: ["nginx"], watchWithoutClass: false, servesTls: true, configMap },
    );
    verdicts = built.verdicts
      .filter(({ object }) => object.name !== mark.name)
      .map(({ object, reason, message }) => `${object.name} ${reason} ${message}`);
    profiles = [...built.rows.keys()].filter((key) => key.startsWith("default.profiles.")).length - 1;
    for (const key of before) if (!built.rows.has(key)) fleet.remove(key);
    before.clear();
    for (const [key, row] of built.rows) {
      fleet.set(key, row);
      before.add(key);
    }
    for (const [id, want] of built.secrets) {
      if (want.kind !== "row") continue;
      const { sealed, chain, authorities } = want.contents;
      const key = fleetKeys.secret("default", id);
      fleet.set(key, {
        ...(sealed === undefined
          ? { id, namespace: "shop", name: id }
          : await sealer.row(id, sealed.reveal())),
        ...(chain === undefined ? {} : { chain }),
        ...(authorities === undefined ? {} : { authorities }),
      });
      before.add(key);
    }
    // A route waits for its profile, and so does one of ours that is sent behind it.
    const marks = [SETTLED];
    for (const key of built.rows.keys()) {
      const [, kind, hash = ""] = key.split(".");
      if (kind !== "profiles") continue;
      const host = `${hash}.${SETTLED}`;
      const route = fleetKeys.route("default", host);
      fleet.set(route, {
        host,
        paths: [{ type: "Exact", path: `/${shown}`, upstream: null, profile: hash, source }],
      });
      before.add(route);
      marks.push(host);
    }
    await fleet.idle();
    await t.waitFor(async () => {
      for (const host of marks) {
        const { status } = await nginx.get(`/${shown}`, { host, fresh: true });
        assert.equal(status, 503, host);
      }
      const last = agent.records.at(-1);
      assert.deepEqual([last?.problems, last?.rows.routes], [[], routes(before)]);
    }, soon);
  };
  await show(...ingresses);
  return {
    nginx,
    secrets,
    configMaps,
    show,
    get verdicts() {
      return verdicts;
    },
    get profiles() {
      return profiles;
    },
  };
}

function routes(keys: ReadonlySet<string>): number {
  return [...keys].filter((key) => key.startsWith("default.routes.")).length;
}
