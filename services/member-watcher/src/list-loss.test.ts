import assert from "node:assert/strict";
import { test } from "node:test";
import { type ExportRecord, type SliceRecord, type SliceValue, sliceKeys } from "@sluice/contracts";
import fc from "fast-check";
import { heldRecord, losesPeers, lossOf, peersOf } from "./list-loss.ts";
import { webSlice } from "./testing.ts";

function slice(
  name: string,
  addresses: readonly string[],
  more: Partial<SliceRecord> = {},
): [string, SliceRecord] {
  const record = webSlice(name, addresses, more);
  return [sliceKeys.slice("member1", "shop", record.service, name), record];
}

function exported(service = "web"): [string, ExportRecord] {
  const record: ExportRecord = {
    cluster: "member1",
    namespace: "shop",
    service,
    createdAt: 1,
    type: "ClusterSetIP",
    ipFamilies: ["IPv4"],
    ports: [],
  };
  return [sliceKeys.export("member1", "shop", service), record];
}

const ips = (from: number, n: number) => Array.from({ length: n }, (_, i) => `10.1.0.${from + i}`);
const addressesIn = (record: SliceValue | undefined) =>
  ((record as SliceRecord | undefined)?.endpoints ?? []).flatMap((e) => e.addresses);

/** What goes when all that was published changes to what is listed. */
function lossFrom(published: ReadonlyMap<string, SliceValue>, listed: ReadonlyMap<string, SliceValue>) {
  const steps = lossOf(published, listed, Array.from(published.values(), peersOf));
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

test("more than half, and at least ten: both have to hold", () => {
  const loses = (of: number, lost: number) => {
    const before = new Map<string, SliceValue>([exported(), slice("a", ips(1, of))]);
    const after = new Map<string, SliceValue>([exported(), slice("a", ips(1, of - lost))]);
    return lossFrom(before, after) !== null;
  };
  assert.deepEqual(
    [loses(20, 10), loses(20, 11), loses(9, 9), loses(10, 10), loses(30, 15), loses(30, 16), loses(0, 0)],
    [false, true, false, true, false, true, false],
  );
});

test("a list without an export loses its peers, and keeps the export record with them", () => {
  const before = new Map<string, SliceValue>([exported(), slice("a", ips(1, 12)), exported("small")]);
  const loss = lossFrom(before, new Map([exported("small")]));
  assert.equal(loss?.peers, 12);
  assert.equal(loss.of, 12);
  assert.deepEqual([...loss.records.keys()].sort(), [exported()[0], slice("a", [])[0]].sort());
  assert.deepEqual(loss.lost[0], { address: "10.1.0.1", port: 8080 });
});

test("a peer that moves to another slice of its service, or to another place in it, is not lost", () => {
  const before = new Map<string, SliceValue>([exported(), slice("a", ips(1, 30))]);
  const after = new Map<string, SliceValue>([exported(), slice("b", ips(16, 15)), slice("c", ips(1, 15))]);
  assert.equal(lossFrom(before, after), null);
});

test("a peer that is not ready any more counts as lost, one that never was does not", () => {
  const [key, record] = slice("a", ips(1, 12));
  const unready = {
    ...record,
    endpoints: record.endpoints.map((e) => ({ ...e, ready: false })),
  };
  assert.equal(lossFrom(new Map([[key, record]]), new Map([[key, unready]]))?.peers, 12);
  assert.equal(lossFrom(new Map([[key, unready]]), new Map()), null);
});

test("of ten thousand slices it is found out in some hundred steps, between which the work may rest", () => {
  const all = new Map<string, SliceValue>(
    Array.from({ length: 10_000 }, (_, i) => slice(`s${i}`, [`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`])),
  );
  const steps = lossOf(all, new Map(), Array.from(all.values(), peersOf));
  let count = 0;
  while (steps.next().done !== true) count += 1;
  assert.ok(count >= 600, `${count} steps`);
});

test("which records may lose something shows without the others", () => {
  const [, before] = slice("a", ips(1, 3));
  assert.deepEqual(
    [ips(1, 3), ips(1, 5), ips(2, 3), []].map((now) => losesPeers(before, slice("a", now)[1])),
    [false, false, true, true],
  );
  assert.equal(losesPeers(before, undefined), true);
  assert.equal(losesPeers(exported()[1], undefined), true);
  assert.equal(losesPeers(exported()[1], { ...exported()[1], createdAt: 2 }), false);
});

test("while it is held a record has what the list says and the peers that would go", () => {
  const [, before] = slice("a", ips(1, 12));
  const [, now] = slice("a", ["10.1.0.1", "10.1.0.99"]);
  assert.deepEqual(addressesIn(heldRecord(before, now)).sort(), ["10.1.0.99", ...ips(1, 12)].sort());
  assert.deepEqual(heldRecord(before, undefined), before);
  const ports = [{ name: "", port: 9090, protocol: "TCP" as const }];
  assert.deepEqual(heldRecord(before, { ...now, ports }), before, "peers of two ports fit into no slice");
  const [, many] = slice(
    "a",
    Array.from({ length: 995 }, (_, i) => `10.2.${i >> 8}.${i & 255}`),
  );
  assert.deepEqual(heldRecord(before, many), before, "an EndpointSlice holds a thousand");
});

test("whatever is listed, a held record loses no ready peer and gains none but the listed ones", () => {
  const endpoints = fc.uniqueArray(fc.tuple(fc.integer({ min: 1, max: 12 }), fc.boolean()), {
    selector: ([n]) => n,
    maxLength: 12,
  });
  const record = (entries: readonly (readonly [number, boolean])[]): SliceRecord => ({
    ...slice("a", [])[1],
    endpoints: entries.map(([n, ready]) => ({
      addresses: [`10.1.0.${n}`],
      ready,
      serving: ready,
      terminating: false,
    })),
  });
  const ready = ({ endpoints: all }: SliceRecord) =>
    new Set(all.filter((e) => e.ready).flatMap((e) => e.addresses));
  fc.assert(
    fc.property(endpoints, endpoints, (before, now) => {
      const held = heldRecord(record(before), record(now)) as SliceRecord;
      assert.deepEqual(ready(held), ready(record(before)).union(ready(record(now))));
      assert.equal(new Set(addressesIn(held)).size, held.endpoints.length);
    }),
  );
});
