import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type PeerRules, parseCidr, peerFilter } from "./addresses.ts";

const rules = (part: Partial<PeerRules>): PeerRules => ({
  fromNodes: [],
  fromFlags: [],
  refused: [],
  ...part,
});
const everything = rules({ fromNodes: ["0.0.0.0/0", "::/0"], fromFlags: ["0.0.0.0/0", "::/0"] });

test("an address inside the ranges of the Nodes or of --peers is a peer", () => {
  const allow = peerFilter(
    rules({ fromNodes: ["10.4.0.0/14", "fd00:10::/32"], fromFlags: ["192.0.2.0/24"] }),
  );
  for (const address of ["10.4.0.1", "10.7.255.255", "192.0.2.9", "fd00:10::7", "FD00:10:0::8"]) {
    assert.deepEqual(allow(address), { allowed: true }, address);
  }
  for (const address of ["10.8.0.1", "192.0.3.1", "fd00:11::7", "198.51.100.1"]) {
    assert.match(JSON.stringify(allow(address)), /outside the cluster's allowed peer CIDRs/, address);
  }
});

test("a cluster without ranges has no peers, and is told the flag", () => {
  assert.match(JSON.stringify(peerFilter(rules({}))("10.0.0.1")), /--peers NAME=CIDR/);
});

const refusedAlways: Readonly<Record<string, readonly string[]>> = {
  "link-local addresses": ["169.254.0.1", "169.254.7.7", "fe80::1", "::ffff:169.254.0.1", "::ffff:a9fe:1"],
  "metadata services": [
    "169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
    "fd00:ec2::254",
    "FD00:0EC2:0:0:0:0:0:254",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
  ],
  "multicast and broadcast": ["224.0.0.1", "239.255.255.255", "255.255.255.255", "ff02::1"],
  "the unspecified address": ["0.0.0.0", "::", "0.1.2.3"],
  "loopback that no flag names": ["127.0.0.1", "127.11.0.3", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1"],
  "addresses with a zone": ["fe80::1%eth0", "fd00:ec2::254%eth0", "fd00::1%1"],
  "what is no address, or not in its one form": [
    "",
    "shop.example.test",
    "10.1",
    "10",
    "0x0a.0.0.1",
    "012.0.0.1",
    "0177.0.0.1",
    "10.0.0.01",
    "10.0.0.256",
    "10.0.0.1 ",
    "10.0.0.1:80",
    "::ffff:0177.0.0.1",
    "[::1]",
    "10.0.0.1/32",
    "2130706433",
  ],
};
for (const [what, addresses] of Object.entries(refusedAlways)) {
  test(`${what} are refused, however wide the ranges`, () => {
    for (const address of addresses) assert.equal(peerFilter(everything)(address).allowed, false, address);
  });
}

test("the hub's own address is refused in every way to write it", () => {
  const allow = peerFilter({ ...everything, refused: ["203.0.113.10", "fd00:aa::1"] });
  for (const address of ["203.0.113.10", "::ffff:203.0.113.10", "::ffff:cb00:710a", "fd00:aa:0:0::1"]) {
    assert.equal(allow(address).allowed, false, address);
  }
  assert.equal(allow("203.0.113.11").allowed, true);
});

test("loopback is a peer only by a loopback range of /16 or longer in --peers", () => {
  const by = (part: Partial<PeerRules>) => peerFilter(rules(part));
  assert.equal(by({ fromFlags: ["127.11.0.0/16"] })("127.11.0.3").allowed, true);
  assert.equal(by({ fromFlags: ["127.11.0.0/16"] })("127.12.0.3").allowed, false);
  assert.equal(by({ fromFlags: ["127.11.4.0/24"] })("127.11.4.3").allowed, true);
  assert.equal(by({ fromFlags: ["::1/128"] })("::1").allowed, true);
  for (const wide of ["127.0.0.0/8", "127.0.0.0/15", "126.0.0.0/7", "64.0.0.0/2", "0.0.0.0/0"]) {
    assert.equal(by({ fromFlags: [wide] })("127.0.0.1").allowed, false, wide);
  }
  assert.equal(by({ fromNodes: ["127.11.0.0/16"] })("127.11.0.3").allowed, false);
});

test("no peer is link-local, metadata, multicast or loopback, whatever the ranges and the way it is written", () => {
  const byte = fc.integer({ min: 0, max: 255 });
  const cidr = fc
    .tuple(byte, byte, fc.integer({ min: 0, max: 32 }))
    .map(([a, b, bits]) => `${a}.${b}.0.0/${bits}`);
  const bad = fc.oneof(
    fc.tuple(fc.constant(127), byte, byte, byte),
    fc.tuple(fc.constant(169), fc.constant(254), byte, byte),
    fc.tuple(fc.integer({ min: 224, max: 239 }), byte, byte, byte),
  );
  fc.assert(
    fc.property(fc.array(cidr), bad, fc.boolean(), (fromNodes, bytes, mapped) => {
      const address = `${mapped ? "::ffff:" : ""}${bytes.join(".")}`;
      assert.equal(peerFilter(rules({ fromNodes }))(address).allowed, false, address);
    }),
  );
});

test("a CIDR has one form, too: no octal, no short form, no zone, no length beyond the address", () => {
  for (const text of ["10.0.0.0/8", "0.0.0.0/0", "10.0.0.1/32", "fd00::/8", "::/0", "::1/128"]) {
    assert.notEqual(parseCidr(text), null, text);
  }
  for (const text of [
    "",
    "10.0.0.0",
    "10/8",
    "010.0.0.0/8",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/",
    "10.0.0.0/8/8",
    "fd00::/129",
    "fe80::%eth0/64",
    "shop.example.test/8",
    "::ffff:10.0.0.0/104",
  ]) {
    assert.equal(parseCidr(text), null, text);
  }
});

test("an IPv4 address is judged by its number as it is by its text", () => {
  const octet = fc.oneof(
    fc.integer({ min: 0, max: 255 }),
    fc.constantFrom(0, 10, 100, 127, 169, 172, 192, 224, 254, 255),
  );
  const address = fc.tuple(octet, octet, octet, octet).map((parts) => parts.join("."));
  const cidr = fc.tuple(address, fc.integer({ min: 0, max: 32 })).map(([base, bits]) => `${base}/${bits}`);
  fc.assert(
    fc.property(
      address,
      fc.array(cidr, { maxLength: 4 }),
      fc.array(cidr, { maxLength: 2 }),
      fc.array(address, { maxLength: 2 }),
      (text, nodes, flags, refused) => {
        // As an IPv4-mapped address the same one is not judged by its number.
        const filter = peerFilter(rules({ fromNodes: nodes, fromFlags: flags, refused }));
        assert.equal(filter(text).allowed, filter(`::ffff:${text}`).allowed, `${text} in ${nodes.join()}`);
      },
    ),
    { numRuns: 2000 },
  );
});
