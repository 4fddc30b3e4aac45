import assert from "node:assert/strict";
import { test } from "node:test";
import { type SliceValue, sliceKeys } from "@sluice/contracts";
import fc from "fast-check";
import { keyOf, ServiceIndex } from "./service-index.ts";
import { exported, slice } from "./testing.ts";

test("a change finds its service and cluster, and says whether the export itself changed", () => {
  const index = new ServiceIndex();
  assert.equal(index.apply(keyOf(slice()), slice())?.exportChanged, false);
  const touched = index.apply(keyOf(exported()), exported());
  assert.deepEqual([touched?.cluster, touched?.exportChanged], ["member1", true]);
  assert.deepEqual([...(index.get("shop", "cart")?.copies.get("member1")?.slices.keys() ?? [])], ["cart-1"]);
});

test("a removal of a name too long to stand in a key finds its service all the same", () => {
  const index = new ServiceIndex();
  const long = slice({ slice: "s".repeat(230) });
  const key = keyOf(long);
  assert.match(key, /=h_/);
  index.apply(key, long);
  const touched = index.apply(key, undefined);
  assert.equal(touched?.indexed.service, "cart");
  assert.equal(index.get("shop", "cart"), undefined);
});

test("a removal of what was never there touches nothing", () => {
  assert.equal(new ServiceIndex().apply(keyOf(slice()), undefined), null);
});

test("a record that speaks of another cluster than its key is told apart", () => {
  const key = sliceKeys.slice("member1", "shop", "cart", "cart-1");
  assert.equal(keyOf(slice()), key);
  assert.notEqual(keyOf(slice({ cluster: "member2" })), key);
});

test("after whatever came and went, the index holds what is there and nothing else", () => {
  const values: SliceValue[] = ["member1", "member2"].flatMap((cluster) => [
    exported({ cluster }),
    slice({ cluster }),
    slice({ cluster, slice: "cart-2" }),
    slice({ cluster, service: "till" }),
  ]);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(values.length - 1), fc.boolean())), (steps) => {
      const index = new ServiceIndex();
      const there = new Map<string, SliceValue>();
      for (const [i, put] of steps) {
        const value = values[i]!;
        const key = keyOf(value);
        if (put) there.set(key, value);
        else there.delete(key);
        index.apply(key, put ? value : undefined);
      }
      const indexed = new Map<string, SliceValue>();
      for (const { copies } of index.all()) {
        assert.ok(copies.size > 0, "no empty service stays behind");
        for (const copy of copies.values()) {
          if (copy.export !== undefined) indexed.set(keyOf(copy.export), copy.export);
          for (const record of copy.slices.values()) indexed.set(keyOf(record), record);
        }
      }
      assert.deepEqual(new Map([...indexed].sort()), new Map([...there].sort()));
    }),
  );
});
