import assert from "node:assert/strict";
import { test } from "node:test";
import { imageHandler, parseImage } from "./images.ts";
import { templateHash } from "./names.ts";

test("an image is known by its last path segment, whatever registry, tag or digest", () => {
  assert.deepEqual(parseImage("registry.example.test:5000/team/hello-app:1.0"), {
    name: "hello-app",
    tag: "1.0",
  });
  assert.deepEqual(parseImage("hello-app@sha256:abc"), { name: "hello-app", tag: "" });
  assert.notEqual(imageHandler("example.test/echo", "p"), null);
  assert.equal(imageHandler("example.test/hello-app/other:1", "p"), null);
});

test("a template's hash has ten characters of Kubernetes' alphabet and follows from its content alone", () => {
  const hash = templateHash({ a: 1, b: { c: 2 } });
  assert.match(hash, /^[bcdfghjklmnpqrstvwxz2456789]{10}$/);
  assert.equal(templateHash({ b: { c: 2 }, a: 1 }), hash);
  assert.notEqual(templateHash({ a: 1, b: { c: 3 } }), hash);
});
