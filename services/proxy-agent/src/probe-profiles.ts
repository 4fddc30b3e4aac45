import { randomUUID } from "node:crypto";
import { createServer, request, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { connect as connectTls } from "node:tls";
import { type Clock, slept } from "@sluice/service-kit";
import type { NginxClient } from "./nginx-client.ts";
import { type NginxRow, removal } from "./nginx-row.ts";
import type { NginxOptions } from "./prepare-nginx.ts";
import { clientTrustOf } from "./proxy-settings.ts";
import type { ReloadCheck } from "./reload-nginx.ts";

interface ProbePorts {
  readonly nginx: NginxClient;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export interface ProbeFailure {
  readonly why: string;
  /** Name of the profile through whose location nginx did not answer. */
  readonly profile?: string;
}

/** Milliseconds for an answer. */
const ANSWER_MS = 5000;
const PAUSE_MS = 100;
/** Requests at a time. */
const AT_ONCE = 8;
const UPSTREAM = "sluice-probe";
const CLUSTER = "sluice-probe";
/** No client's: RFC 6761 keeps the name from ever being one's. */
const hostOf = (profile: string) => `${profile}.probe.invalid`;

/** Where clients come in. */
interface Door {
  readonly host: string;
  readonly port: number;
  /** They begin with a PROXY protocol header. */
  readonly announced: boolean;
  /** They speak TLS. */
  readonly secure: boolean;
}

/** A peer of our own: whoever reaches it has come the whole way through nginx. */
interface ProbePeer {
  readonly port: number;
  readonly word: string;
  /** Connections that it has taken. */
  readonly reached: () => number;
  close(): Promise<void>;
}

async function probePeer(): Promise<ProbePeer> {
  const word = randomUUID();
  let reached = 0;
  const server: Server = createServer((_, response) => response.end(word));
  server.on("connection", () => reached++);
  // Of one that is spoken to in another protocol.
  server.on("clientError", (_, socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    word,
    reached: () => reached,
    async close() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/**
 * Sends requests through the location of each profile, as a client would, to a peer of the agent's own: the routes that
 * lead there are rows, so that the configuration which is judged is the one that serves.
 * @returns the first profile that does not answer, or null
 */
export async function probeProfiles(
  options: Pick<NginxOptions, "httpAddress" | "httpsAddress" | "clients" | "listeners">,
  { probes, probationMs }: ReloadCheck,
  ports: ProbePorts,
): Promise<ProbeFailure | null> {
  const { nginx, clock, signal } = ports;
  const names = ["default", ...probes.filter((name) => name !== "default")];
  const peer = await probePeer();
  const { httpAddress, httpsAddress, listeners = {} } = options;
  const announced = clientTrustOf(options, listeners)?.proxyProtocol === true;
  const door: Door = { ...reachable(httpAddress), announced, secure: false };
  // With other suites or versions nginx may load and greet nobody.
  const tls = httpsAddress === undefined ? null : { ...reachable(httpsAddress), announced, secure: true };
  const rows = rowsFor(names, peer.port);
  try {
    const { instance } = await nginx.state(signal);
    const answer = await nginx.apply(rows, instance, signal);
    if (answer.restarted) return { why: "nginx ended while it was asked whether it answers" };
    const [refused] = answer.refused;
    if (refused !== undefined) return { why: `nginx would not be asked whether it answers: ${refused.why}` };
    const until = clock.monotonic() + probationMs;
    for (;;) {
      const failed =
        (await askAll(door, names, peer, signal)) ??
        (tls === null ? null : await askAll(tls, ["default"], peer, signal));
      if (failed !== null || clock.monotonic() >= until) return failed;
      await slept(clock, PAUSE_MS, signal);
    }
  } finally {
    try {
      const { instance } = await nginx.state(signal);
      await nginx.apply(rows.toReversed().map(removal), instance, signal);
    } finally {
      await peer.close();
    }
  }
}

function rowsFor(names: readonly string[], port: number): NginxRow[] {
  return [
    { k: "upstream", id: UPSTREAM },
    { k: "peers", upstream: UPSTREAM, cluster: CLUSTER, peers: [["127.0.0.1", port, 1]] },
    ...names.map(
      (name): NginxRow => ({ k: "route", host: hostOf(name), paths: [["P", "/", UPSTREAM, name]] }),
    ),
  ];
}

async function askAll(
  door: Door,
  names: readonly string[],
  peer: ProbePeer,
  signal: AbortSignal,
): Promise<ProbeFailure | null> {
  for (let at = 0; at < names.length; at += AT_ONCE) {
    const some = names.slice(at, at + AT_ONCE);
    const found = await Promise.all(some.map((name) => ask(door, name, peer, signal)));
    signal.throwIfAborted();
    const wrong = found.findIndex((why) => why !== null);
    if (wrong < 0) continue;
    const profile = some[wrong] as string;
    return { why: found[wrong] as string, ...(profile === "default" ? {} : { profile }) };
  }
  return null;
}

/** @returns what is wrong, or null */
async function ask(
  door: Door,
  profile: string,
  peer: ProbePeer,
  signal: AbortSignal,
): Promise<string | null> {
  const before = peer.reached();
  try {
    const { status, body } = await get(door, hostOf(profile), signal);
    if (status === 200 && body === peer.word) return null;
    // A location that speaks TLS or HTTP/2 to its peers cannot come to terms with ours, but it has to come to it.
    if ((status === 502 || status === 504) && peer.reached() > before) return null;
    return `${asked(door, profile)} was answered ${status}`;
  } catch (error) {
    signal.throwIfAborted();
    return `${asked(door, profile)} was not answered: ${(error as Error).message}`;
  }
}

function asked({ secure }: Door, profile: string): string {
  return `a request of the agent's own, ${secure ? "by TLS" : `through profile ${profile}`},`;
}

/** @param address as nginx listens */
function reachable(address: string): { host: string; port: number } {
  const at = address.lastIndexOf(":");
  const host = address.slice(0, at).replace(/^\[(.*)\]$/, "$1");
  const any: Readonly<Record<string, string>> = { "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1" };
  return { host: any[host] ?? host, port: Number(address.slice(at + 1)) };
}

function get(
  { host, port, announced, secure }: Door,
  name: string,
  signal: AbortSignal,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
    const createConnection = () => {
      const socket = connect({ host, port });
      // Where clients come through a load balancer that says so, one without a word of it is refused.
      if (announced) socket.write("PROXY UNKNOWN\r\n");
      // Whose certificate it is is nobody's question here.
      return secure ? connectTls({ socket, servername: name, rejectUnauthorized: false }) : socket;
    };
    const sent = request(
      { path: "/", headers: { host: name }, createConnection, signal: limit },
      (answer) => {
        let body = "";
        answer.on("data", (chunk: Buffer) => {
          body += chunk.toString();
        });
        answer.on("error", reject);
        answer.on("end", () => resolve({ status: answer.statusCode ?? 0, body }));
      },
    );
    sent.on("error", reject);
    sent.end();
  });
}
