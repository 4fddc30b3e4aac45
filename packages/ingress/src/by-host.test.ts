import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { namesOf, wishesFor } from "./by-host.ts";

const hosts = fc.constantFrom("a.example.test", "b.example.test", "c.example.test", "");

test("what is found of a host is what a look through the whole list finds, in its order", () => {
  const name = fc.record({ name: hosts, of: hosts, redirects: fc.boolean() });
  fc.assert(
    fc.property(fc.array(name, { maxLength: 60 }), hosts, (list, host) => {
      assert.deepEqual(
        namesOf(list, host),
        list.filter(({ of }) => of === host),
      );
      assert.deepEqual(
        wishesFor(list, host),
        list.filter((each) => each.name === host),
      );
    }),
  );
});

test("ten thousand hosts of one object are found without going through its list for each of them", () => {
  let looks = 0;
  const list = Array.from({ length: 10_000 }, (_, i) => ({
    name: `www.h${i}.example.test`,
    get of() {
      looks++;
      return `h${i}.example.test`;
    },
    redirects: true,
  }));
  for (const { name } of list) assert.equal(namesOf(list, name.slice("www.".length)).length, 1);
  assert.ok(looks <= 10 * list.length, `${looks} looks`);
});
