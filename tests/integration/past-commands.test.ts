import assert from "node:assert/strict";
import { test } from "node:test";
import { pastAt } from "@sluice/bus";
import { runConfigRenderer } from "@sluice/config-renderer";
import {
  CloudEvent,
  decode,
  HistoryEntry,
  HistoryLine,
  type ServiceChange,
  topologyTable,
} from "@sluice/contracts";
import { eventually } from "./clusters.ts";
import { type Member, RecordedBus, sluice } from "./recorded-bus.ts";
import { Stage } from "./stage.ts";

const timeout = 240_000;

/** An incident: what happened, and the sequence of the log behind each step. */
interface Incident {
  readonly bus: RecordedBus;
  readonly gateway: string;
  readonly at: Readonly<Record<"begun" | "scaled" | "failed" | "over", number>>;
}

/**
 * shop/cart in two members and shop/web in one; cart is scaled in member1, member2's copy of it goes and comes back,
 * watchers restart.
 */
async function incident(bus: RecordedBus): Promise<Incident> {
  await bus.aggregator();
  const gateway = await bus.gateway();
  const members: Record<string, Member> = {};
  for (const name of ["member1", "member2"]) members[name] = await bus.member(name);
  const says = async (cluster: string, service: string, addresses: readonly string[] | null) => {
    await members[cluster]!.says(service, addresses);
    await bus.hasPeers(service, cluster, addresses);
  };
  await says("member1", "cart", ["10.1.0.1"]);
  await says("member2", "cart", ["10.2.0.1"]);
  await says("member1", "web", ["10.1.0.9"]);
  const begun = await bus.logged();
  await says("member1", "cart", ["10.1.0.1", "10.1.0.2", "10.1.0.3"]);
  const scaled = await bus.logged();
  await says("member2", "cart", null);
  const failed = await bus.logged();
  // The next watcher of member1 claims anew, and says less.
  await members["member1"]!.stop();
  members["member1"] = await bus.member("member1", { cart: ["10.1.0.2"], web: ["10.1.0.9"] });
  await bus.hasPeers("cart", "member1", ["10.1.0.2"]);
  await says("member1", "web", ["10.1.0.8", "10.1.0.9"]);
  await says("member2", "cart", ["10.2.0.5"]);
  const over = await bus.logged();
  return { bus, gateway, at: { begun, scaled, failed, over } };
}

/** A config-renderer of a hub without objects: of its rows only clusters' states are of interest. */
async function renderedOn(bus: RecordedBus, hub: Stage): Promise<void> {
  const options = {
    fleet: "default",
    ingressClasses: ["nginx"],
    watchWithoutClass: false,
    publishAddresses: [],
    peers: {},
  };
  await bus.run("config-renderer", (onBus, kit) =>
    runConfigRenderer({ bus: onBus, hub: hub.client("hub") }, options, kit),
  );
}

/** Rows of `topology` as JSON, by key, as they were believed at a sequence. */
async function rowsAt(bus: RecordedBus, seq: number): Promise<Record<string, string>> {
  const past = await pastAt(bus.log, { seq }, [topologyTable], bus.signal);
  const rows = [...past.table(topologyTable).believed()].map(
    ([key, row]) => [key, JSON.stringify(row)] as const,
  );
  return Object.fromEntries(rows.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function entriesOf(stdout: string): HistoryEntry[] {
  return stdout
    .trim()
    .split("\n")
    .map((line) => decode(HistoryEntry, JSON.parse(line), "history"));
}

function changesOfServices(entries: readonly HistoryEntry[]): { seq: number; change: ServiceChange }[] {
  return entries.flatMap(({ seq, change }) => ("service" in change ? [{ seq, change }] : []));
}

test("history tells each change once, in order, with its sequence, and only of what is asked for", {
  timeout,
}, async () => {
  await using bus = await RecordedBus.start();
  const { gateway, at } = await incident(bus);
  const { code, stdout } = await sluice(
    gateway,
    "history",
    "shop/cart",
    "--cluster",
    "member1",
    "-o",
    "json",
  );
  assert.equal(code, 0);
  const told = changesOfServices(entriesOf(stdout));
  assert.deepEqual(
    told.map(({ change }) => [change.type, change.count]),
    [
      ["cluster-added", 1],
      ["peers-changed", 3],
      ["peers-changed", 1],
    ],
  );
  const [, scaled, shrunk] = told;
  assert.ok(scaled && shrunk);
  assert.ok(scaled.seq > at.begun && scaled.seq <= at.scaled);
  assert.ok(shrunk.seq > at.failed && shrunk.seq <= at.over);
  assert.deepEqual(
    shrunk.change.removed.map(({ address }) => address),
    ["10.1.0.1", "10.1.0.3"],
  );

  const all = await sluice(gateway, "history", "--since", `#${at.begun}`);
  assert.equal(all.code, 0);
  const lines = all.stdout.trim().split("\n");
  assert.match(lines[0] ?? "", /^TIME +CHANGE +SERVICE +CLUSTER +PEERS +SEQUENCE +WHAT$/);
  assert.match(
    lines[1] ?? "",
    /peers-changed +shop\/cart +member1 +3 +#\d+ +\+10\.1\.0\.2:8080 \+10\.1\.0\.3:8080$/,
  );
  assert.match(all.stderr, /oldest reachable: \d{4}-/);

  const web = await sluice(gateway, "history", "web", "-o", "cloudevents");
  const events = web.stdout
    .trim()
    .split("\n")
    .map((line) => decode(CloudEvent, JSON.parse(line), "event"));
  assert.deepEqual(events.map(({ type }) => type).toSorted(), [
    "dev.sluice.v1.cluster-added",
    "dev.sluice.v1.peers-changed",
    "dev.sluice.v1.service-added",
  ]);
});

test("history tells who drained a cluster, and what a fleet made of it, to whom it concerns", {
  timeout,
}, async () => {
  await using bus = await RecordedBus.start();
  await bus.aggregator();
  const gateway = await bus.gateway();
  await using hub = await Stage.start(["hub"]);
  await renderedOn(bus, hub);
  const members = { member1: await bus.member("member1"), member2: await bus.member("member2") };
  for (const [name, member] of Object.entries(members)) {
    await member.says("cart", ["10.1.0.1"]);
    await bus.hasPeers("cart", name, ["10.1.0.1"]);
  }
  await members.member2.says("web", ["10.1.0.2"]);
  await bus.hasPeers("web", "member2", ["10.1.0.2"]);
  const ofMember1 = async (service = "") => {
    const answer = await fetch(`${gateway}/api/v1/history?cluster=member1${service}`);
    const lines = (await answer.text()).trim().split("\n");
    const entries = lines.map((line) => decode(HistoryLine, JSON.parse(line), "history").entry);
    return entries.flatMap((entry) =>
      entry === undefined || "service" in entry.change
        ? []
        : [`${entry.change.type} ${entry.change.notes.join()}`],
    );
  };
  const tells = (what: RegExp) =>
    eventually(`history tells ${what}`, async () => (await ofMember1()).some((line) => what.test(line)));
  await tells(/^cluster-state unknown → ok$/);
  assert.equal((await sluice(gateway, "drain", "member1", "--reason", "kernel")).code, 0);
  await tells(/^cluster-state ok → drained/);
  assert.equal((await sluice(gateway, "undrain", "member1", "--reason", "done")).code, 0);
  await tells(/^cluster-state drained → ok$/);
  const orders = (await ofMember1("&namespace=shop&service=cart")).filter(
    (line) => !line.startsWith("cluster-state"),
  );
  assert.match(orders[0] ?? "", /^drain by .+: kernel$/);
  assert.match(orders[1] ?? "", /^undrain by .+: done; takes back drain by .+$/);
  assert.equal(orders.length, 2, orders.join("; "));
  assert.deepEqual(await ofMember1("&namespace=shop&service=web"), [], "no peer of it was ever there");
  const table = await sluice(gateway, "history", "--cluster", "member1");
  assert.match(table.stdout, /^\S+ +drain +member1 +#\d+ +by .+: kernel$/m);
  assert.match(table.stdout, /^\S+ +cluster-state +member1 +#\d+ +fleet default: ok → drained .*$/m);
});

test("history that is followed goes on with what comes, as lines and as server-sent events", {
  timeout,
}, async () => {
  await using bus = await RecordedBus.start();
  await bus.aggregator();
  const gateway = await bus.gateway();
  const member = await bus.member("member1");
  await member.says("cart", ["10.1.0.1"]);
  await bus.hasPeers("cart", "member1", ["10.1.0.1"]);
  const ids: string[] = [];
  for (const accept of ["text/event-stream", "application/x-ndjson"]) {
    const enough = new AbortController();
    const answer = await fetch(`${gateway}/api/v1/history?follow=true&since=%23${await bus.logged()}`, {
      headers: { accept },
      signal: enough.signal,
    });
    assert.equal(answer.headers.get("content-type"), accept);
    let said = "";
    const reading = (async () => {
      for await (const text of answer.body!.pipeThrough(new TextDecoderStream())) said += text;
    })();
    await eventually("it has begun", async () => said.includes('"start"'));
    const address = accept.startsWith("text") ? "10.1.0.2" : "10.1.0.3";
    await member.says("cart", [address]);
    await eventually("the change", async () => said.includes(address));
    assert.equal(said.startsWith("data: {"), accept.startsWith("text"));
    enough.abort();
    await assert.rejects(reading, { name: "AbortError" });
    ids.push(...[...said.matchAll(/^id: ([0-9]+)$/gm)].map(([, id]) => id ?? ""));
  }
  // As a browser goes on that has heard the one event.
  assert.equal(ids.length, 1);
  const headers = { accept: "text/event-stream", "last-event-id": ids[0] ?? "" };
  const resumed = await (await fetch(`${gateway}/api/v1/history?since=1h`, { headers })).text();
  assert.deepEqual([...resumed.matchAll(/10\.1\.0\.[0-9]/g)].map(String).toSorted(), [
    "10.1.0.2",
    "10.1.0.3",
  ]);
  assert.match(resumed, /"added":\[\{"address":"10\.1\.0\.3"/);
});

test("get and diff tell what was at a sequence, exactly; an earlier time than can be told is named", {
  timeout,
}, async () => {
  await using bus = await RecordedBus.start();
  const { gateway, at } = await incident(bus);
  const services = async (seq: number) => {
    const { stdout, code } = await sluice(
      gateway,
      "get",
      "services",
      "shop/cart",
      "--at",
      `#${seq}`,
      "-o",
      "json",
    );
    assert.equal(code, 0);
    const { clusters } = JSON.parse(stdout).services[0] as {
      clusters: Record<string, Record<string, object[]>>;
    };
    return Object.fromEntries(Object.entries(clusters).map(([name, ports]) => [name, ports["http"]?.length]));
  };
  assert.deepEqual(await services(at.begun), { member1: 1, member2: 1 });
  assert.deepEqual(await services(at.scaled), { member1: 3, member2: 1 });
  assert.deepEqual(await services(at.failed), { member1: 3 });
  assert.deepEqual(await services(at.over), { member1: 1, member2: 1 });

  const moments = ["--from", `#${at.begun}`, "--to", `#${at.failed}`];
  const diff = await sluice(gateway, "diff", "cart", ...moments);
  assert.equal(diff.code, 2, "they differ");
  assert.match(diff.stdout, /cluster-removed +shop\/cart +member2 +0 +-10\.2\.0\.1:8080/);
  assert.match(diff.stdout, /peers-changed +shop\/cart +member1 +3 +\+10\.1\.0\.2:8080 \+10\.1\.0\.3:8080/);
  const same = await sluice(gateway, "diff", "web", ...moments);
  assert.deepEqual([same.code, same.stdout], [0, ""]);

  const early = await sluice(gateway, "get", "services", "--at", "5d");
  assert.equal(early.code, 65, early.stderr);
  assert.match(early.stderr, /the oldest reachable time is \d{4}-\S+Z \(#1\).*\[SLUICE_LOG_OUT_OF_REACH\]/);
  const nonsense = await sluice(gateway, "get", "services", "--at", "yesterday");
  assert.deepEqual([nonsense.code, /\[SLUICE_MOMENT\]/.test(nonsense.stderr)], [64, true]);
});

test("a replayed incident makes the same topology, byte for byte, whatever began where", {
  timeout,
}, async () => {
  await using bus = await RecordedBus.start();
  const { gateway, at } = await incident(bus);
  await using hub = await Stage.start(["hub"]);
  for (const [from, to] of [
    [1, at.over],
    [at.begun, at.over],
    [at.scaled, at.failed],
  ] as const) {
    await using other = await RecordedBus.start();
    await other.aggregator();
    await renderedOn(other, hub);
    const interval = ["--from", `#${from}`, "--to", `#${to}`];
    const { code, stderr } = await sluice(
      gateway,
      "replay",
      ...interval,
      "--speed",
      "max",
      "--into",
      other.url,
    );
    assert.equal(code, 0, stderr);
    const wanted = await rowsAt(bus, to);
    assert.ok(Object.keys(wanted).length >= 4);
    const rows = () =>
      Object.fromEntries(
        [...other.topology.entries()]
          .map(([key, row]) => [key, JSON.stringify(row)] as const)
          .sort(([a], [b]) => (a < b ? -1 : 1)),
      );
    await eventually(
      "the other topology is the same",
      async () => JSON.stringify(rows()) === JSON.stringify(wanted),
    ).catch(() => assert.deepEqual(rows(), wanted));
  }
});

test("a replay keeps the spacing, and refuses the recorded bus, an occupied one, and one with live watchers", {
  timeout,
}, async () => {
  await using bus = await RecordedBus.start();
  const { gateway, at } = await incident(bus);
  const refused = async (url: string) => {
    const { code, stderr } = await sluice(gateway, "replay", "--from", `#${at.begun}`, "--into", url);
    return [code, /\[(\w+)\]\n$/.exec(stderr)?.[1], stderr];
  };
  const [code, named, said] = await refused(bus.url);
  assert.deepEqual([code, named], [65, "SLUICE_REPLAY_TARGET"]);
  assert.match(String(said), /is the bus that was recorded/);

  await using other = await RecordedBus.start();
  const entries = await Array.fromAsync(bus.log.read({ from: at.begun + 1, to: at.over }, bus.signal));
  const recorded = entries.filter(({ table }) => ["slices", "clusters", "intents"].includes(table));
  const spanMs =
    recorded.at(-1)!.at - (await pastAt(bus.log, { seq: at.begun }, [topologyTable], bus.signal)).at;
  const began = performance.now();
  const interval = ["--from", `#${at.begun}`, "--to", `#${at.over}`];
  const slow = await sluice(gateway, "replay", ...interval, "--speed", "0.5", "--into", other.url);
  assert.equal(slow.code, 0, slow.stderr);
  assert.ok(
    performance.now() - began >= 2 * spanMs,
    `${performance.now() - began} ms for ${spanMs} ms at half speed`,
  );

  assert.match(String((await refused(other.url))[2]), /holds slices already/);
  await using third = await RecordedBus.start();
  await third.member("member7");
  assert.match(String((await refused(third.url))[2]), /has live watchers \(member-watcher\.\w+\)/);
});
