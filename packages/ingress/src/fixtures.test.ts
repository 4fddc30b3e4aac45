import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import {
  type Canary,
  type FleetValue,
  fleetKeys,
  type PeersRow,
  type ProfileRow,
  type RoutePath,
  type RouteRow,
  type TopologyPeers,
} from "@sluice/contracts";
import { parse, parseAllDocuments } from "yaml";
import { buildFleet } from "./build-fleet.ts";
import type { FleetOptions } from "./fleet-model.ts";
import type { KubeObject } from "./objects.ts";

/** One behaviour: objects as users write them, and what the fleet is then, in short. */
interface Fixture {
  readonly options?: Partial<FleetOptions>;
  readonly ingresses?: string;
  readonly imports?: string;
  readonly classes?: string;
  /** The ConfigMap shop/config, which is asked for then; empty: it is not there. */
  readonly config?: string;
  readonly topology?: readonly TopologyPeers[];
  readonly exported?: Readonly<Record<string, readonly string[]>>;
  /** Host → `Prefix /path -> upstream`, or `… -> 503: problem`; `~` before a regular expression, then what else it says. */
  readonly routes: Readonly<Record<string, readonly string[]>>;
  /** `host path` → what its profile says beside the default. */
  readonly settings?: Readonly<Record<string, ProfileRow["settings"]>>;
  /** `upstream cluster` → `address:port`. */
  readonly peers?: Readonly<Record<string, readonly string[]>>;
  /** `Kind namespace/name type reason beginning-of-message`, all of them, in order. */
  readonly verdicts?: readonly string[];
}

const folder = new URL("./testdata/", import.meta.url);
const documents = (text: string | undefined): KubeObject[] =>
  parseAllDocuments(text ?? "").flatMap((document) => document.toJS() ?? []);

function routesOf(rows: Iterable<[string, FleetValue]>): Record<string, string[]> {
  const target = ({ upstream, redirect, problem }: RoutePath) =>
    redirect === undefined
      ? (upstream ?? `503: ${problem}`)
      : [redirect.code, redirect.to, ...(redirect.keeps ?? [])].join(" ");
  const more = (p: RoutePath) =>
    (["spare", "rewrite", "forwardedPrefix", "vhost", "httpsOnly"] as const)
      .filter((key) => p[key] !== undefined)
      .map((key) => `, ${key} ${p[key]}`);
  const canary = ({ upstream, header, cookie, weight, of = 100, balance, sticky }: Canary) =>
    [
      `, canary ${upstream}`,
      ...(header === undefined ? [] : ["header", ...Object.values(header)]),
      ...(cookie === undefined ? [] : ["cookie", cookie]),
      ...(weight === undefined ? [] : [`${weight} of ${of}`]),
      ...(balance === undefined ? [] : [balance.method]),
      ...(sticky === true ? ["sticky"] : []),
    ].join(" ");
  const line = (p: RoutePath) => {
    const beside = p.canary === undefined ? "" : canary(p.canary);
    return `${p.type} ${p.regex === true ? "~ " : ""}${p.path} -> ${target(p)}${more(p).join("")}${beside}`;
  };
  const found = [...rows].filter(([key]) => key.startsWith("default.routes."));
  return Object.fromEntries(
    found.map(([, row]) => [(row as RouteRow).host, (row as RouteRow).paths.map(line)]),
  );
}

function settingsOf(rows: ReadonlyMap<string, FleetValue>): Record<string, ProfileRow["settings"]> {
  const found: Record<string, ProfileRow["settings"]> = {};
  for (const [key, row] of rows) {
    if (!key.startsWith("default.routes.")) continue;
    const { host, paths } = row as RouteRow;
    for (const { path, profile } of paths) {
      const used = rows.get(fleetKeys.profile("default", profile)) as ProfileRow;
      if (Object.keys(used.settings).length > 0) found[`${host} ${path}`] = used.settings;
    }
  }
  return found;
}

function peersOf(rows: Iterable<[string, FleetValue]>): Record<string, string[]> {
  const found = [...rows]
    .filter(([key]) => key.startsWith("default.peers."))
    .map(([, row]) => row as PeersRow);
  return Object.fromEntries(
    found.map((row) => [
      `${row.upstream} ${row.cluster}`,
      row.peers.map((p) => `${p.address}:${p.port}${p.draining === true ? " draining" : ""}`),
    ]),
  );
}

for (const file of readdirSync(folder).filter((name) => name.endsWith(".yaml"))) {
  test(file.slice(0, -".yaml".length).replaceAll("-", " "), () => {
    const fixture = parse(readFileSync(new URL(file, folder), "utf8")) as Fixture;
    const [config] = documents(fixture.config);
    const configMap =
      fixture.config === undefined ? {} : { configMap: { namespace: "shop", name: "config" } };
    const { rows, verdicts } = buildFleet(
      {
        ingresses: documents(fixture.ingresses),
        imports: documents(fixture.imports),
        classes: documents(fixture.classes),
        ...(config === undefined ? {} : { config }),
        peers: fixture.topology ?? [],
        exported: new Map(Object.entries(fixture.exported ?? {}).map(([k, names]) => [k, new Set(names)])),
      },
      {
        fleet: "default",
        ingressClasses: ["nginx"],
        watchWithoutClass: false,
        ...configMap,
        ...fixture.options,
      },
    );
    assert.deepEqual(routesOf(rows), fixture.routes);
    assert.deepEqual(settingsOf(rows), fixture.settings ?? {});
    if (fixture.peers !== undefined) assert.deepEqual(peersOf(rows), fixture.peers);
    const said = verdicts.map((v) => {
      const text = `${v.object.kind} ${v.object.namespace}/${v.object.name} ${v.type} ${v.reason} ${v.message}`;
      // A fixture gives the beginning of a message, as far as it matters.
      return fixture.verdicts?.find((expected) => text.startsWith(expected)) ?? text;
    });
    assert.deepEqual(said, fixture.verdicts ?? []);
  });
}
