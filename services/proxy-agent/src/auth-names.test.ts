import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { type TestContext, test } from "node:test";
import type { FleetValue, RouteRow } from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import { AuthNames, type AuthNamesOptions, type Lookup } from "./auth-names.ts";
import { nameServer, nameServers } from "./name-servers.ts";

const patience = { timeout: 60_000, interval: 5 };

const route = (...hosts: string[]): FleetValue =>
  ({
    host: "shop.example.test",
    paths: hosts.map((host) => ({ path: "/", auth: { host } })),
  }) as unknown as RouteRow;

/** A clock that the test moves; names are looked up when `tick` finds them due. */
function namesWorld(t: TestContext, given: Partial<AuthNamesOptions> = {}) {
  const controller = new AbortController();
  let now = 0;
  const clock = {
    now: () => now,
    monotonic: () => now,
    sleep: () => Promise.reject(new Error("nobody sleeps here")),
  };
  const kit = createKit({ service: "proxy-agent", signal: controller.signal, clock });
  const asked: string[] = [];
  const known = new Map<string, Lookup>();
  const names = new AuthNames(
    {
      allowed: [],
      refused: ["192.0.2.99"],
      lookup: async (name) => {
        asked.push(name);
        return known.get(name) ?? Promise.reject(new Error("nobody knows it"));
      },
      ...given,
    },
    kit,
    () => {},
  );
  const done = names.run();
  t.after(async () => {
    controller.abort();
    await done;
  });
  return {
    names,
    asked,
    known,
    after: (ms: number) => {
      now += ms;
      names.tick();
    },
    /** What nginx is told next, which it then knows. */
    told: async (expected: readonly unknown[]) => {
      await t.waitFor(() => assert.deepEqual(names.pending(), expected), patience);
      names.told(names.pending());
      assert.deepEqual(names.pending(), []);
    },
  };
}

const KEY = "default.routes.shop";
const row = (name: string, ...addresses: string[]) => ({ k: "name", name, addresses });

test("a name is looked up when a route asks it, again when its time is over, and forgotten with its last route", async (t) => {
  const { names, asked, known, after, told } = namesWorld(t);
  known.set("auth.example.test", { addresses: ["192.0.2.2", "192.0.2.1"], ttlSeconds: 30 });
  names.set(KEY, route("Auth.example.test"));
  names.set("default.routes.other", route("auth.example.test"));
  await told([row("auth.example.test", "192.0.2.1", "192.0.2.2")]);
  after(29_000);
  known.set("auth.example.test", { addresses: ["192.0.2.3"], ttlSeconds: 0 });
  assert.equal(asked.length, 1);
  after(1000);
  await told([row("auth.example.test", "192.0.2.3")]);
  // A time of nothing is five seconds; the same answer is no news.
  after(4999);
  after(1);
  await t.waitFor(() => assert.equal(asked.length, 3), patience);
  names.set(KEY, undefined);
  await told([]);
  names.set("default.routes.other", route());
  await told([{ k: "name", name: "auth.example.test", del: true }]);
});

test("while nobody answers the last addresses hold, and it is said", async (t) => {
  const { names, asked, known, after, told } = namesWorld(t);
  known.set("auth.example.test", { addresses: ["192.0.2.1"], ttlSeconds: 5 });
  names.set(KEY, route("auth.example.test"));
  await told([row("auth.example.test", "192.0.2.1")]);
  known.clear();
  after(5000);
  const problem = "auth-url auth.example.test cannot be looked up: nobody knows it";
  await t.waitFor(() => assert.deepEqual(names.problems, [{ key: KEY, problem }]), patience);
  assert.deepEqual(names.pending(), []);
  // Asked again after 1, 2, 4 … seconds.
  const before = asked.length;
  after(999);
  after(1);
  await t.waitFor(() => assert.equal(asked.length, before + 1), patience);
  known.set("auth.example.test", { addresses: ["192.0.2.1"], ttlSeconds: 5 });
  after(2000);
  await t.waitFor(() => assert.deepEqual(names.problems, []), patience);
  // Another nginx knows nothing.
  names.meet();
  await told([row("auth.example.test", "192.0.2.1")]);
});

test("where a service may not be it is not asked, whether its name leads there or its address stands there", async (t) => {
  const { names, known, told } = namesWorld(t, { allowed: ["127.25.0.0/16", "127.0.0.0/8"] });
  const all = [
    "10.0.0.1",
    "127.25.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "100.100.100.200",
    "fe80::1",
    "fd00:ec2::254",
    "::1",
    "0.0.0.0",
    "224.0.0.1",
    "::ffff:169.254.169.254",
    "192.0.2.99",
  ];
  known.set("auth.example.test", { addresses: all, ttlSeconds: 60 });
  names.set(KEY, route("auth.example.test", "169.254.169.254", "fd00::1"));
  await told([
    row("auth.example.test", "10.0.0.1", "127.25.0.1"),
    row("169.254.169.254"),
    row("fd00::1", "fd00::1"),
  ]);
  assert.deepEqual(
    names.problems.map(({ problem }) => problem.replace(/:.*/, "")),
    ["auth-url auth.example.test may not be asked", "auth-url 169.254.169.254 may not be asked"],
  );
});

/** A name server that knows one name: A records with a time of 7 s. */
async function dnsServer(t: TestContext, name: string, address: string, silent = false) {
  const socket = createSocket("udp4");
  socket.on("message", (query, from) => {
    if (silent) return;
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.subarray(at + 1, at + 1 + length).toString());
      at += 1 + length;
    }
    const type = query.readUInt16BE(at + 1);
    const known = labels.join(".") === name;
    const answer =
      known && type === 1
        ? Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 7, 0, 4, ...address.split(".").map(Number)])
        : Buffer.alloc(0);
    const head = Buffer.from(query.subarray(0, 12));
    head.writeUInt16BE(known ? 0x8180 : 0x8183, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(answer.length > 0 ? 1 : 0, 6);
    head.writeUInt32BE(0, 8);
    socket.send(Buffer.concat([head, query.subarray(12, at + 5), answer]), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  t.after(() => socket.close());
  return `127.0.0.1:${socket.address().port}`;
}

test("name servers are asked over the network, and one that is silent is given up when told to", async (t) => {
  const server = await dnsServer(t, "auth.example.test", "192.0.2.7");
  const lookup = nameServers([server]);
  assert.deepEqual(await lookup("auth.example.test", t.signal), { addresses: ["192.0.2.7"], ttlSeconds: 7 });
  await assert.rejects(lookup("other.example.test", t.signal), /ENOTFOUND/);
  // Search lists and /etc/hosts say nothing.
  await assert.rejects(lookup("localhost", t.signal), /ENOTFOUND/);
  const silent = nameServers([await dnsServer(t, "auth.example.test", "192.0.2.7", true)]);
  const controller = new AbortController();
  const waiting = silent("auth.example.test", controller.signal);
  controller.abort();
  await assert.rejects(waiting, /ECANCELLED/);
});

test("a name server is an address, with or without a port", () => {
  for (const good of ["10.96.0.10", "10.96.0.10:53", "fd00::a", "[fd00::a]:5353", "[fd00::a]"]) {
    assert.equal(nameServer(good), good);
  }
  for (const bad of [
    "",
    "dns.example.test",
    "10.96.0.10:0",
    "10.96.0.10:99999",
    "10.96.0",
    "[10.0.0.1",
    "fd00::a]:53",
  ]) {
    assert.throws(() => nameServer(bad), /is no address of a name server/, bad);
  }
});
