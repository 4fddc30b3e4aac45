import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, Mirror } from "@sluice/contracts";
import fc from "fast-check";
import type { CompiledPath } from "./compile-ingress.ts";
import { mirrored } from "./mirror.ts";
import { readAnnotations } from "./read-annotations.ts";

const path: CompiledPath = {
  host: "shop.example.test",
  type: "Prefix",
  path: "/",
  written: "/",
  regex: false,
  backend: { kind: "service", name: "web", port: { number: 80 } },
  field: "spec.rules[0].http.paths[0].backend",
  fallback: false,
  policy: {},
};

function mirrorOf(given: Readonly<Record<string, string>>): Mirror | undefined {
  const annotations = Object.entries(given).map(
    ([name, text]) => [`nginx.ingress.kubernetes.io/mirror-${name}`, text] as const,
  );
  const { policies } = readAnnotations(new Map(annotations));
  return mirrored([path], policies.mirror, { namespace: "shop", name: "shop" })[0]?.policy.mirror;
}

test("a target says scheme, host, port, path and query; without a path it is what came", () => {
  const target = [{ variable: "request_uri" }];
  const plain = {
    host: "copies.example.test",
    port: 80,
    target,
    hostHeader: [{ text: "copies.example.test" }],
  };
  assert.deepEqual(mirrorOf({ target: "http://Copies.example.test" }), plain);
  assert.deepEqual(mirrorOf({ target: "http://copies.example.test$request_uri" }), plain);
  assert.deepEqual(mirrorOf({ target: "https://copies.example.test", "request-body": "off" }), {
    ...plain,
    secure: true,
    port: 443,
    bodiless: true,
  });
  assert.deepEqual(mirrorOf({ target: "http://[2001:db8::1]:8080/a?ns=$namespace", host: "a.test:1" }), {
    host: "2001:db8::1",
    port: 8080,
    target: [{ text: "/a?ns=" }, { text: "shop" }],
    hostHeader: [{ text: "a.test:1" }],
  });
  assert.deepEqual(mirrorOf({ target: "http://[2001:db8::1]" })?.hostHeader, [{ text: "[2001:db8::1]" }]);
});

test("who gets copies is never for a request to say", () => {
  for (const target of [
    "http://$host",
    "http://$http_host$request_uri",
    "http://copies.$host/",
    "http://copies.example.test$args",
    "http://copies.example.test:$server_port/",
    "http://a@b/",
    "//copies.example.test",
    "ftp://copies.example.test/",
    "http://copies.example.test/#x",
    "http://copies.example.test/ x",
    "http://copies.example.test/$cookie_session",
  ]) {
    assert.equal(mirrorOf({ target }), undefined, target);
  }
  // What else is ill-typed falls to its default.
  const { hostHeader, bodiless } =
    mirrorOf({ target: "http://copies/", host: "$http_x", "request-body": "no" }) ?? {};
  assert.deepEqual([hostHeader, bodiless], [[{ text: "copies" }], undefined]);
  assert.equal(mirrorOf({ host: "copies.example.test" }), undefined);
});

test("whatever is written, what comes of it is a row", () => {
  const text = fc.oneof(
    fc.string(),
    fc.webUrl({ withQueryParameters: true }),
    fc.webUrl().map((url) => `${url}$request_uri`),
    fc.domain(),
    fc.ipV6().map((address) => `http://[${address}]:80$request_uri`),
  );
  fc.assert(
    fc.property(text, text, (target, host) => {
      const mirror = mirrorOf({ target, host });
      if (mirror !== undefined) decode(Mirror, mirror, "mirror");
    }),
  );
});
