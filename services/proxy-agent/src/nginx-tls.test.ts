import assert from "node:assert/strict";
import { test } from "node:test";
import { testAuthority, testCertificate } from "./testing/certificates.ts";
import { peersRow, testNginx, testPod } from "./testing/proxy-world.ts";
import { certificateRow, secureGet, shownTo } from "./testing/tls-clients.ts";

test("a client is shown the certificate of the host that it names", async (t) => {
  const nginx = await testNginx(t, { https: true });
  const pod = await testPod(t, "127.25.0.1", "shop-1");
  const authority = await testAuthority("example authority");
  const shop = await testCertificate(authority, ["shop.example.test"]);
  const wild = await testCertificate(authority, ["*.example.test"], { kind: "rsa" });
  await nginx.apply(
    { k: "upstream", id: "shop" },
    peersRow("shop", "member1", pod),
    certificateRow("shop-tls", shop),
    certificateRow("wild-tls", wild),
    {
      k: "route",
      host: "shop.example.test",
      paths: [["P", "/", "shop", "default"]],
      certificate: "shop-tls",
    },
    { k: "route", host: "*.example.test", paths: [["P", "/", "shop", "default"]], certificate: "wild-tls" },
    { k: "route", host: "plain.example.test", paths: [["P", "/", "shop", "default"]] },
  );
  const cases: [string | null, string][] = [
    ["shop.example.test", shop.serial],
    ["SHOP.Example.TEST", shop.serial],
    ["a.example.test", wild.serial],
    ["a.b.example.test", "Sluice default certificate"],
    ["plain.example.test", "Sluice default certificate"],
    ["elsewhere.test", "Sluice default certificate"],
    [null, "Sluice default certificate"],
  ];
  for (const [name, expected] of cases) {
    const { serial, subject } = await shownTo(nginx, name);
    assert.ok(expected === serial || expected === subject, `${name}: ${serial} ${subject}`);
  }
  const answer = await secureGet(nginx, "/");
  assert.deepEqual([answer.status, answer.body], [200, "shop-1"]);
  assert.equal(answer.headers["strict-transport-security"], "max-age=31536000; includeSubDomains");
});
