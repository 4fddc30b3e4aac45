import ipaddr from "ipaddr.js";

export type AddressVerdict = { readonly allowed: true } | { readonly allowed: false; readonly why: string };

type Address = ipaddr.IPv4 | ipaddr.IPv6;
export type Cidr = readonly [Address, number];

function parse(text: string): Address | null {
  // ipaddr.js reads "10.1" and octal parts as inet_aton does; an address here is one form only, and has no zone.
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text);
  if (!text.includes(":") || text.includes("%") || !ipaddr.IPv6.isValid(text)) return null;
  if (text.includes(".") && !ipaddr.IPv4.isValidFourPartDecimal(text.slice(text.lastIndexOf(":") + 1)))
    return null;
  const six = ipaddr.IPv6.parse(text);
  return six.isIPv4MappedAddress() ? six.toIPv4Address() : six;
}

/** @returns null when the text is no CIDR */
export function parseCidr(text: string): Cidr | null {
  const [, base, length] = /^([^/]+)\/([0-9]{1,3})$/.exec(text) ?? [];
  const address = base === undefined ? null : parse(base);
  const bits = Number(length);
  return address === null || bits > (address.kind() === "ipv4" ? 32 : 128) ? null : [address, bits];
}

function inside(address: Address, [base, bits]: Cidr): boolean {
  if (address.kind() !== base.kind()) return false;
  return address.kind() === "ipv4"
    ? (address as ipaddr.IPv4).match(base as ipaddr.IPv4, bits)
    : (address as ipaddr.IPv6).match(base as ipaddr.IPv6, bits);
}

/** The address as a number, or -1 where it is not IPv4 in its one form: four decimal parts without leading zeros. */
function ipv4Number(text: string): number {
  let value = 0;
  let part = -1;
  let parts = 1;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit >= 0 && digit <= 9) {
      if (part === 0) return -1;
      part = part < 0 ? digit : part * 10 + digit;
      if (part > 255) return -1;
    } else if (digit === -2 && part >= 0 && parts < 4) {
      value = value * 256 + part;
      part = -1;
      parts++;
    } else return -1;
  }
  return parts === 4 && part >= 0 ? value * 256 + part : -1;
}

/** Not link-local, multicast, unspecified or reserved: those only the slow way may judge. */
function isOrdinary(ipv4: number): boolean {
  return ipv4 >= 2 ** 24 && ipv4 < 224 * 2 ** 24 && Math.floor(ipv4 / 2 ** 16) !== 0xa9fe;
}

type Range = readonly [base: number, size: number];

function ipv4Ranges(cidrs: readonly Cidr[]): Range[] {
  return cidrs.flatMap(([base, bits]) => {
    const size = 2 ** (32 - bits);
    return base.kind() === "ipv4" ? [[Math.floor(ipv4Number(base.toString()) / size), size] as const] : [];
  });
}

const ALLOWED: AddressVerdict = { allowed: true };

const METADATA: readonly string[] = ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "168.63.129.16"];
/** Loopback peers are a trial's: a person must have written the range down, and none wider than a /16. */
const LOOPBACK_MIN_BITS = 16;

export interface PeerRules {
  /** CIDRs of the cluster: podCIDRs and addresses of its Nodes. A loopback range among them does not count. */
  readonly fromNodes: readonly string[];
  /** CIDRs that a person gave with `--peers`. */
  readonly fromFlags: readonly string[];
  /** Addresses that are refused whatever the ranges say: the hub's own. */
  readonly refused: readonly string[];
}

/** Whether `address` may be a peer of a cluster; compiled once per set of rules, asked for each endpoint. */
export function peerFilter(rules: PeerRules): (address: string) => AddressVerdict {
  const isLoopback = ([base]: Cidr) => base.range() === "loopback";
  const cidrs = (texts: readonly string[]) => texts.map(parseCidr).filter((cidr) => cidr !== null);
  const fromFlags = cidrs(rules.fromFlags);
  // Apart, because a range as wide as 0.0.0.0/0 holds loopback addresses without naming them.
  const loopback = fromFlags.filter((cidr) => isLoopback(cidr) && cidr[1] >= LOOPBACK_MIN_BITS);
  const others = [...cidrs(rules.fromNodes), ...fromFlags].filter((cidr) => !isLoopback(cidr));
  const refused = new Set(
    [...rules.refused, ...METADATA].map((text) => parse(text)?.toNormalizedString() ?? text),
  );
  const refusedNumbers = new Set([...refused].map(ipv4Number));
  const loopbackRanges = ipv4Ranges(loopback);
  const otherRanges = ipv4Ranges(others);
  const no = (why: string): AddressVerdict => ({ allowed: false, why });
  return (text) => {
    // Most addresses are ordinary and allowed, and each is asked for at every change of its service.
    const ipv4 = ipv4Number(text);
    if (isOrdinary(ipv4) && !refusedNumbers.has(ipv4)) {
      const ranges = Math.floor(ipv4 / 2 ** 24) === 127 ? loopbackRanges : otherRanges;
      for (const [base, size] of ranges) if (Math.floor(ipv4 / size) === base) return ALLOWED;
    }
    const address = parse(text);
    if (address === null) return no(`${text} is not an IP address`);
    if (refused.has(address.toNormalizedString()))
      return no(`${text} is never a peer (metadata service or the hub itself)`);
    const range = address.range();
    if (range === "linkLocal") return no(`${text} is link-local`);
    if (range === "multicast" || range === "broadcast") return no(`${text} is ${range}`);
    if (range === "unspecified") return no(`${text} is the unspecified address`);
    if (loopback.length + others.length === 0) {
      return no(`the cluster has no allowed peer CIDRs; give them with --peers NAME=CIDR`);
    }
    if (!(range === "loopback" ? loopback : others).some((cidr) => inside(address, cidr))) {
      return no(`${text} is outside the cluster's allowed peer CIDRs`);
    }
    return ALLOWED;
  };
}
