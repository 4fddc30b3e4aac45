import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { upstreamId } from "./upstream-id.ts";

test("plain names are joined by hyphens, and a port without name is left out", () => {
  assert.equal(upstreamId("shop", "web", "http"), "shop-web-http");
  assert.equal(upstreamId("shop", "web", ""), "shop-web");
});

test("ids are a format: these never change", () => {
  assert.equal(upstreamId("a-b", "c", ""), "a-b-c-2113b57aaae46b24");
});

test("two ports never share an id, and every id fits a subject token", () => {
  const name = fc.stringMatching(/^[a-z0-9]([-a-z0-9.]{0,60}[a-z0-9])?$/);
  const port = fc.tuple(name, name, fc.oneof(fc.constant(""), name));
  fc.assert(
    fc.property(port, port, (a, b) => {
      const id = upstreamId(...a);
      assert.match(id, /^[0-9a-z-]{1,128}$/);
      assert.equal(id === upstreamId(...b), a.join("/") === b.join("/"));
    }),
  );
});
