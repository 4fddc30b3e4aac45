// A path with a canary over HTTP: which requests go there, and which sessions stay there.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Balance, Canary } from "@sluice/contracts";
import fc from "fast-check";
import type { NginxRow } from "./nginx-row.ts";
import { peersRow, type TestNginx, type TestPod, testNginx, testPod } from "./testing/proxy-world.ts";

const HOST = "shop.example.test";
type Headers = Readonly<Record<string, string>>;

interface Path {
  readonly canary?: Omit<Canary, "upstream">;
  readonly balance?: Balance;
  readonly upstream?: string;
}

/** Paths that lead to `main`, or to what they say, each with a canary that leads to `next`. */
function route(paths: Readonly<Record<string, Path>>): NginxRow {
  return {
    k: "route",
    host: HOST,
    paths: Object.entries(paths).map(([path, { canary, balance, upstream = "main" }]) => [
      "P",
      path,
      upstream,
      "default",
      {
        ...(balance === undefined ? {} : { balance }),
        ...(canary === undefined ? {} : { canary: { upstream: "next", ...canary } }),
      },
    ]),
  };
}

/** @param range third byte of its pods' addresses */
async function canaryWorld(t: TestContext, range: number, counts: Readonly<Record<string, number>>) {
  const nginx = await testNginx(t, { workers: 1 });
  const pods: Record<string, TestPod[]> = {};
  let n = 0;
  for (const [upstream, count] of Object.entries(counts)) {
    const own = Array.from({ length: count }, (_, i) =>
      testPod(t, `127.27.${range}.${++n}`, `${upstream}${i + 1}`),
    );
    pods[upstream] = await Promise.all(own);
    await nginx.apply(peersRow(upstream, "member1", ...pods[upstream]));
  }
  return { nginx, pods };
}

/** Which upstream answered, by the name of the pod. */
async function side(nginx: TestNginx, path: string, headers: Headers = {}): Promise<string> {
  const { status, body } = await nginx.get(path, { headers });
  return status === 200 ? body.replace(/[0-9]+$/, "") : String(status);
}

const session: Balance = { method: "cookie", cookie: { name: "SESSION", path: "/" } };

async function begin(nginx: TestNginx, path: string, headers: Headers = {}) {
  const { body, headers: said } = await nginx.get(path, { headers });
  const [first = ""] = said["set-cookie"] ?? [];
  return { peer: body, cookie: first.split(";")[0] ?? "" };
}

test("of ten thousand requests a canary gets its weight, whatever it is of", async (t) => {
  const { nginx } = await canaryWorld(t, 1, { main: 1, next: 1 });
  await nginx.apply(route({ "/": { canary: { weight: 20 } }, "/few": { canary: { weight: 5, of: 1000 } } }));
  const share = async (path: string, of: number) => {
    let there = 0;
    const line = async () => {
      for (let i = 0; i < of / 20; i++) if ((await side(nginx, path)) === "next") there++;
    };
    await Promise.all(Array.from({ length: 20 }, line));
    return there;
  };
  const fair = (count: number, of: number, chance: number) => {
    // Seven standard deviations: once in 10^11 runs chance alone goes beyond.
    const most = 7 * Math.sqrt(of * chance * (1 - chance));
    assert.ok(Math.abs(count - of * chance) <= most, `${count} of ${of}, ${chance} asked for`);
  };
  fair(await share("/", 10_000), 10_000, 0.2);
  fair(await share("/few", 2000), 2000, 0.005);
});

/** What a request says of itself. */
interface Asked {
  readonly header?: string;
  readonly cookie?: string;
}

/** ingress-nginx's order, stated once more. Weights are all or nothing here, so that chance has no say. */
function goes({ header, cookie, weight = 0 }: Omit<Canary, "upstream">, asked: Asked): boolean {
  if (header !== undefined && asked.header !== undefined) {
    if (header.value !== undefined) {
      if (asked.header === header.value) return true;
    } else if (header.pattern !== undefined) {
      if (new RegExp(header.pattern).test(asked.header)) return true;
    } else if (asked.header === "always") return true;
    else if (asked.header === "never") return false;
  }
  if (cookie !== undefined && asked.cookie === "always") return true;
  if (cookie !== undefined && asked.cookie === "never") return false;
  return weight > 0;
}

test("header, then cookie, then weight: a canary takes what they say and nothing else", async (t) => {
  const { nginx } = await canaryWorld(t, 2, { main: 1, next: 1 });
  const words = fc.constantFrom("always", "never", "on", "On", "online", "", "v1.2", "x");
  const terms = fc.record(
    {
      header: fc.oneof(
        fc.constant({ name: "x_canary" }),
        fc.constantFrom("on", "always", "never").map((value) => ({ name: "x_canary", value })),
        fc
          .constantFrom("^on", "n$", "v[0-9]\\.[0-9]", "^$")
          .map((pattern) => ({ name: "x_canary", pattern })),
      ),
      cookie: fc.constant("Canary-1"),
      weight: fc.constantFrom(0, 100, 200),
    },
    { requiredKeys: [] },
  );
  const asked = fc.record({ header: words, cookie: words }, { requiredKeys: [] });
  const met = { main: 0, next: 0 };
  await fc.assert(
    fc.asyncProperty(terms, fc.array(asked, { minLength: 4, maxLength: 12 }), async (canary, requests) => {
      await nginx.apply(route({ "/": { canary } }));
      for (const request of requests) {
        const headers = {
          ...(request.header === undefined ? {} : { "X-Canary": request.header }),
          ...(request.cookie === undefined
            ? {}
            : { cookie: `a=always; canary-1=${request.cookie}; b=never` }),
        };
        const expected = goes(canary, request) ? "next" : "main";
        met[expected]++;
        assert.equal(await side(nginx, "/", headers), expected, JSON.stringify([canary, request]));
      }
    }),
    { numRuns: 150 },
  );
  assert.ok(met.main > 100 && met.next > 100, JSON.stringify(met));
});

test("a pattern that takes too long leaves the request with the other object", async (t) => {
  const { nginx } = await canaryWorld(t, 3, { main: 1, next: 1 });
  const canary = { header: { name: "x_canary", pattern: "^(a+)+$" }, weight: 100 };
  await nginx.apply(route({ "/": { canary } }));
  assert.equal(await side(nginx, "/", { "x-canary": "aaaa" }), "next");
  assert.equal(
    await side(nginx, "/", { "x-canary": "b" }),
    "next",
    "what does not match is left to the weight",
  );
  assert.equal(await side(nginx, "/", { "x-canary": `${"a".repeat(64)}b` }), "main");
});

test("a canary without peers takes nothing, and one that stands beside a backend without peers takes its own only", async (t) => {
  const { nginx } = await canaryWorld(t, 4, { main: 1, next: 1, none: 0 });
  const always = { header: { name: "x_canary" } };
  const asked = { "x-canary": "always" };
  await nginx.apply(
    route({ "/": { canary: { weight: 100 } }, "/none": { canary: always, upstream: "none" } }),
  );
  assert.equal(await side(nginx, "/"), "next");
  assert.equal(await side(nginx, "/none", asked), "next");
  assert.equal(await side(nginx, "/none"), "503");
  await nginx.apply(peersRow("next", "member1"));
  assert.equal(await side(nginx, "/"), "main");
  assert.equal(await side(nginx, "/none", asked), "503");
});

test("the next tries of a request stay with the side that it was sent to", async (t) => {
  const { nginx, pods } = await canaryWorld(t, 5, { main: 1, next: 3 });
  const [dead, , alive] = pods["next"]!;
  await nginx.apply(route({ "/": { canary: { weight: 50 } }, "/all": { canary: { weight: 100 } } }));
  await dead!.close();
  await pods["next"]![1]!.close();
  for (let i = 0; i < 40; i++) assert.equal((await nginx.get("/all")).body, alive!.name);
  // Half of the requests would change sides with each try, were they asked anew.
  await alive!.close();
  const before = pods["main"]![0]!.requests;
  for (let i = 0; i < 20; i++) assert.equal((await nginx.get("/all")).status, 502);
  assert.equal(pods["main"]![0]!.requests, before);
  const seen = new Set<string>();
  for (let i = 0; i < 60; i++) seen.add(await side(nginx, "/"));
  assert.deepEqual([...seen].sort(), ["502", "main"]);
});

for (const persistent of [false, true]) {
  const balance: Balance = persistent ? { ...session, cookie: { ...session.cookie!, persistent } } : session;
  const mode = persistent ? "persistent" : "balanced";

  test(`a ${mode} session stays on the side on which it began, whatever weight and header say then`, async (t) => {
    const { nginx, pods } = await canaryWorld(t, persistent ? 7 : 6, { main: 3, next: 3 });
    const header = { name: "x_canary" };
    const weighing = (weight: number) =>
      route({ "/": { balance, canary: { weight, header, sticky: true } } });
    await nginx.apply(weighing(50));
    const sessions = [];
    for (let i = 0; i < 24; i++) sessions.push(await begin(nginx, "/"));
    const there = sessions.filter(({ peer }) => peer.startsWith("next"));
    assert.ok(there.length > 0 && there.length < 24, `${there.length} of 24`);
    for (const weight of [50, 0, 100]) {
      await nginx.apply(weighing(weight));
      for (const { peer, cookie } of sessions) {
        for (const said of ["always", "never", "x"]) {
          const answer = await nginx.get("/", { headers: { cookie, "x-canary": said } });
          assert.equal(answer.body, peer);
          assert.equal(answer.headers["set-cookie"], undefined);
        }
      }
    }
    // While the canary has no peers its sessions are served together, and come back.
    await nginx.apply(peersRow("next", "member1"));
    for (const { cookie } of there) {
      const [a, b] = [
        await nginx.get("/", { headers: { cookie } }),
        await nginx.get("/", { headers: { cookie } }),
      ];
      assert.match(a.body, /^main/);
      assert.equal(a.body, b.body);
      assert.equal(a.headers["set-cookie"], undefined);
    }
    await nginx.apply(peersRow("next", "member1", ...pods["next"]!));
    for (const { peer, cookie } of there)
      assert.equal((await nginx.get("/", { headers: { cookie } })).body, peer);
    // What was the canary is the backend now: its sessions go on with their peers.
    await nginx.apply(route({ "/": { balance, upstream: "next" } }));
    for (const { peer, cookie } of there) {
      const answer = await nginx.get("/", { headers: { cookie } });
      assert.equal(answer.body, peer);
      const [said = ""] = answer.headers["set-cookie"] ?? [];
      assert.equal(said.split(";")[0], cookie.replace(/\.c$/, ""));
    }
  });
}

test("legacy: each request is judged by itself, and each side has sessions of its own", async (t) => {
  const { nginx } = await canaryWorld(t, 8, { main: 3, next: 3 });
  const own: Balance = { method: "cookie", cookie: { name: "NEXT", path: "/" } };
  const canary = { header: { name: "x_canary" }, balance: own };
  await nginx.apply(route({ "/": { balance: session, canary } }));
  const main = await begin(nginx, "/");
  const next = await begin(nginx, "/", { "x-canary": "always", cookie: main.cookie });
  assert.match(main.cookie, /^SESSION=/);
  assert.match(next.cookie, /^NEXT=[0-9a-f]+$/);
  const both = `${main.cookie}; ${next.cookie}`;
  for (let i = 0; i < 5; i++) {
    assert.equal((await nginx.get("/", { headers: { cookie: both } })).body, main.peer);
    assert.equal((await nginx.get("/", { headers: { cookie: both, "x-canary": "always" } })).body, next.peer);
  }
});

test("a canary that does not fit its form is refused by name", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const { instance } = await nginx.client.state(t.signal);
  for (const [canary, why] of [
    [{ upstream: "a b" }, /upstream is no name/],
    [{ weight: -1 }, /weight is no number/],
    [{ weight: 1.5 }, /weight is no number/],
    [{ weight: 1, of: 0 }, /what canary's weight is of/],
    [{ cookie: "a;b" }, /cookie is no name/],
    [{ header: { name: "x-canary" } }, /header's name/],
    [{ header: { name: "x", value: "a\r\nb" } }, /header's value/],
    [{ header: { name: "x", pattern: "(" } }, /pcre/],
    [{ balance: { method: "hash" } }, /by is no list/],
  ] as const) {
    const row = route({ "/": { canary: canary as Canary } });
    const answer = await nginx.client.apply([row], instance, t.signal);
    assert.ok(!answer.restarted);
    assert.match(answer.refused[0]?.why ?? "", why);
  }
});
