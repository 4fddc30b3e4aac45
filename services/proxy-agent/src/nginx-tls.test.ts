import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { before, type TestContext, test } from "node:test";
import type { NginxRow, PathMore } from "./nginx-row.ts";
import {
  type TestAuthority,
  type TestCertificate,
  testAuthority,
  testCertificate,
} from "./testing/certificates.ts";
import { peersRow, type TestNginx, type TestPod, testNginx, testPod } from "./testing/proxy-world.ts";
import { certificateRow, secureGet, sessionOf, shownTo } from "./testing/tls-clients.ts";

const DEFAULT = "Sluice default certificate";

/** A route of one path to the upstream `shop`. */
function route(host: string, certificate?: string, more?: PathMore, upstream = "shop"): NginxRow {
  return {
    k: "route",
    host,
    paths: [more === undefined ? ["P", "/", upstream, "default"] : ["P", "/", upstream, "default", more]],
    ...(certificate === undefined ? {} : { certificate }),
  };
}

interface World {
  readonly nginx: TestNginx;
  readonly pod: TestPod;
}

let authority: TestAuthority;
let shop: TestCertificate;
let wild: TestCertificate;

before(async () => {
  authority = await testAuthority("example authority");
  shop = await testCertificate(authority, ["shop.example.test"]);
  wild = await testCertificate(authority, ["*.example.test"], { kind: "rsa" });
});

async function world(t: TestContext): Promise<World> {
  const nginx = await testNginx(t, { https: true, httpsPort: 443, secretsMegabytes: 16 });
  const pod = await testPod(t, "127.25.0.1", "shop-1");
  await nginx.apply(
    { k: "upstream", id: "shop" },
    { k: "upstream", id: "empty" },
    peersRow("shop", "member1", pod),
    certificateRow("shop-tls", shop),
    certificateRow("wild-tls", wild),
    route("shop.example.test", "shop-tls"),
    route("*.example.test", "wild-tls"),
    route("plain.example.test"),
    route("later.example.test", "later-tls"),
    route("xn--bcher-kva.example.test", "wild-tls"),
  );
  return { nginx, pod };
}

/** nginx's refusals of these rows, in short. */
async function refusals(t: TestContext, nginx: TestNginx, ...rows: readonly NginxRow[]): Promise<string[]> {
  const { instance } = await nginx.client.state(t.signal);
  const answer = await nginx.client.apply(rows, instance, t.signal);
  assert.ok(!answer.restarted);
  return answer.refused.map(({ why }) => why);
}

test("who asks by TLS", async (t) => {
  const { nginx, pod } = await world(t);

  await t.test("is shown the certificate of the host that it names, or the default one", async () => {
    const cases: [string | null, string][] = [
      ["shop.example.test", shop.serial],
      ["SHOP.Example.TEST", shop.serial],
      ["a.example.test", wild.serial],
      // A wildcard is one label.
      ["a.b.example.test", DEFAULT],
      ["example.test", DEFAULT],
      ["xn--bcher-kva.example.test", wild.serial],
      // Its host has rules and no certificate: the wildcard's row is not asked.
      ["plain.example.test", DEFAULT],
      // Its certificate is not there yet.
      ["later.example.test", DEFAULT],
      ["elsewhere.test", DEFAULT],
      ["*.example.test", DEFAULT],
      [null, DEFAULT],
    ];
    for (const [name, expected] of cases) {
      const { serial, subject } = await shownTo(nginx, name);
      assert.ok(expected === serial || expected === subject, `${name}: ${serial} ${subject}`);
    }
  });

  await t.test("is shown the fleet's default certificate where it has one", async () => {
    const fallback = await testCertificate(authority, ["default.example.test"]);
    await nginx.apply(certificateRow("default-tls", fallback), {
      k: "route",
      host: "",
      paths: [],
      certificate: "default-tls",
    });
    for (const name of ["plain.example.test", "elsewhere.test", null]) {
      assert.equal((await shownTo(nginx, name)).serial, fallback.serial, String(name));
    }
    assert.equal((await shownTo(nginx, "shop.example.test")).serial, shop.serial);
    const answer = await secureGet(nginx, "/", { name: "elsewhere.test" });
    assert.deepEqual([answer.status, answer.headers["strict-transport-security"]], [404, undefined]);
    await nginx.apply({ k: "route", host: "", del: true }, { k: "secret", id: "default-tls", del: true });
    assert.equal((await shownTo(nginx, null)).subject, DEFAULT);
  });

  await t.test("speaks TLS 1.2 or 1.3 with forward secrecy and nothing older", async () => {
    const versions = await Promise.all(
      (["TLSv1.2", "TLSv1.3"] as const).map((version) =>
        shownTo(nginx, "shop.example.test", { minVersion: version, maxVersion: version }),
      ),
    );
    assert.deepEqual(
      versions.map(({ protocol }) => protocol),
      ["TLSv1.2", "TLSv1.3"],
    );
    const rsa = await shownTo(nginx, "a.example.test", { maxVersion: "TLSv1.2" });
    assert.match(rsa.cipher, /^ECDHE-RSA-/);
    for (const more of [
      { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL:@SECLEVEL=0" },
      { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA" },
      { maxVersion: "TLSv1.2", ciphers: "AES128-GCM-SHA256" },
    ] as const) {
      await assert.rejects(shownTo(nginx, "shop.example.test", more), /alert|handshake|protocol/i);
    }
  });

  await t.test("is served as by http, and told to stay where the host's certificate is its own", async () => {
    const answer = await secureGet(nginx, "/cart?a=1");
    assert.deepEqual([answer.status, answer.body, pod.last.url], [200, "shop-1", "/cart?a=1"]);
    assert.equal(pod.last.headers["x-forwarded-proto"], "https");
    assert.equal(pod.last.headers["x-forwarded-host"], "shop.example.test");
    assert.equal(answer.headers["strict-transport-security"], "max-age=31536000; includeSubDomains");
    const plain = await secureGet(nginx, "/", { name: "plain.example.test" });
    assert.deepEqual([plain.status, plain.headers["strict-transport-security"]], [200, undefined]);
    assert.equal((await nginx.get("/")).headers["strict-transport-security"], undefined);
  });

  await t.test("resumes a session", async () => {
    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      const versions = { minVersion: version, maxVersion: version };
      const again = { ...versions, session: await sessionOf(nginx, "shop.example.test", versions) };
      assert.equal((await shownTo(nginx, "shop.example.test", again)).resumed, true, version);
    }
  });

  await t.test("without TLS at the port for it is told so", async () => {
    const port = Number(nginx.options.httpsAddress?.split(":")[1]);
    const socket = connect(port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: shop.example.test\r\nConnection: close\r\n\r\n");
    let said = "";
    socket.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
    await once(socket, "close");
    assert.match(said, /^HTTP\/1\.1 400 /);
  });
});

test("handshakes are counted: what was begun, finished, and finished by resuming", async (t) => {
  const { nginx } = await world(t);
  const session = await sessionOf(nginx, "shop.example.test");
  assert.equal((await secureGet(nginx, "/", { session })).status, 200);
  const old = { maxVersion: "TLSv1.2", ciphers: "AES128-SHA" } as const;
  await assert.rejects(shownTo(nginx, "shop.example.test", old), /alert/);
  // Each worker hands on what it counted once a second.
  await t.waitFor(
    async () => {
      const { counters } = await nginx.client.state(t.signal);
      const counts = ["begun", "full", "resumed"].map((what) => counters[`handshakes_${what}`]);
      assert.deepEqual(counts, [3, 1, 1]);
    },
    { timeout: 60_000, interval: 50 },
  );
});

test("a path for https alone", async (t) => {
  const { nginx, pod } = await world(t);
  await nginx.apply(
    route("shop.example.test", "shop-tls", { httpsOnly: true }),
    route("empty.example.test", "wild-tls", { httpsOnly: true }, "empty"),
  );

  await t.test("sends who comes by http to the same URL by https, without its port", async () => {
    for (const [path, to] of [
      ["/", "https://shop.example.test"],
      ["/cart?a=%20b", "https://shop.example.test/cart?a=%20b"],
      // As in ingress-nginx a closing slash gets lost.
      ["/cart/", "https://shop.example.test/cart"],
    ] as const) {
      const { status, headers } = await nginx.get(path, { host: "shop.example.test:8080" });
      assert.deepEqual([status, headers.location], [308, to]);
      assert.equal(headers["strict-transport-security"], undefined);
    }
    const posted = await nginx.get("/cart", { method: "POST", body: "x".repeat(50_000) });
    assert.equal(posted.status, 308);
    assert.equal(pod.requests, 0);
  });

  await t.test("answers who comes by https, and says 503 there where it has nobody", async () => {
    assert.equal((await secureGet(nginx, "/cart")).status, 200);
    const empty = await secureGet(nginx, "/", { name: "empty.example.test" });
    assert.deepEqual([empty.status, empty.headers["x-sluice-reason"]], [503, "no-peers"]);
    assert.equal(empty.headers["strict-transport-security"], "max-age=31536000; includeSubDomains");
    assert.equal((await nginx.get("/", { host: "empty.example.test" })).status, 308);
  });

  await t.test("believes nobody who says that he came by https", async () => {
    const headers = { "x-forwarded-proto": "https", "x-forwarded-scheme": "https" };
    assert.equal((await nginx.get("/cart", { headers })).status, 308);
  });
});

test("a certificate that changes", async (t) => {
  const { nginx } = await world(t);
  const reloads = async () => (await nginx.client.state(t.signal)).config;

  await t.test("under handshakes breaks none: each is shown the old one or the new one", async () => {
    const before = await reloads();
    /** The newest last. */
    const serials = [shop.serial];
    const next = await Promise.all(
      Array.from({ length: 10 }, () => testCertificate(authority, ["shop.example.test"])),
    );
    let done = false;
    let count = 0;
    const shaking = Array.from({ length: 4 }, async () => {
      while (!done) {
        const newest = serials.length - 1;
        const { serial } = await shownTo(nginx, "shop.example.test");
        // The newest may still have been on its way when this handshake began.
        assert.ok(serials.indexOf(serial) >= newest - 1, serial);
        count++;
      }
    });
    const changing = (async () => {
      for (const each of next) {
        const seen = count;
        serials.push(each.serial);
        await nginx.apply(certificateRow("shop-tls", each));
        // It counts from the next handshake on, in whichever worker.
        for (let i = 0; i < 4; i++) {
          assert.equal((await shownTo(nginx, "shop.example.test")).serial, each.serial);
        }
        await t.waitFor(() => assert.ok(count > seen), { timeout: 60_000, interval: 2 });
      }
      done = true;
    })();
    await Promise.all([changing.finally(() => (done = true)), ...shaking]);
    assert.equal(await reloads(), before);
  });

  await t.test("and will not do leaves the one that was there", async () => {
    const held = (await shownTo(nginx, "shop.example.test")).serial;
    const other = await testCertificate(authority, ["shop.example.test"]);
    const leaf = other.chain;
    const cases: [string, Partial<TestCertificate>, RegExp][] = [
      ["another's key", { key: shop.key }, /private key is another one's/],
      ["a key of another kind", { key: wild.key }, /private key is another one's/],
      ["no key", { key: "" }, /private key is missing/],
      ["half a key", { key: other.key.slice(0, 100) }, /no private key in PEM/],
      ["a broken chain", { chain: leaf.replace(/[A-Za-z0-9]{20}\n/, "!!!!\n") }, /no chain in PEM/],
      ["text", { chain: "certificate" }, /no chain in PEM/],
      ["a chain of 300 kB", { chain: leaf + authority.certificate.repeat(600) }, /up to 100 KiB/],
    ];
    for (const [what, change, why] of cases) {
      const said = await refusals(t, nginx, certificateRow("shop-tls", { ...other, ...change }));
      assert.match(said.join(), why, what);
      assert.doesNotMatch(said.join(), /BEGIN|MI[IG]/, what);
      assert.equal((await shownTo(nginx, "shop.example.test")).serial, held, what);
    }
    await nginx.apply(certificateRow("shop-tls", other));
    assert.equal((await shownTo(nginx, "shop.example.test")).serial, other.serial);
  });

  await t.test("that is gone leaves the default one", async () => {
    await nginx.apply({ k: "secret", id: "shop-tls", del: true });
    assert.equal((await shownTo(nginx, "shop.example.test")).subject, DEFAULT);
    await nginx.apply(certificateRow("shop-tls", shop));
    assert.equal((await shownTo(nginx, "shop.example.test")).serial, shop.serial);
  });

  await t.test("is there after a worker died", async () => {
    const { worker } = await nginx.client.state(t.signal);
    process.kill(worker, "SIGKILL");
    await t.waitFor(async () => assert.notEqual((await nginx.client.state(t.signal, true)).worker, worker), {
      timeout: 60_000,
      interval: 10,
    });
    for (let i = 0; i < 8; i++) {
      assert.equal((await shownTo(nginx, "shop.example.test")).serial, shop.serial);
    }
  });
});

test("a thousand certificates are shown, each to its name; one too many is refused by name, and none is lost", async (t) => {
  const nginx = await testNginx(t, { https: true, secretsMegabytes: 4 });
  const hosts = Array.from({ length: 1000 }, (_, i) => `host-${i}.example.test`);
  // A few key pairs for all: what is counted is rows.
  const certificates = await Promise.all(
    Array.from({ length: 10 }, (_, i) => testCertificate(authority, [`host-${i}.example.test`])),
  );
  const certificateOf = (i: number) => certificates[i % 10] as TestCertificate;
  for (let at = 0; at < hosts.length; at += 100) {
    const some = hosts.slice(at, at + 100);
    await nginx.apply(
      ...some.map((_, i) => certificateRow(`tls-${at + i}`, certificateOf(at + i))),
      ...some.map((host, i) => route(host, `tls-${at + i}`, undefined, "")),
    );
  }
  for (const i of [0, 1, 42, 503, 999]) {
    assert.equal((await shownTo(nginx, hosts[i] ?? "")).serial, certificateOf(i).serial);
  }
  // Each row is as large as a chain may be.
  const large = { ...certificateOf(1), chain: certificateOf(1).chain + authority.certificate.repeat(150) };
  let said: string[] = [];
  for (let i = 0; i < 100 && said.length === 0; i++) {
    said = await refusals(t, nginx, certificateRow(`large-${i}`, large));
  }
  assert.match(said.join(), /^shared memory for secrets: no room for [0-9]+ bytes$/);
  // A row that grows has no room either, and stays as it was.
  assert.match(
    (await refusals(t, nginx, certificateRow("tls-42", large))).join(),
    /^shared memory for secrets/,
  );
  for (const i of [0, 42, 999]) {
    assert.equal((await shownTo(nginx, hosts[i] ?? "")).serial, certificateOf(i).serial);
  }
  // What changes within its size goes on.
  await nginx.apply(certificateRow("tls-42", certificateOf(3)));
  assert.equal((await shownTo(nginx, hosts[42] ?? "")).serial, certificateOf(3).serial);
});
