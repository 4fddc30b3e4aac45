import assert from "node:assert/strict";
import { test } from "node:test";
import { decode } from "./envelope.ts";
import { encodeToken } from "./keys.ts";
import type { Peer, TopologyPeers, TopologyService } from "./records.ts";
import { CloudEvent, cloudEvent, eventSubject, historyEntry, serviceChange } from "./service-events.ts";

const at = { namespace: "shop", service: "cart" };

function peers(ports: Record<string, readonly Peer[]>): TopologyPeers {
  return { ...at, cluster: "member1", ports: ports as TopologyPeers["ports"] };
}

function whole(overrides: Partial<TopologyService> = {}): TopologyService {
  const ports = [{ name: "http", port: 80, protocol: "TCP" as const }];
  return { ...at, type: "ClusterSetIP", ports, clusters: ["member1"], conflicts: [], ...overrides };
}

const one = { address: "10.0.0.1", port: 8080 };
const two = { address: "10.0.0.2", port: 8080 };

test("each change of a row is one event, and a row that says the same is none", () => {
  const type = (...rows: Parameters<typeof serviceChange>) => serviceChange(...rows)?.type ?? null;
  assert.equal(type(undefined, whole()), "service-added");
  assert.equal(type(whole(), whole({ clusters: ["member1", "member2"] })), "service-changed");
  assert.equal(type(whole(), undefined), "service-removed");
  assert.equal(type(undefined, peers({ http: [one] })), "cluster-added");
  assert.equal(type(peers({ http: [one] }), peers({ http: [one, two] })), "peers-changed");
  assert.equal(type(peers({ http: [one] }), undefined), "cluster-removed");
  assert.equal(type(whole(), whole()), null);
  assert.equal(type(peers({ http: [one] }), peers({ http: [one] })), null);
  assert.equal(type(undefined, undefined), null);
});

test("peers that came, went and began to drain are told apart, by port", () => {
  const before = peers({ http: [one, two], admin: [one] });
  const after = peers({ http: [{ ...one, draining: true }], admin: [one, two] });
  const change = serviceChange(before, after);
  assert.deepEqual(change?.added, [{ ...two, portName: "admin" }]);
  assert.deepEqual(change?.removed, [{ ...two, portName: "http" }]);
  assert.deepEqual(change?.altered, [{ ...one, draining: true, portName: "http" }]);
  assert.equal(change?.count, 2, "addresses, not addresses by port");
});

test("what of a service changed is said in words", () => {
  const conflicts = [{ cluster: "member2", field: "ports", message: "" }];
  const change = serviceChange(whole(), whole({ clusters: ["member1", "member2"], conflicts }));
  assert.deepEqual(change?.notes, ["clusters member1 → member1, member2", "conflicts none → member2 ports"]);
});

test("an event is CloudEvents 1.0: its id names the life and the record, its sequence sorts as text", () => {
  const change = serviceChange(undefined, peers({ http: [one] }));
  assert.ok(change);
  const place = { seq: 42, at: 1_000, boot: "b", record: 7 };
  const event = cloudEvent(historyEntry(change, place, { key: "k", revision: 7, trace: { id: "t" } }));
  assert.deepEqual(decode(CloudEvent, event, "event"), event);
  assert.equal(event.id, "b:7");
  assert.equal(event.subject, "shop/cart");
  assert.equal(event.type, "dev.sluice.v1.cluster-added");
  assert.ok(
    event.sequence <
      cloudEvent(historyEntry(change, { ...place, seq: 100 }, { key: "k", revision: 7 })).sequence,
  );
  // Several absences may be believed at once, by one claim.
  assert.equal(historyEntry(change, place, { key: "k", revision: 3 }).id, "b:3:k");
  const dotted = { ...change, service: "cart.v2" };
  assert.equal(eventSubject(dotted, encodeToken), "sluice.events.v1.cluster-added.shop.cart_v2");
});

test("no two events of one source share an id, though tables count their records each by itself", () => {
  const change = serviceChange(undefined, peers({ http: [one] }));
  assert.ok(change);
  const drain = { type: "drain" as const, cluster: "member1", notes: [] };
  const state = { type: "cluster-state" as const, cluster: "member1", fleet: "default", notes: [] };
  const place = { seq: 42, at: 1_000, boot: "b", record: 7 };
  const events = [change, drain, state].map((each) =>
    cloudEvent(historyEntry(each, place, { key: "k", revision: 7 })),
  );
  assert.equal(new Set(events.map(({ source, id }) => `${source} ${id}`)).size, 3);
  assert.deepEqual(
    events.map(({ subject }) => subject),
    ["shop/cart", "member1", "member1"],
  );
});
