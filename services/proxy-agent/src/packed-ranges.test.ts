import assert from "node:assert/strict";
import { BlockList, isIPv6 } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { type PackedRanges, packRanges } from "./packed-ranges.ts";
import { luaProbe } from "./testing/lua-probe.ts";

interface Question {
  readonly ranges: PackedRanges;
  readonly addresses: readonly string[];
}

/** An IPv4 address in hexadecimal. */
const hex4 = (text: string) => Buffer.from(text.split(".").map(Number)).toString("hex");

function hex6(text: string): string {
  const [left = "", right = ""] = new URL(`http://[${text}]`).hostname.slice(1, -1).split("::");
  const groups = (part: string) => part.split(":").filter((group) => group !== "");
  const [before, after] = [groups(left), groups(right)];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => "0");
  return [...before, ...zeros, ...after].map((group) => group.padStart(4, "0")).join("");
}

const four = fc.oneof(
  fc.ipV4(),
  fc
    .tuple(fc.constantFrom("10.0.0", "10.0.1", "255.255.255", "0.0.0"), fc.nat(255))
    .map((parts) => parts.join(".")),
);
const six = fc
  .oneof(
    fc.ipV6().filter((text) => !text.includes(".")),
    fc
      .tuple(fc.constantFrom("2001:db8::", "2001:db8:0:1::", "::", "ffff::"), fc.nat(0xffff))
      .map(([net, n]) => net + n.toString(16)),
  )
  .filter((text) => !hex6(text).startsWith("00000000000000000000ffff"));
const cidr = fc.oneof(
  fc.tuple(four, fc.integer({ min: 0, max: 32 })),
  fc.tuple(six, fc.integer({ min: 0, max: 128 })),
);

test("an address is found in ranges exactly where Node finds it", { timeout: 120_000 }, async (t) => {
  const ask = await luaProbe<Question>(t, "ranges");
  await fc.assert(
    fc.asyncProperty(
      fc.array(cidr, { maxLength: 40 }),
      fc.array(fc.oneof(four, six), { minLength: 1, maxLength: 40 }),
      async (cidrs, others) => {
        // As in nginx ::/0 holds no IPv4 address: Node would say otherwise.
        const lists = { ipv4: new BlockList(), ipv6: new BlockList() };
        const family = (text: string) => (isIPv6(text) ? "ipv6" : "ipv4");
        for (const [address, bits] of cidrs) lists[family(address)].addSubnet(address, bits, family(address));
        // The addresses of the ranges themselves lie at their edges often enough.
        const addresses = [...others, ...cidrs.map(([address]) => address)];
        const answer = await ask({
          ranges: packRanges(cidrs.map((pair) => pair.join("/"))),
          addresses: addresses.map((text) => (isIPv6(text) ? hex6(text) : hex4(text))),
        });
        const expected = addresses.map((text) => lists[family(text)].check(text, family(text)));
        assert.deepEqual(answer, { inside: expected });
      },
    ),
    { numRuns: 300 },
  );
});

test("an IPv4 address in IPv6 is one, a socket's is in no range, and ten thousand ranges are searched", async (t) => {
  const ask = await luaProbe<Question>(t, "ranges");
  const inside = async (cidrs: readonly string[], ...addresses: string[]) =>
    ((await ask({ ranges: packRanges(cidrs), addresses })) as { inside: boolean[] }).inside;
  const mapped = `00000000000000000000ffff${hex4("10.1.2.3")}`;
  const socket = Buffer.from("unix:").toString("hex");
  assert.deepEqual(await inside(["10.0.0.0/8"], mapped, hex4("10.1.2.3"), hex4("11.1.2.3"), socket), [
    true,
    true,
    false,
    false,
  ]);
  assert.deepEqual(await inside(["::/0"], mapped, hex6("::1"), socket), [false, true, false]);
  assert.deepEqual(await inside([], hex4("10.0.0.1"), hex6("::1"), socket), [false, false, false]);
  // Every other address, so that none of them join.
  const many = Array.from({ length: 10_000 }, (_, i) => `10.0.${i >> 7}.${(i & 127) * 2}/32`);
  const asked = [0, 1, 2, 5000, 9999].map((i) => `10.0.${i >> 7}.${(i & 127) * 2}`);
  assert.deepEqual(await inside(many, ...asked.map(hex4)), [true, true, true, true, true]);
  const next = asked.map((text) => text.replace(/\d+$/, (last) => String(Number(last) + 1)));
  assert.deepEqual(await inside(many, ...next.map(hex4)), [false, false, false, false, false]);
});

test("ranges that touch and overlap are one, in whatever order they come", () => {
  const whole = packRanges(["10.0.0.0/8"]);
  assert.deepEqual(packRanges(["10.128.0.0/9", "10.1.0.0/16", "10.0.0.0/9", "10.0.0.0/8"]), whole);
  assert.deepEqual(packRanges(["nonsense", "10.0.0.0/8"]), whole);
  assert.deepEqual(packRanges([]), {});
});
