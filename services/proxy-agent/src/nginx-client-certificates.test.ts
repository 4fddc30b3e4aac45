import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionOptions } from "node:tls";
import type { ClientCertificate, HostClients } from "@sluice/contracts";
import type { NginxRow } from "./nginx-row.ts";
import { type TestCertificate, testAuthority, testCertificate } from "./testing/certificates.ts";
import { peersRow, testNginx, testPod } from "./testing/proxy-world.ts";
import {
  certificateRow,
  http2Request,
  http2Session,
  secureGet,
  sessionOf,
  shake,
} from "./testing/tls-clients.ts";

const A = "a.example.test";
const B = "b.example.test";

function route(
  host: string,
  clientCertificate: ClientCertificate,
  clients: HostClients | undefined,
  profile = "names",
): NginxRow {
  return {
    k: "route",
    host,
    paths: [["P", "/", "shop", profile, { clientCertificate }]],
    certificate: "shop-tls",
    ...(clients === undefined ? {} : { clients }),
  };
}

test("a host that asks for client certificates", async (t) => {
  const nginx = await testNginx(t, {
    https: true,
    profiles: {
      names: { guards: true, clientFacts: "names" },
      whole: { guards: true, clientFacts: "whole", rewrites: true },
    },
  });
  const pod = await testPod(t, "127.25.0.1", "shop-1");
  const [authorityA, authorityB] = await Promise.all([
    testAuthority("authority a"),
    testAuthority("authority b"),
  ]);
  const between = await testAuthority("between", authorityA);
  const [server, alice, bob, deep] = await Promise.all([
    testCertificate(authorityA, [A, B]),
    testCertificate(authorityA, ["alice"], { subject: "CN=alice" }),
    testCertificate(authorityB, ["bob"], { subject: "CN=bob" }),
    testCertificate(between, ["deep"], { subject: "CN=deep", between: [between] }),
  ]);
  const day = 86_400_000;
  const past = { notBefore: new Date(Date.now() - 3 * day), notAfter: new Date(Date.now() - 2 * day) };
  const expired = await testCertificate(authorityA, ["old"], { subject: "CN=old", dates: past });
  const as = ({ chain, key }: TestCertificate): ConnectionOptions => ({ cert: chain, key });
  const ofA: HostClients = { authorities: "a-ca", depth: 1 };
  await nginx.apply(
    { k: "upstream", id: "shop" },
    peersRow("shop", "member1", pod),
    certificateRow("shop-tls", server),
    { k: "secret", id: "a-ca", authorities: authorityA.certificate },
    { k: "secret", id: "b-ca", authorities: authorityB.certificate },
    route(A, { verify: "on" }, ofA),
    route(B, { verify: "on" }, { authorities: "b-ca", depth: 1 }),
    route("near.example.test", { verify: "on" }, { authorities: "a-ca", depth: 0 }),
    route("optional.example.test", { verify: "optional" }, ofA),
    route("any.example.test", { verify: "optional_no_ca" }, ofA, "whole"),
    route("page.example.test", { verify: "on", errorPage: "https://login.example.test/?a=1" }, ofA),
    route("missing.example.test", { verify: "optional" }, { authorities: "missing-ca", depth: 1 }),
    route("unsaid.example.test", { verify: "optional" }, undefined),
    {
      k: "route",
      host: "open.example.test",
      paths: [["P", "/", "shop", "default"]],
      certificate: "shop-tls",
    },
  );
  const ask = async (name: string, more: ConnectionOptions = {}, headers: Record<string, string> = {}) => {
    const { status, headers: answered } = await secureGet(nginx, "/", {
      name,
      ...more,
      headers: { host: name, ...headers },
    });
    return `${status} ${answered["x-sluice-reason"] ?? answered.location ?? "served"}`;
  };

  await t.test(
    "serves those whose certificate its authorities signed, and says why to the others",
    async () => {
      const cases: [string, ConnectionOptions, string][] = [
        [A, as(alice), "200 served"],
        [A, {}, "400 client-certificate"],
        [A, as(bob), "400 client-certificate"],
        [B, as(bob), "200 served"],
        [B, as(alice), "400 client-certificate"],
        [A, as(expired), "400 client-certificate"],
        ["optional.example.test", as(expired), "400 client-certificate"],
        ["any.example.test", as(expired), "400 client-certificate"],
        // One authority more between it and the one that is trusted.
        [A, as(deep), "200 served"],
        ["near.example.test", as(deep), "400 client-certificate"],
        ["near.example.test", as(alice), "200 served"],
        ["optional.example.test", {}, "200 served"],
        ["optional.example.test", as(alice), "200 served"],
        ["optional.example.test", as(bob), "400 client-certificate"],
        ["any.example.test", {}, "200 served"],
        ["any.example.test", as(bob), "200 served"],
        ["page.example.test", {}, "302 https://login.example.test/?a=1"],
        ["page.example.test", as(bob), "302 https://login.example.test/?a=1"],
        ["page.example.test", as(alice), "200 served"],
        // Nobody can say whom to trust: nobody is served, not even where a certificate is optional.
        ["missing.example.test", as(alice), "503 no-authorities"],
        ["missing.example.test", {}, "503 no-authorities"],
        ["unsaid.example.test", {}, "503 no-authorities"],
        ["open.example.test", as(bob), "200 served"],
      ];
      for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
        for (const [name, more, expected] of cases) {
          assert.equal(await ask(name, { ...more, maxVersion }), expected, `${name} ${maxVersion}`);
        }
      }
    },
  );

  await t.test("refuses who comes in clear, unless a certificate is optional", async () => {
    const answer = await nginx.get("/", { host: A });
    assert.deepEqual([answer.status, answer.headers["x-sluice-reason"]], [403, "tls-required"]);
    assert.equal((await nginx.get("/", { host: "optional.example.test" })).status, 200);
  });

  await t.test("does not take what was proved to another host", async () => {
    // A connection for one host, a request for another: both authorities signed somebody.
    assert.equal(await ask(A, as(alice), { host: B }), "421 misdirected");
    assert.equal(await ask("open.example.test", as(alice), { host: A }), "421 misdirected");
    assert.equal(await ask("optional.example.test", as(alice), { host: A }), "421 misdirected");
    assert.equal(await ask("unknown.example.test", as(alice), { host: A }), "421 misdirected");
    const { socket } = await shake(nginx, null, as(alice));
    socket.write(`GET / HTTP/1.1\r\nHost: ${A}\r\nConnection: close\r\n\r\n`);
    const [said] = (await socket.take(1).toArray()) as Buffer[];
    assert.match(String(said), /^HTTP\/1\.1 421 /);
    socket.destroy();
  });

  await t.test("resumes a session with what was proved when it began, and no other host's", async () => {
    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      const versions = { minVersion: version, maxVersion: version };
      const session = await sessionOf(nginx, A, { ...as(alice), ...versions });
      const again = await shake(nginx, A, { ...versions, session });
      assert.equal(again.resumed, true, version);
      again.socket.destroy();
      assert.equal(await ask(A, { ...versions, session }), "200 served");
      // The same session, another host: nothing of it counts.
      const other = await shake(nginx, B, { ...versions, session });
      assert.equal(other.resumed, false, version);
      other.socket.destroy();
      assert.equal(await ask(B, { ...versions, session }), "400 client-certificate");
      const open = await sessionOf(nginx, "open.example.test", { ...as(alice), ...versions });
      assert.equal(await ask(A, { ...versions, session: open }), "400 client-certificate");
    }
  });

  await t.test("tells peers who it was, and passes nothing on that a client says of itself", async () => {
    const forged = {
      "ssl-client-verify": "SUCCESS",
      "ssl-client-subject-dn": "CN=root",
      "ssl-client-issuer-dn": "CN=root",
      "ssl-client-cert": "forged",
    };
    const told = () => Object.keys(forged).map((name) => pod.last.headers[name]);
    await ask(A, as(alice), forged);
    assert.deepEqual(told(), ["SUCCESS", "CN=alice", "CN=authority a", undefined]);
    await ask("optional.example.test", {}, forged);
    assert.deepEqual(told(), ["NONE", undefined, undefined, undefined]);
    await ask("any.example.test", as(bob), forged);
    assert.match(String(told()[0]), /^FAILED:/);
    assert.equal(decodeURIComponent(String(told()[3])).trim(), bob.chain.trim());
    await ask("open.example.test", as(alice), forged);
    assert.deepEqual(told(), [undefined, undefined, undefined, undefined]);
    await nginx.get("/", { host: "optional.example.test", headers: forged });
    assert.deepEqual(told(), [undefined, undefined, undefined, undefined]);
  });

  await t.test("is the same by HTTP/2", async () => {
    const session = await http2Session(nginx, A, as(alice));
    assert.equal((await http2Request(session, { ":path": "/" })).status, 200);
    // As browsers do it where one certificate is for both hosts.
    assert.equal((await http2Request(session, { ":path": "/", ":authority": B })).status, 421);
    session.close();
    const nobody = await http2Session(nginx, A);
    assert.equal((await http2Request(nobody, { ":path": "/" })).status, 400);
    nobody.close();
  });

  await t.test("holds open connections and sessions to authorities that have been replaced", async () => {
    const session = await sessionOf(nginx, A, as(alice));
    const open = await http2Session(nginx, A, as(alice));
    assert.equal((await http2Request(open, { ":path": "/" })).status, 200);
    await nginx.apply({ k: "secret", id: "a-ca", authorities: authorityB.certificate });
    assert.equal((await http2Request(open, { ":path": "/" })).status, 421);
    open.close();
    assert.equal(await ask(A, { session }), "400 client-certificate");
    assert.equal(await ask(A, as(alice)), "400 client-certificate");
    assert.equal(await ask(A, as(bob)), "200 served");
    // Both, while the one is replaced by the other.
    const both = authorityA.certificate + authorityB.certificate;
    await nginx.apply({ k: "secret", id: "a-ca", authorities: both });
    assert.equal(await ask(A, as(alice)), "200 served");
    assert.equal(await ask(A, as(bob)), "200 served");
  });
});
