import assert from "node:assert/strict";
import {
  allStreams,
  allTables,
  type BusComponent,
  type BusUser,
  busUserName,
  fleetTable,
  streamOf,
  subjectOf,
  type TableSpec,
} from "@sluice/contracts";

/** One of each component, and another scope for each that has one. */
export const users: readonly BusUser[] = [
  { component: "member-watcher", members: ["member1"] },
  { component: "member-watcher", members: ["member2"] },
  { component: "aggregator" },
  { component: "config-renderer", fleet: "default" },
  { component: "config-renderer", fleet: "edge" },
  { component: "proxy-agent", fleet: "default", proxy: "p1" },
  { component: "proxy-agent", fleet: "default", proxy: "p2" },
  { component: "proxy-agent", fleet: "edge", proxy: "p1" },
  { component: "topology-gateway" },
  { component: "propagator" },
  { component: "replay" },
  { component: "operator" },
];

/** Keys of every table, of every scope that there is. */
export const sampleKeys: Readonly<Record<string, readonly string[]>> = {
  slices: ["member1", "member2"].flatMap((c) => [
    `${c}.shop.cart.a`,
    `${c}.shop.cart._export`,
    `${c}._meta.claim.0.1`,
    `${c}._meta.synced.0`,
    `${c}._meta.layout.1`,
  ]),
  clusters: ["member1", "member2"],
  verdicts: ["member1.shop.cart", "member2.shop.cart"],
  topology: ["shop.cart._service", "shop.cart.member1", "_meta.claim.0.1", "_meta.synced.0"],
  fleet: ["default", "edge"].flatMap((f) => [
    `${f}.routes.example_test`,
    `${f}.peers.u.member1`,
    `${f}._meta.claim.1`,
  ]),
  intents: ["drain.member1", "drain.member2"],
  proxies: ["default.p1", "default.p2", "edge.p1"],
  members: [...new Set(users.map(({ component }) => `${component}.a1`))],
  boot: ["id"],
};

type Rule = (user: BusUser, key: string) => boolean;
const ownMember: Rule = ({ members = [] }, key) => members.some((name) => key.split(".").includes(name));
const ownFleet: Rule = ({ fleet }, key) => key.startsWith(`${fleet}.`);
const ownProxy: Rule = ({ fleet, proxy }, key) => key === `${fleet}.${proxy}`;
const ownRole: Rule = ({ component }, key) => key.startsWith(`${component}.`);
const any: Rule = () => true;

/** Who writes a table's keys and who reads them: said here a second time, so that the generator can be wrong. */
const tableRules: Readonly<
  Record<string, { writes: Partial<Record<BusComponent, Rule>>; reads: Partial<Record<BusComponent, Rule>> }>
> = {
  slices: {
    writes: { "member-watcher": ownMember, aggregator: any, replay: any },
    reads: { "member-watcher": ownMember, aggregator: any, "topology-gateway": any, replay: any },
  },
  clusters: {
    writes: { "member-watcher": ownMember, aggregator: any, replay: any },
    reads: {
      "member-watcher": ownMember,
      aggregator: any,
      "config-renderer": any,
      "topology-gateway": any,
      replay: any,
    },
  },
  verdicts: {
    writes: { aggregator: any },
    reads: { "member-watcher": ownMember, aggregator: any, "topology-gateway": any },
  },
  topology: {
    writes: { aggregator: any },
    reads: { aggregator: any, "config-renderer": any, "topology-gateway": any },
  },
  fleet: {
    writes: { "config-renderer": ownFleet },
    // The aggregator writes checkpoints of every logged table.
    reads: { aggregator: any, "config-renderer": ownFleet, "proxy-agent": ownFleet, "topology-gateway": any },
  },
  intents: {
    writes: { "topology-gateway": any, replay: any },
    reads: {
      "member-watcher": ownMember,
      aggregator: any,
      "config-renderer": any,
      "topology-gateway": any,
      replay: any,
    },
  },
  proxies: {
    writes: { "proxy-agent": ownProxy },
    reads: { "config-renderer": ownFleet, "topology-gateway": any },
  },
  members: {
    writes: Object.fromEntries(users.map(({ component }) => [component, ownRole])),
    reads: {
      ...Object.fromEntries(users.map(({ component }) => [component, ownRole])),
      "topology-gateway": any,
      // Nothing is replayed into a bus on which watchers live.
      replay: (user, key) => ownRole(user, key) || key.startsWith("member-watcher."),
    },
  },
  boot: {
    writes: { aggregator: any, "config-renderer": any, "topology-gateway": any, replay: any },
    reads: Object.fromEntries(users.map(({ component }) => [component, any])),
  },
};

export function mayTouch(verb: "writes" | "reads", user: BusUser, table: TableSpec, key: string): boolean {
  if (user.component === "operator") return true;
  return tableRules[table.name]?.[verb][user.component]?.(user, key) ?? false;
}

export interface Attempt {
  readonly verb: "publish" | "subscribe";
  readonly subject: string;
  /** Who needs it. */
  may(user: BusUser): boolean;
}

const nobody = () => false;
const hub: readonly BusComponent[] = [
  "aggregator",
  "config-renderer",
  "topology-gateway",
  "replay",
  "operator",
];
const isHub = ({ component }: BusUser) => hub.includes(component);
const is =
  (...components: BusComponent[]) =>
  ({ component }: BusUser) =>
    components.includes(component);

/** Every subject that could be of use to somebody, and who needs it. */
export function attempts(publicKeys: ReadonlyMap<string, string>): Attempt[] {
  const publish = (subject: string, may: (user: BusUser) => boolean): Attempt => ({
    verb: "publish",
    subject,
    may,
  });
  const subscribe = (subject: string, may: (user: BusUser) => boolean): Attempt => ({
    verb: "subscribe",
    subject,
    may,
  });
  const all: Attempt[] = [];
  for (const table of allTables) {
    const stream = streamOf(table);
    const keys = sampleKeys[table.name] ?? assert.fail(`no keys of ${table.name} are tried`);
    const wholly = (user: BusUser) => keys.every((key) => mayTouch("reads", user, table, key));
    for (const key of keys) {
      const subject = subjectOf(table, key);
      const reads = (user: BusUser) => mayTouch("reads", user, table, key);
      all.push(publish(subject, (user) => mayTouch("writes", user, table, key)));
      all.push(publish(`$JS.API.CONSUMER.CREATE.${stream}.x.${subject}`, reads));
      // Whoever asks the leader has no need to ask by key.
      const partly = (user: BusUser) => reads(user) && !wholly(user);
      all.push(
        publish(
          `$JS.API.DIRECT.GET.${stream}.${subject}`,
          (user) => partly(user) || isHistorian(user, table),
        ),
      );
      all.push(subscribe(subject, nobody));
    }
    all.push(publish(`$JS.API.CONSUMER.CREATE.${stream}.x.${subjectOf(table, ">")}`, wholly));
    all.push(publish(`$JS.API.STREAM.MSG.GET.${stream}`, wholly));
    all.push(
      publish(
        `$JS.API.STREAM.INFO.${stream}`,
        (user) => isHub(user) || wholly(user) || (user.component === "proxy-agent" && table === fleetTable),
      ),
    );
    all.push(
      publish(`$JS.API.STREAM.MSG.DELETE.${stream}`, (user) => {
        if (user.component === "operator") return table.name !== "boot" && table.name !== "members";
        if (user.component === "config-renderer") return table.name === "fleet";
        return user.component === "aggregator" && ["slices", "topology"].includes(table.name);
      }),
    );
    for (const call of ["INFO", "DELETE", "MSG.NEXT"]) {
      all.push(publish(`$JS.API.CONSUMER.${call}.${stream}.x`, (user) => isHistorian(user, table)));
    }
    all.push(publish(`$JS.API.STREAM.PURGE.${stream}`, nobody));
  }
  for (const stream of allStreams()) {
    all.push(publish(`$JS.API.STREAM.CREATE.${stream}`, isHub));
    all.push(publish(`$JS.API.STREAM.UPDATE.${stream}`, is("aggregator")));
    for (const call of ["DELETE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN", "PEER.REMOVE"]) {
      all.push(publish(`$JS.API.STREAM.${call}.${stream}`, nobody));
    }
    all.push(publish(`$JS.API.CONSUMER.CREATE.${stream}`, nobody));
    all.push(publish(`$JS.API.CONSUMER.CREATE.${stream}.x`, nobody));
    all.push(publish(`$JS.API.CONSUMER.DURABLE.CREATE.${stream}.x`, nobody));
    for (const call of ["LIST", "NAMES"]) all.push(publish(`$JS.API.CONSUMER.${call}.${stream}`, nobody));
    all.push(publish(`$JS.API.CONSUMER.LEADER.STEPDOWN.${stream}.x`, nobody));
  }
  const history = is("aggregator", "topology-gateway", "operator");
  for (const [stream, subject, readers] of [
    ["sluice_log", "sluice.log.slices.member1.shop.cart.a", history],
    ["OBJ_sluice_checkpoints", "$O.sluice_checkpoints.M.x", history],
    ["sluice_events", "sluice.events.v1.changed.shop.cart", is("operator")],
  ] as const) {
    all.push(publish(`$JS.API.CONSUMER.CREATE.${stream}.x.${subject}`, readers));
    all.push(publish(`$JS.API.DIRECT.GET.${stream}.${subject}`, readers));
    for (const call of ["INFO", "DELETE", "MSG.NEXT"]) {
      all.push(publish(`$JS.API.CONSUMER.${call}.${stream}.x`, readers));
    }
    all.push(publish(`$JS.API.STREAM.INFO.${stream}`, isHub));
    all.push(publish(`$JS.API.STREAM.MSG.DELETE.${stream}`, nobody));
    all.push(subscribe(subject, nobody));
  }
  all.push(publish("$JS.API.STREAM.MSG.GET.sluice_log", history));
  all.push(publish("$JS.API.STREAM.MSG.GET.OBJ_sluice_checkpoints", history));
  all.push(publish("$JS.API.STREAM.MSG.GET.sluice_events", is("aggregator", "operator")));
  all.push(publish("$JS.API.STREAM.PURGE.OBJ_sluice_checkpoints", is("aggregator")));
  all.push(publish("$JS.API.STREAM.PURGE.sluice_log", nobody));
  all.push(publish("$JS.API.STREAM.PURGE.sluice_events", nobody));
  // What the server says that it has accepted, one aggregator puts into the log; nobody says it in the server's place.
  all.push(publish("sluice.log.slices.member1.shop.cart.a", is("aggregator")));
  all.push(publish("sluice.accepted.slices.member1.shop.cart.a", nobody));
  all.push(subscribe("sluice.accepted.slices.member1.shop.cart.a", is("aggregator")));
  all.push(subscribe("sluice.accepted.fleet.default.peers.u.member1", nobody));
  all.push(publish("sluice.events.v1.changed.shop.cart", is("aggregator")));
  all.push(publish("$O.sluice_checkpoints.C.x", is("aggregator")));
  for (const subject of [
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.CREATE.other",
    "$JS.API.ACCOUNT.PURGE.$G",
    "$JS.API.META.LEADER.STEPDOWN",
    "$SYS.REQ.SERVER.PING",
    "$SRV.PING",
    "_INBOX.x",
    "other",
  ]) {
    all.push(publish(subject, nobody));
  }
  for (const subject of [
    ">",
    "$KV.>",
    "$JS.>",
    "$JS.EVENT.ADVISORY.>",
    "$SYS.>",
    "_INBOX.>",
    "*",
    "sluice.>",
  ]) {
    all.push(subscribe(subject, nobody));
  }
  for (const user of users) {
    const inbox = `_INBOX_${publicKeys.get(busUserName(user))}.x`;
    all.push(publish(inbox, nobody));
    all.push(subscribe(inbox, (other) => busUserName(other) === busUserName(user)));
  }
  return all;
}

/** Reads logged tables whole through consumers of the client's own. */
function isHistorian({ component }: BusUser, { logged }: TableSpec): boolean {
  return component === "aggregator" && logged !== undefined;
}
