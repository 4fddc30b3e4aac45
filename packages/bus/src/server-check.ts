import { BusServerError } from "@sluice/contracts";

/** What a server says of itself when a client connects. */
export interface ServerInfo {
  readonly version: string;
  readonly jetstream?: boolean;
  readonly tls_required?: boolean;
  /** Name of the cluster that it is in, if it is in one. */
  readonly cluster?: string;
}

export interface ServerNeeds {
  /** Copies of each stream. */
  readonly replicas: number;
  /** The connection must be encrypted. */
  readonly tls: boolean;
}

type Version = readonly [major: number, minor: number, patch: number];

/** What Sluice uses of a server, and since when it is there and right. */
const features: readonly {
  readonly name: string;
  readonly since: Version;
  readonly needed: (needs: ServerNeeds) => boolean;
}[] = [
  {
    name: "consumers that are named and filtered in the subject of their request, so that it can be permitted",
    since: [2, 9, 0],
    needed: () => true,
  },
  { name: "reads of one key by its subject", since: [2, 9, 0], needed: () => true },
  {
    name: "tables that survive a server which is killed",
    since: [2, 9, 10],
    needed: () => true,
  },
  {
    name: "compare-and-set on replicated streams, which lost writes before",
    since: [2, 9, 21],
    needed: ({ replicas }) => replicas > 1,
  },
];

function parse(version: string): Version {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.+-]/).map(Number);
  return [major, minor, patch];
}

function older(version: Version, than: Version): boolean {
  const at = version.findIndex((part, i) => part !== than[i]);
  return at !== -1 && version[at]! < than[at]!;
}

/** Whether a server that says it is of this version is older than that one. */
export function isOlder(version: string, than: Version): boolean {
  return older(parse(version), than);
}

/** @throws BusServerError naming the server's version and what it lacks */
export function checkServer(info: ServerInfo, needs: ServerNeeds): void {
  const version = parse(info.version);
  const lacks = features.filter(({ since, needed }) => needed(needs) && older(version, since));
  const newest = lacks.map(({ since }) => since).reduce<Version>((a, b) => (older(a, b) ? b : a), [0, 0, 0]);
  if (lacks.length > 0) {
    throw new BusServerError(
      `nats-server ${info.version} lacks ${lacks.map(({ name }) => name).join("; ")}: ` +
        `use ${newest.join(".")} or later${needs.replicas > 1 ? ", or --nats-replicas 1" : ""}`,
    );
  }
  if (info.jetstream !== true) {
    throw new BusServerError(
      `nats-server ${info.version} runs without JetStream: start it with -js, or with jetstream in its configuration`,
    );
  }
  if (needs.replicas > 1 && info.cluster === undefined) {
    throw new BusServerError(
      `${needs.replicas} copies of each table are asked for, and nats-server ${info.version} is in no cluster: ` +
        "give --nats-replicas 1, or the addresses of a cluster",
    );
  }
  if (needs.tls && info.tls_required !== true) {
    throw new BusServerError("the connection to NATS is to be encrypted, and the server does not offer TLS");
  }
}
