import assert from "node:assert/strict";
import { test } from "node:test";
import { type FleetValue, fleetKeys, type Peer, type PeersRow, type RouteRow } from "@sluice/contracts";
import fc from "fast-check";
import { FleetRows } from "./fleet-rows.ts";
import { BATCH_COST, costOf, type NginxRow, type NginxRowName, rowKey } from "./nginx-row.ts";

const options = { peers: new Map([["member1", ["10.1.0.0/16"]]]), refused: ["10.1.0.99"] };

const upstream = (id: string): [string, FleetValue] => [
  fleetKeys.upstream("default", id),
  { id, namespace: "shop", service: id, port: "", balance: "round_robin" },
];
const peers = (id: string, ...addresses: string[]): [string, FleetValue] => [
  fleetKeys.peers("default", id, "member1"),
  { upstream: id, cluster: "member1", peers: addresses.map((address): Peer => ({ address, port: 80 })) },
];
const route = (host: string, id: string, profile = "default"): [string, RouteRow] => [
  fleetKeys.route("default", host),
  {
    host,
    paths: [
      {
        type: "Prefix",
        path: "/",
        upstream: id,
        profile,
        source: { kind: "MultiClusterIngress", namespace: "shop", name: "web" },
        service: id,
      },
    ],
  },
];

/** nginx as the API behaves, with what holds at every moment checked at every row. */
class FakeNginx {
  readonly rows = new Map<string, NginxRow>();
  readonly log: string[] = [];

  take(row: NginxRow): void {
    const key = rowKey(row as NginxRowName);
    this.log.push("del" in row ? `-${key}` : key);
    if ("del" in row) this.rows.delete(key);
    else this.rows.set(key, row);
    for (const each of this.rows.values()) {
      if (each.k !== "route" || "del" in each) continue;
      for (const id of each.paths.flatMap(([, , own, , more]) => [own, more?.spare ?? ""])) {
        assert.ok(id === "" || this.rows.has(`upstream ${id}`), `${key} left ${each.host} without ${id}`);
      }
    }
  }

  names(): NginxRowName[] {
    return [...this.rows.values()].map((row) => row as NginxRowName);
  }
}

function flush(rows: FleetRows, nginx: FakeNginx): void {
  for (let batch = rows.next(); batch.length > 0; batch = rows.next()) {
    for (const planned of batch) {
      nginx.take(planned.row);
      rows.taken(planned);
    }
  }
}

test("what routes need goes first, and what they needed last", () => {
  const rows = new FleetRows(options);
  const nginx = new FakeNginx();
  for (const entry of [route("a", "web"), peers("web", "10.1.0.1"), upstream("web")]) rows.set(...entry);
  flush(rows, nginx);
  assert.deepEqual(nginx.log.splice(0), ["upstream web", "peers web member1", "route a"]);
  for (const [key] of [upstream("web"), peers("web"), route("a", "web")]) rows.set(key, undefined);
  flush(rows, nginx);
  assert.deepEqual(nginx.log, ["-route a", "-peers web member1", "-upstream web"]);
});

test("whatever becomes of records while their rows are on their way, nginx has them in the end as they are", () => {
  const records: (readonly [string, FleetValue])[] = [
    upstream("web"),
    peers("web", "10.1.0.1"),
    peers("web", "10.1.0.2"),
    route("a", "web"),
    route("a", "web", "other"),
  ];
  const made = () => {
    const rows = new FleetRows(options);
    rows.setProfiles(new Set(["default", "other"]));
    return rows;
  };
  const change = fc.record({ which: fc.nat({ max: records.length - 1 }), gone: fc.boolean() });
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 3 }), { minLength: 1, maxLength: 8 }), (rounds) => {
      const rows = made();
      const nginx = new FakeNginx();
      const wanted = new Map<string, FleetValue>();
      const set = (key: string, value: FleetValue | undefined) => {
        if (value === undefined) wanted.delete(key);
        else wanted.set(key, value);
        rows.set(key, value);
      };
      for (const [round, changes] of rounds.entries()) {
        const batch = rows.next();
        for (const { which, gone } of changes) {
          const [key, value] = records[which] as (typeof records)[number];
          set(key, gone ? undefined : value);
        }
        // In the end all are there: of a route that waits nginx may keep what it was.
        if (round === rounds.length - 1) {
          for (const [key, value] of records) if (!wanted.has(key)) set(key, value);
        }
        for (const planned of batch) {
          nginx.take(planned.row);
          rows.taken(planned);
        }
      }
      flush(rows, nginx);
      const expected = new FakeNginx();
      const fresh = made();
      for (const entry of wanted) fresh.set(...entry);
      flush(fresh, expected);
      assert.deepEqual(nginx.rows, expected.rows);
    }),
    { numRuns: 500 },
  );
});

test("an upstream that stands in for another is waited for, and stays while it does", () => {
  const rows = new FleetRows(options);
  const nginx = new FakeNginx();
  const [key, row] = route("a", "web");
  const spared = { ...row, paths: row.paths.map((path) => ({ ...path, spare: "sorry" })) };
  rows.set(...upstream("web"));
  rows.set(key, spared);
  flush(rows, nginx);
  assert.deepEqual(rows.problems, [{ key, problem: "path / waits for upstream sorry" }]);
  rows.set(...upstream("sorry"));
  flush(rows, nginx);
  assert.deepEqual(nginx.log.splice(0), ["upstream web", "upstream sorry", "route a"]);
  rows.set(upstream("sorry")[0], undefined);
  flush(rows, nginx);
  assert.deepEqual(nginx.log, []);
  rows.set(key, row);
  flush(rows, nginx);
  assert.deepEqual(nginx.log, ["route a", "-upstream sorry"]);
});

test("an upstream that a waiting route's old row still uses stays", () => {
  const rows = new FleetRows(options);
  const nginx = new FakeNginx();
  for (const entry of [upstream("old"), peers("old", "10.1.0.1"), route("a", "old")]) rows.set(...entry);
  flush(rows, nginx);
  rows.set(...route("a", "new"));
  rows.set(upstream("old")[0], undefined);
  flush(rows, nginx);
  assert.ok(nginx.rows.has("upstream old"));
  assert.match(rows.problems[0]?.problem ?? "", /waits for upstream new/);
  rows.set(...upstream("new"));
  flush(rows, nginx);
  assert.ok(!nginx.rows.has("upstream old"));
  assert.deepEqual(rows.problems, []);
});

test("a route waits for a profile that nginx has not loaded", () => {
  const rows = new FleetRows(options);
  const nginx = new FakeNginx();
  rows.set(...upstream("web"));
  rows.set(...route("a", "web", "slow1"));
  flush(rows, nginx);
  assert.ok(!nginx.rows.has("route a"));
  rows.setProfiles(new Set(["default", "slow1"]));
  flush(rows, nginx);
  assert.ok(nginx.rows.has("route a"));
});

test("nothing is sent twice, and a row that looks as before is not sent at all", () => {
  const rows = new FleetRows(options);
  const nginx = new FakeNginx();
  rows.set(...upstream("web"));
  rows.set(...peers("web", "10.1.0.1"));
  flush(rows, nginx);
  nginx.log.length = 0;
  rows.set(...peers("web", "10.1.0.1"));
  flush(rows, nginx);
  assert.deepEqual(nginx.log, []);
});

test("peers are judged again when their cluster's ranges change", () => {
  const rows = new FleetRows(options);
  const nginx = new FakeNginx();
  rows.set(...peers("web", "10.1.0.1", "10.2.0.1", "10.1.0.99"));
  flush(rows, nginx);
  assert.equal(rows.refusedPeers, 2);
  assert.equal(rows.counts.peers, 1);
  const key = fleetKeys.cluster("default", "member1");
  rows.set(key, { cluster: "member1", state: "ok", allowed: ["10.2.0.0/16"] });
  flush(rows, nginx);
  assert.equal(rows.refusedPeers, 1);
  assert.equal(rows.counts.peers, 2);
});

test("no request to nginx costs a worker more than a batch may, but for a single row", () => {
  const rows = new FleetRows(options);
  for (let i = 0; i < 3000; i++) rows.set(...upstream(`web${i}`));
  for (let i = 0; i < 300; i++) {
    rows.set(...peers(`web${i}`, ...Array.from({ length: 50 }, (_, n) => `10.1.1.${n}`)));
  }
  let batches = 0;
  for (let batch = rows.next(); batch.length > 0; batch = rows.next()) {
    batches++;
    assert.ok(batch.length === 1 || batch.reduce((sum, { row }) => sum + costOf(row), 0) <= BATCH_COST);
    for (const planned of batch) rows.taken(planned);
  }
  assert.ok(batches > 10);
});

test("whatever changes in whatever order, nginx ends with what is wanted and no route ever lacks its upstream", () => {
  const ids = fc.constantFrom("u1", "u2", "u3");
  const hosts = fc.constantFrom("a", "b");
  const step = fc.oneof(
    ids.map((id) => ({ set: upstream(id) })),
    fc
      .tuple(ids, fc.constantFrom("10.1.0.1", "10.1.0.2", "10.9.0.1"))
      .map(([id, a]) => ({ set: peers(id, a) })),
    fc.tuple(hosts, ids).map(([host, id]) => ({ set: route(host, id) as [string, FleetValue] })),
    ids.map((id) => ({ remove: upstream(id)[0] })),
    ids.map((id) => ({ remove: peers(id)[0] })),
    hosts.map((host) => ({ remove: route(host, "u1")[0] })),
    fc.constantFrom({ flush: 1 }, { flush: 99 }, { restart: true }, { refuse: true }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const rows = new FleetRows(options);
      const wanted = new Map<string, FleetValue>();
      let nginx = new FakeNginx();
      for (const each of steps) {
        if ("set" in each) {
          rows.set(...each.set);
          wanted.set(...each.set);
        } else if ("remove" in each) {
          rows.set(each.remove, undefined);
          wanted.delete(each.remove);
        } else if ("flush" in each) {
          for (let i = 0, batch = rows.next(); i < each.flush && batch.length > 0; i++, batch = rows.next()) {
            for (const planned of batch) {
              nginx.take(planned.row);
              rows.taken(planned);
            }
          }
        } else if ("restart" in each) {
          nginx = new FakeNginx();
          rows.meet([]);
        } else {
          for (const planned of rows.next()) rows.refused(planned, "no room");
          rows.retryRefused();
        }
      }
      rows.settle(() => false);
      flush(rows, nginx);
      const has = (key: string) => nginx.rows.has(key);
      for (const value of wanted.values()) {
        if ("balance" in value) assert.ok(has(`upstream ${value.id}`));
        if ("host" in value) {
          const ready = value.paths.every(({ upstream: id }) =>
            wanted.has(fleetKeys.upstream("default", id!)),
          );
          const row = nginx.rows.get(`route ${value.host}`);
          if (ready)
            assert.ok(
              row?.k === "route" && !("del" in row) && row.paths[0]?.[2] === value.paths[0]?.upstream,
            );
        }
        if ("upstream" in value) {
          const row = nginx.rows.get(`peers ${value.upstream} ${value.cluster}`);
          assert.ok(row?.k === "peers" && !("del" in row));
          assert.deepEqual(
            row.peers.map(([address]) => address),
            value.peers.map(({ address }) => address).filter((address) => address.startsWith("10.1.")),
          );
        }
      }
      for (const row of nginx.rows.values()) {
        if (row.k === "route" && !("del" in row)) assert.ok(wanted.has(fleetKeys.route("default", row.host)));
        if (row.k === "peers" && !("del" in row))
          assert.ok(wanted.has(fleetKeys.peers("default", row.upstream, row.cluster)));
      }
    }),
    { numRuns: 500 },
  );
});

test("how a path is balanced and what place a cluster has reach nginx as the fleet says them", () => {
  const rows = new FleetRows(options);
  const nginx = new FakeNginx();
  const balance = { method: "hash", by: [{ variable: "request_uri" }] };
  const [key, { host, paths }] = route("shop.example.test", "web");
  const [peersKey, value] = peers("web", "10.1.0.1");
  rows.set(...upstream("web"));
  rows.set(peersKey, { ...(value as PeersRow), share: 90, rank: 2 });
  rows.set(key, { host, paths: paths.map((path) => ({ ...path, balance })) });
  flush(rows, nginx);
  const all = [...nginx.rows.values()];
  assert.deepEqual(
    all.find((row) => row.k === "peers"),
    { k: "peers", upstream: "web", cluster: "member1", share: 90, rank: 2, peers: [["10.1.0.1", 80, 1]] },
  );
  assert.deepEqual(
    all.find((row) => row.k === "route"),
    {
      k: "route",
      host,
      paths: [["P", "/", "web", "default", { balance }]],
      sources: [["shop", "web", "web"]],
      of: [1],
    },
  );
  // Another place alone is news.
  rows.set(peersKey, { ...(value as PeersRow), share: 10, rank: 2 });
  flush(rows, nginx);
  const again = nginx.rows.get("peers web member1");
  assert.ok(again?.k === "peers" && "share" in again && again.share === 10);
});

test("a copy that is older than what nginx has fills gaps, and takes nothing back before the table is settled", () => {
  const nginx = new FakeNginx();
  const before = new FleetRows(options);
  const copied = [upstream("web"), peers("web", "10.1.0.1"), upstream("api"), peers("api", "10.1.0.3")];
  for (const row of copied) before.set(...row);
  flush(before, nginx);
  const copy = [...before.copy()];
  // The agent ends before it has saved this.
  before.set(...peers("web", "10.1.0.2"));
  flush(before, nginx);
  nginx.rows.delete("peers api member1");

  const after = new FleetRows(options);
  for (const { key, value, row } of copy) after.remember(key, value, row);
  after.meet(nginx.names());
  flush(after, nginx);
  const shown = (id: string) => {
    const row = nginx.rows.get(`peers ${id} member1`);
    return row?.k === "peers" && "peers" in row ? row.peers.map(([address]) => address) : null;
  };
  assert.deepEqual(shown("web"), ["10.1.0.2"]);
  assert.deepEqual(shown("api"), ["10.1.0.3"]);
  after.set(...peers("web", "10.1.0.4"));
  flush(after, nginx);
  assert.deepEqual(shown("web"), ["10.1.0.4"]);
});

test("once the table is settled, what it still has from the copy counts whatever nginx had", () => {
  const nginx = new FakeNginx();
  const rows = new FleetRows(options);
  for (const [key, value] of [upstream("web"), peers("web", "10.1.0.1")]) rows.remember(key, value, null);
  nginx.take({ k: "upstream", id: "web" });
  nginx.take({ k: "peers", upstream: "web", cluster: "member1", peers: [["10.1.0.9", 80, 1]] });
  rows.meet(nginx.names());
  flush(rows, nginx);
  assert.deepEqual(nginx.log.slice(2), []);
  // Of what is still being asked for the copy is no better than nginx.
  rows.settle((key) => key.includes(".peers."));
  flush(rows, nginx);
  assert.deepEqual(nginx.rows.get("peers web member1"), {
    k: "peers",
    upstream: "web",
    cluster: "member1",
    peers: [["10.1.0.9", 80, 1]],
  });
  assert.equal(rows.copied, 1);
  rows.settle(() => false);
  flush(rows, nginx);
  const row = nginx.rows.get("peers web member1");
  assert.ok(row?.k === "peers" && "peers" in row);
  assert.deepEqual(
    row.peers.map(([address]) => address),
    ["10.1.0.1"],
  );
});
