import { setTimeout as delay } from "node:timers/promises";
import { freePort } from "@sluice/native-tools";
import {
  type NginxRow,
  type TestCertificate,
  testAuthority,
  testCertificate,
} from "@sluice/proxy-agent/testing";
import { Asker } from "./asker.ts";
import { type BenchResult, percentile, thisMachine, writeRaw } from "./bench-result.ts";
import { shakeHands } from "./handshake.ts";
import { type NginxStage, startNginxStage } from "./nginx-stage.ts";
import { servePeer } from "./peer-server.ts";

export interface ChurnOptions {
  readonly signal: AbortSignal;
  /** Of each kind. */
  readonly changes: number;
  /** Requests a second that go on meanwhile. */
  readonly load: number;
  /** Is done to nginx between endpoints and routes: a fault that the figures must show. */
  plant?(nginx: NginxStage, seen: { readonly failed: number }): Promise<void>;
  log(line: string): void;
}

const HOSTS = 100;
const PEERS = 4;
const CERTIFICATES = 8;
const LOAD_CONNECTIONS = 4;
/** Between two changes, ms. */
const PAUSE_MS = 5;
/** A change that no request has met by then is lost, ms. */
const LOST_MS = 5000;

const addressOf = (n: number) => `127.0.0.${(n % PEERS) + 1}`;
const hostOf = (n: number) => `h${n}.example.test`;

interface Change {
  readonly kind: "endpoint" | "route" | "certificate";
  readonly host: string;
  /** From sending the rows to the end of the first answer (or handshake) of whom they name, ms. */
  readonly ms: number;
  /** The same request (or handshake) once more, ms: what of it is not the change. */
  readonly againMs: number;
  /** Answers of whom it was before, after nginx had said that it has the rows. */
  readonly early: number;
}

/** Requests to all hosts in turn, so many a second; counts those that nobody answered well. */
class Load {
  requests = 0;
  failed = 0;
  firstFailure = "";
  readonly #askers: Asker[];

  constructor(url: string) {
    this.#askers = Array.from({ length: LOAD_CONNECTIONS }, () => new Asker(url));
  }

  async run(perSecond: number, signal: AbortSignal): Promise<void> {
    await Promise.all(this.#askers.map((asker, i) => this.#ask(asker, i, perSecond, signal)));
    for (const asker of this.#askers) asker[Symbol.dispose]();
  }

  async #ask(asker: Asker, first: number, perSecond: number, signal: AbortSignal): Promise<void> {
    const began = performance.now();
    const everyMs = (1000 * LOAD_CONNECTIONS) / perSecond;
    for (let n = 0; !signal.aborted; n++) {
      const host = hostOf((first + n * LOAD_CONNECTIONS) % HOSTS);
      this.note(host, await asker.ask(host));
      const wait = began + (n + 1) * everyMs - performance.now();
      if (wait > 0) await delay(wait, undefined, { signal }).catch(() => {});
    }
  }

  note(host: string, body: string): void {
    this.requests++;
    if (/^127\.0\.0\.[1-4]$/.test(body)) return;
    this.failed++;
    this.firstFailure ||= `${host}: ${JSON.stringify(body)}`;
  }
}

/** Endpoints, routes and certificates change one by one while requests go on. */
export async function churn({ signal, changes, load, plant, log }: ChurnOptions): Promise<BenchResult> {
  await using stack = new AsyncDisposableStack();
  const port = await freePort();
  stack.use(await servePeer("0.0.0.0", port));
  const nginx = stack.use(await startNginxStage(signal));
  const peers = (id: string, peer: number): NginxRow => ({
    k: "peers",
    upstream: id,
    cluster: "member1",
    peers: [[addressOf(peer), port, 1]],
  });
  const route = (host: number, id: string): NginxRow => ({
    k: "route",
    host: hostOf(host),
    paths: [["P", "/", id, "default"]],
    certificate: `own-${host}`,
  });
  const authority = await testAuthority("bench");
  const made = await Promise.all(
    Array.from({ length: CERTIFICATES }, () => testCertificate(authority, ["*.example.test"])),
  );
  const certificate = (turn: number) => made[turn % CERTIFICATES] as TestCertificate;
  const secret = (host: number, { chain, key }: TestCertificate): NginxRow => ({
    k: "secret",
    id: `own-${host}`,
    chain,
    key,
  });
  // Each host has an upstream of its own, whose peer changes, and there is one for each peer, which routes change to.
  const rows: NginxRow[] = [];
  for (let n = 0; n < PEERS; n++) rows.push({ k: "upstream", id: `fixed-${n}` }, peers(`fixed-${n}`, n));
  for (let n = 0; n < HOSTS; n++) {
    rows.push({ k: "upstream", id: `own-${n}` }, peers(`own-${n}`, 0));
    rows.push(secret(n, certificate(0)), route(n, `own-${n}`));
  }
  await nginx.apply(rows);

  const workers = await nginx.workers();
  const before = await nginx.client.state(signal);
  const stop = new AbortController();
  const meanwhile = new Load(`http://${nginx.httpAddress}/`);
  const loading = meanwhile.run(load, AbortSignal.any([signal, stop.signal]));
  using asker = new Asker(`http://${nginx.httpAddress}/`);
  using api = new Asker(nginx.socketPath);
  const seen: Change[] = [];
  let lost = 0;
  const change = async (kind: Change["kind"], host: string, row: NginxRow, to: string) => {
    const ask = async () => {
      if (kind === "certificate") return shakeHands(nginx.httpsAddress, host);
      const body = await asker.ask(host);
      meanwhile.note(host, body);
      return body;
    };
    const one = await firstAnswer(api, ask, row, to);
    if (one === null) lost++;
    else seen.push({ kind, host, ...one });
    await delay(PAUSE_MS, undefined, { signal });
  };
  for (let n = 0; n < changes; n++) {
    const host = n % HOSTS;
    const turn = Math.floor(n / HOSTS) + 1;
    await change("endpoint", hostOf(host), peers(`own-${host}`, turn), addressOf(turn));
  }
  log(`${changes} endpoints have changed`);
  await plant?.(nginx, meanwhile);
  // By now the peer of each host's own upstream is known, and the first route must name another.
  const last = Math.floor((changes - 1) / HOSTS) + 1;
  for (let n = 0; n < changes; n++) {
    const host = n % HOSTS;
    const turn = last + 1 + Math.floor(n / HOSTS);
    await change("route", hostOf(host), route(host, `fixed-${turn % PEERS}`), addressOf(turn));
  }
  log(`${changes} routes have changed`);
  for (let n = 0; n < changes; n++) {
    const host = n % HOSTS;
    const next = certificate(1 + Math.floor(n / HOSTS));
    await change("certificate", hostOf(host), secret(host, next), next.serial);
  }
  log(`${changes} certificates have changed`);
  stop.abort();
  await loading;
  const after = await nginx.client.state(signal);
  const reloaded =
    (await nginx.workers()).some((pid) => !workers.includes(pid)) || after.config !== before.config;
  if (meanwhile.failed > 0) log(`the first request that failed: ${meanwhile.firstFailure}`);
  const all = (kind: Change["kind"]) => seen.filter((each) => each.kind === kind).map(({ ms }) => ms);
  const again = (...kinds: Change["kind"][]) =>
    seen.filter(({ kind }) => kinds.includes(kind)).map(({ againMs }) => againMs);
  return {
    bench: "churn",
    figures: {
      reloads: reloaded ? 1 : 0,
      failed: meanwhile.failed,
      requests: meanwhile.requests,
      lost,
      endpoint_p50_ms: percentile(all("endpoint"), 0.5),
      endpoint_p99_ms: percentile(all("endpoint"), 0.99),
      route_p50_ms: percentile(all("route"), 0.5),
      route_p99_ms: percentile(all("route"), 0.99),
      certificate_p50_ms: percentile(all("certificate"), 0.5),
      certificate_p99_ms: percentile(all("certificate"), 0.99),
      again_p50_ms: percentile(again("endpoint", "route"), 0.5),
      again_p99_ms: percentile(again("endpoint", "route"), 0.99),
      handshake_again_p50_ms: percentile(again("certificate"), 0.5),
      handshake_again_p99_ms: percentile(again("certificate"), 0.99),
      p99_ms: percentile([...all("endpoint"), ...all("route")], 0.99),
      early: seen.reduce((sum, { early }) => sum + early, 0),
    },
    goals: { reloads: 0, failed: 0, lost: 0, p99_ms: 2 },
    samples: seen.length,
    raw: await writeRaw("churn", seen),
    machine: thisMachine(),
  };
}

/** @returns null when nobody has answered from there in time */
async function firstAnswer(
  api: Asker,
  ask: () => Promise<string>,
  row: NginxRow,
  to: string,
): Promise<Pick<Change, "ms" | "againMs" | "early"> | null> {
  const began = performance.now();
  const answer = await api.post("/apply", JSON.stringify({ rows: [row] }));
  if (!answer.includes('"revision"') || answer.includes('"refused"'))
    throw new Error(`nginx said: ${answer}`);
  for (let early = 0; performance.now() - began < LOST_MS; early++) {
    if ((await ask()) !== to) continue;
    const ms = performance.now() - began;
    const again = performance.now();
    await ask();
    return { ms, againMs: performance.now() - again, early };
  }
  return null;
}
