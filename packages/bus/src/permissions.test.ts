import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { connect, headers, type NatsConnection, PermissionViolationError } from "@nats-io/transport-node";
import {
  allStreams,
  allTables,
  type BusComponent,
  BusForbiddenError,
  type BusUser,
  busUserName,
  clustersTable,
  fleetTable,
  permissionsOf,
  reachOf,
  slicesTable,
  streamOf,
  subjectOf,
  type TableSpec,
} from "@sluice/contracts";
import { ensureTool, type NatsServer, startNatsServer, type Tool } from "@sluice/native-tools";
import { createKit } from "@sluice/service-kit";
import { readCredentials } from "./credentials.ts";
import { authorizationBlock, type WrittenUser, writeCredentials } from "./nats-auth.ts";
import { NatsStore } from "./nats-store.ts";
import type { StoredEntry } from "./store.ts";

const forever = new AbortController().signal;

const users: readonly BusUser[] = [
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
const sampleKeys: Readonly<Record<string, readonly string[]>> = {
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

function mayTouch(verb: "writes" | "reads", user: BusUser, table: TableSpec, key: string): boolean {
  if (user.component === "operator") return true;
  return tableRules[table.name]?.[verb][user.component]?.(user, key) ?? false;
}

interface Attempt {
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
function attempts(publicKeys: ReadonlyMap<string, string>): Attempt[] {
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

/** What the server refuses of all that a user tries. */
async function refusals(connection: NatsConnection, tried: readonly Attempt[]): Promise<Set<string>> {
  const refused = new Set<string>();
  const listening = (async () => {
    for await (const status of connection.status()) {
      if (status.type !== "error" || !(status.error instanceof PermissionViolationError)) continue;
      const verb = status.error.operation === "publish" ? "publish" : "subscribe";
      refused.add(`${verb} ${status.error.subject}`);
    }
  })();
  for (const [i, { verb, subject }] of tried.entries()) {
    if (verb === "publish") connection.publish(subject, "{}");
    else connection.subscribe(subject, { callback: () => {} });
    if (i % 100 === 99) await connection.flush();
  }
  await connection.flush();
  await connection.close();
  await listening;
  return refused;
}

/** Every attempt whose outcome is not what the rules say, as a sentence each. */
async function trespasses(
  server: NatsServer,
  written: readonly WrittenUser[],
  tried: readonly Attempt[],
): Promise<string[]> {
  const found: string[] = [];
  for (const { name, user, file } of written) {
    const { options } = await readCredentials({ nkey: file });
    const connection = await connect({ servers: server.url, ...options });
    const refused = await refusals(connection, tried);
    for (const { verb, subject, may } of tried) {
      const isRefused = refused.has(`${verb} ${subject}`);
      if (may(user) && isRefused) found.push(`${name} needs to ${verb} ${subject}, and may not`);
      if (!may(user) && !isRefused) found.push(`${name} may ${verb} ${subject}, and must not`);
    }
  }
  return found;
}

let tool: Tool;
let root: string;
let written: WrittenUser[];
let tried: Attempt[];
before(async () => {
  tool = await ensureTool("nats-server", { signal: forever });
  root = await mkdtemp(join(tmpdir(), "sluice-permissions-"));
  written = await writeCredentials(join(root, "auth"), users);
  tried = attempts(new Map(written.map(({ name, publicKey }) => [name, publicKey])));
});
after(async () => {
  await rm(root, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});

async function startServer(configuration: string): Promise<NatsServer> {
  return startNatsServer({
    tool,
    storeDir: await mkdtemp(join(root, "nats-")),
    configuration,
    signal: forever,
  });
}

/** A store as a component connects, closed at the end of the test. */
function storeOf(server: NatsServer, user: WrittenUser, stop: AbortController): NatsStore {
  const kit = createKit({ service: user.name, signal: stop.signal });
  return new NatsStore({ url: server.url, name: user.user.component, files: { nkey: user.file }, kit });
}

function userNamed(name: string): WrittenUser {
  return written.find((each) => each.name === name) ?? assert.fail(`there is no ${name}`);
}

test("each component reaches what it needs and nothing else", { timeout: 240_000 }, async () => {
  await using server = await startServer(authorizationBlock(written));
  assert.ok(tried.length > 400);
  assert.deepEqual(await trespasses(server, written, tried), []);
});

test("one permission too many is named", { timeout: 240_000 }, async () => {
  const member = userNamed("member-watcher-member1");
  const [own] = permissionsOf(member.user, member.publicKey).publish.filter((subject) =>
    subject.startsWith("$KV.sluice_clusters"),
  );
  const block = authorizationBlock([member]);
  const wider = block.replace(JSON.stringify(own), JSON.stringify(subjectOf(clustersTable, ">")));
  assert.notEqual(wider, block);
  await using server = await startServer(wider);
  assert.deepEqual(await trespasses(server, [member], tried), [
    "member-watcher-member1 may publish $KV.sluice_clusters.member2, and must not",
  ]);
});

test("one permission too few is named", { timeout: 240_000 }, async () => {
  const member = userNamed("member-watcher-member1");
  const block = authorizationBlock([member]);
  const lines = block.split("\n");
  const narrower = lines.filter((line) => !line.includes('"$KV.sluice_clusters.member1"')).join("\n");
  assert.notEqual(narrower, block);
  await using server = await startServer(narrower);
  assert.deepEqual(await trespasses(server, [member], tried), [
    "member-watcher-member1 needs to publish $KV.sluice_clusters.member1, and may not",
  ]);
});

test("each component does its work with the credential that it has", { timeout: 240_000 }, async () => {
  await using server = await startServer(authorizationBlock(written));
  const stop = new AbortController();
  const { signal } = stop;
  const following: Promise<void>[] = [];
  const stores: NatsStore[] = [];
  try {
    // A member waits for whoever sets up the bus.
    const early = storeOf(server, userNamed("member-watcher-member1"), stop);
    stores.push(early);
    await delay(100);
    assert.equal(early.connected, false);
    for (const user of [userNamed("aggregator"), ...written.filter(({ name }) => name !== "aggregator")]) {
      const store = storeOf(server, user, stop);
      stores.push(store);
      await store.ready(signal);
      for (const { table, reads, writes, reaps } of reachOf(user.user)) {
        const keys = sampleKeys[table.name] ?? [];
        const told: string[] = [];
        for (const filter of reads) {
          const caughtUp = Promise.withResolvers<void>();
          following.push(
            store.follow(
              table,
              filter,
              {
                restart: () => {},
                entry: ({ key }: StoredEntry) => void told.push(key),
                caughtUp: () => caughtUp.resolve(),
                disconnected: () => {},
              },
              signal,
            ),
          );
          await caughtUp.promise;
        }
        for (const key of keys) {
          // An `id` of another shape would be another life of the servers.
          if (table.name === "boot") continue;
          const value = Buffer.from(user.name);
          if (writes.length > 0 && mayTouch("writes", user.user, table, key)) {
            assert.ok((await store.put(table, key, value, null, signal)).ok, `${user.name} ${key}`);
          }
          if (mayTouch("reads", user.user, table, key) && reads.length > 0) {
            await store.get(table, key, signal);
          }
        }
        if (reads.includes(">")) await store.lastRevision(table, signal);
        if (reaps === true) await store.removeMessage(table, 1, signal);
        const foreign = told.filter((key) => !mayTouch("reads", user.user, table, key));
        assert.deepEqual(foreign, [], `${user.name} is told of ${table.name}`);
      }
    }
    await early.ready(signal);
  } finally {
    stop.abort();
    await Promise.all(following);
    await Promise.all(stores.map((store) => store.close()));
  }
});

test("a message that empties a table, or that the server relays for somebody, is none", {
  timeout: 240_000,
}, async () => {
  await using server = await startServer(authorizationBlock(written));
  const stop = new AbortController();
  const { signal } = stop;
  const operator = storeOf(server, userNamed("operator"), stop);
  try {
    await operator.ready(signal);
    const put = (table: TableSpec, key: string, text: string) =>
      operator.put(table, key, Buffer.from(text), null, signal);
    await put(slicesTable, "member1.shop.cart.a", "own");
    await put(slicesTable, "member2.shop.cart.a", "another's");
    await put(fleetTable, "default.routes.a", "route");
    const { options } = await readCredentials({ nkey: userNamed("member-watcher-member1").file });
    const member = await connect({ servers: server.url, ...options });
    const rollup = headers();
    rollup.set("Nats-Rollup", "all");
    member.publish("$KV.sluice_slices.member1.shop.cart.b", "emptied", { headers: rollup });
    // Servers do not ask whether somebody may publish where he wants his answer.
    member.publish("$JS.API.DIRECT.GET.KV_sluice_slices.$KV.sluice_slices.member1.shop.cart.a", "", {
      reply: "$KV.sluice_fleet.default.routes.a",
    });
    await member.flush();
    await member.close();
    const now = await operator.get(slicesTable, "member2.shop.cart.a", signal);
    assert.equal(Buffer.from(now?.value ?? []).toString(), "another's");
    assert.equal(await operator.get(slicesTable, "member1.shop.cart.b", signal), null);
    let relayed: StoredEntry | null = null;
    for (let tries = 0; tries < 6000 && (relayed?.revision ?? 1) < 2; tries++) {
      relayed = await operator.get(fleetTable, "default.routes.a", signal);
      await delay(10);
    }
    assert.equal(relayed?.revision, 2, "the server relays it");
    assert.equal(relayed?.value.byteLength, 0, "and no reader takes it for a record");
    const told = Promise.withResolvers<StoredEntry>();
    const following = operator.follow(
      fleetTable,
      "default.>",
      {
        restart: () => {},
        entry: (entry: StoredEntry) => told.resolve(entry),
        caughtUp: () => {},
        disconnected: () => {},
      },
      signal,
    );
    assert.equal((await told.promise).value.byteLength, 0);
    stop.abort();
    await following;
  } finally {
    stop.abort();
    await operator.close();
  }
});

test("what the server relays for somebody is not taken for what it has accepted", {
  timeout: 240_000,
}, async () => {
  await using server = await startServer(authorizationBlock(written));
  const stop = new AbortController();
  const { signal } = stop;
  const aggregator = storeOf(server, userNamed("aggregator"), stop);
  const own = "member1.shop.cart.a";
  const accepted: string[] = [];
  await aggregator.ready(signal);
  const begun = Promise.withResolvers<void>();
  const hearing = aggregator.log.accepted(
    {
      begun: () => begun.resolve(),
      entry: ({ table, key }) => void accepted.push(`${table}/${key}`),
      broken: () => {},
    },
    signal,
  );
  try {
    await begun.promise;
    const { options } = await readCredentials({ nkey: userNamed("member-watcher-member1").file });
    const member = await connect({ servers: server.url, ...options });
    member.publish(subjectOf(slicesTable, own), "own");
    await member.flush();
    member.publish(`$JS.API.DIRECT.GET.KV_sluice_slices.${subjectOf(slicesTable, own)}`, "", {
      reply: "sluice.accepted.topology.shop.cart._service",
    });
    member.publish(subjectOf(slicesTable, own), "own again");
    await member.flush();
    await member.close();
    for (let tries = 0; accepted.length < 2; tries++) {
      assert.ok(tries < 6000, `told: ${accepted.join(" ")}`);
      await delay(10);
    }
    await delay(50);
    assert.deepEqual(accepted, [`slices/${own}`, `slices/${own}`]);
  } finally {
    stop.abort();
    await hearing;
    await aggregator.close();
  }
});

const strangers: readonly (readonly [string, () => Promise<string | undefined>, RegExp])[] = [
  ["without a credential", async () => undefined, /does not let member-watcher in with no credential/],
  [
    "with a credential that the bus does not know",
    async () => {
      const [stranger] = await writeCredentials(join(root, "strangers"), [{ component: "aggregator" }]);
      return stranger?.file;
    },
    /does not let member-watcher in with user U[A-Z2-7]{55} of .*aggregator\.nk/,
  ],
  [
    "with a file that is not there",
    async () => join(root, "nothing.nk"),
    /nothing\.nk cannot be read \(ENOENT\)/,
  ],
  [
    "with a file that holds something else",
    async () => import.meta.filename,
    /permissions\.test\.ts holds no seed/,
  ],
];
for (const [who, file, message] of strangers) {
  test(`a process ${who} is told so, by file and user`, { timeout: 240_000 }, async () => {
    await using server = await startServer(authorizationBlock(written));
    const nkey = await file();
    const stop = new AbortController();
    const kit = createKit({ service: "test", signal: stop.signal });
    const files = nkey === undefined ? {} : { nkey };
    const store = new NatsStore({ url: server.url, name: "member-watcher", files, kit });
    await assert.rejects(store.ready(stop.signal), (error: unknown) => {
      assert.ok(error instanceof BusForbiddenError);
      assert.equal(error.exit, 77);
      assert.match(error.message, message);
      return true;
    });
    stop.abort();
    await store.close();
  });
}
