// Peers that speak TLS, or gRPC, behind a real nginx: from objects and Secrets of a hub to requests.
import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import { createServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import type { TestContext } from "node:test";
import type { PeerCertificate, TLSSocket } from "node:tls";
import { MemoryServer } from "@sluice/bus/testing";
import { fleetKeys, type SecretRow } from "@sluice/contracts";
import { buildFleet, type KubeObject, ReadSecret } from "@sluice/ingress";
import { readPrivateKey, readPublicKey, seal, writeFleetKey } from "@sluice/sealing";
import { type TestAgent, testAgent, testFleet } from "./agent-world.ts";
import type { TestCertificate } from "./certificates.ts";
import { importedFrom } from "./imported.ts";
import { type TestNginx, testNginx } from "./proxy-world.ts";

/** A request as a peer saw it. */
export interface SeenRequest {
  readonly protocol: string;
  readonly host: string;
  readonly path: string;
  /** SNI; empty: none. */
  readonly name: string;
  /** Common name of the certificate that nginx showed; empty: none. */
  readonly client: string;
  /** Of the connection, counted from 1. */
  readonly connection: number;
}

export interface TestBackend {
  readonly address: string;
  readonly port: number;
  readonly seen: SeenRequest[];
  /** As a peer may at any time. */
  closeConnections(): void;
}

export interface BackendOptions {
  readonly certificate?: TestCertificate;
  /** PEM: clients must show a certificate that this authority has signed. */
  readonly clients?: string;
}

async function listening(t: TestContext, server: Server, address: string): Promise<number> {
  server.listen(0, address);
  await once(server, "listening");
  t.after(async () => {
    if ("closeAllConnections" in server) (server.closeAllConnections as () => void)();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });
  return (server.address() as AddressInfo).port;
}

function connectionsOf(server: Server, event: string): (socket: object) => number {
  const numbers = new WeakMap<object, number>();
  let count = 0;
  server.on(event, (socket: object) => numbers.set(socket, ++count));
  return (socket) => numbers.get(socket) ?? 0;
}

function tlsOf({ certificate, clients }: BackendOptions) {
  if (certificate === undefined) return {};
  return {
    key: certificate.key,
    cert: certificate.chain,
    ...(clients === undefined ? {} : { ca: clients, requestCert: true, rejectUnauthorized: true }),
  };
}

function seenOf(socket: TLSSocket): Pick<SeenRequest, "name" | "client"> {
  const shown = socket.getPeerCertificate() as Partial<PeerCertificate>;
  return { name: String(socket.servername || ""), client: String(shown.subject?.CN ?? "") };
}

/** Answers `hello` over HTTPS. */
export async function httpsBackend(
  t: TestContext,
  address: string,
  options: BackendOptions & { readonly certificate: TestCertificate },
): Promise<TestBackend> {
  const seen: SeenRequest[] = [];
  const server = createServer(tlsOf(options), (request, response) => {
    seen.push({
      protocol: request.httpVersion,
      host: request.headers.host ?? "",
      path: request.url ?? "",
      ...seenOf(request.socket as TLSSocket),
      connection: numberOf(request.socket),
    });
    response.end("hello");
  });
  const numberOf = connectionsOf(server, "secureConnection");
  // Of a handshake that nginx broke off, and of one that was refused.
  server.on("tlsClientError", () => {});
  const port = await listening(t, server, address);
  return { address, port, seen, closeConnections: () => server.closeAllConnections() };
}

/** Speaks gRPC: each message that comes is sent back, then the trailers; path `/refuse` ends with status 7. */
export async function grpcBackend(
  t: TestContext,
  address: string,
  options: BackendOptions = {},
): Promise<TestBackend> {
  const seen: SeenRequest[] = [];
  const server: http2.Http2Server | http2.Http2SecureServer =
    options.certificate === undefined ? http2.createServer() : http2.createSecureServer(tlsOf(options));
  const sessions = connectionsOf(server, "session");
  const open = new Set<http2.ServerHttp2Session>();
  server.on("session", (session) => {
    open.add(session);
    session.once("close", () => open.delete(session));
  });
  server.on("tlsClientError", () => {});
  server.on("stream", (stream, headers) => {
    const { session } = stream;
    const socket = session?.socket as TLSSocket | undefined;
    seen.push({
      protocol: "2",
      host: String(headers[":authority"] ?? headers["host"] ?? ""),
      path: String(headers[":path"]),
      ...(options.certificate === undefined || socket === undefined
        ? { name: "", client: "" }
        : seenOf(socket)),
      connection: session === undefined ? 0 : sessions(session),
    });
    const refused = headers[":path"] === "/refuse";
    stream.on("error", () => {});
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": refused ? "7" : "0" }));
    if (refused) stream.end();
    else stream.pipe(stream);
  });
  const closeConnections = () => {
    for (const session of open) session.destroy();
  };
  t.after(closeConnections);
  const port = await listening(t, server, address);
  return { address, port, seen, closeConnections };
}

/** A MultiClusterIngress in short: `shop/<name>` with one host and one path, to the backend of that name. */
export interface BackendIngress {
  readonly host: string;
  readonly backend: string;
  readonly path?: string;
  /** Behind `nginx.ingress.kubernetes.io/`. */
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface BackendWorld {
  readonly nginx: TestNginx;
  readonly agent: TestAgent;
  /** What is wrong with the objects, each in a line. */
  readonly verdicts: readonly string[];
  /**
   * These Secrets (null: the hub has none of that name; not here: nobody could look) and objects instead of those before;
   * resolves when nginx serves them.
   */
  show(
    secrets: Readonly<Record<string, Readonly<Record<string, string>> | null>>,
    ...given: readonly BackendIngress[]
  ): Promise<void>;
}

/** Routes go out in the order of their keys: it is the last. */
const SETTLED = "zzz.example.test";

function objectOf({ host, backend, path = "/", annotations = {} }: BackendIngress, at: number): KubeObject {
  return {
    metadata: {
      namespace: "shop",
      name: `ingress-${at}`,
      creationTimestamp: new Date(Date.UTC(2026, 0, 1 + at)).toISOString(),
      annotations: Object.fromEntries(
        Object.entries(annotations).map(([name, value]) => [`nginx.ingress.kubernetes.io/${name}`, value]),
      ),
    },
    spec: {
      ingressClassName: "nginx",
      rules: [
        {
          host,
          http: {
            paths: [
              { path, pathType: "Prefix", backend: { service: { name: backend, port: { number: 80 } } } },
            ],
          },
        },
      ],
    },
  };
}

function secretOf(name: string, data: Readonly<Record<string, string>>, version: number): ReadSecret {
  return new ReadSecret({
    metadata: { namespace: "shop", name, uid: name, resourceVersion: String(version) },
    data: Object.fromEntries(
      Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString("base64")]),
    ),
  });
}

/** @param backends addresses in 127.25.0.0/16 */
export async function backendWorld(
  t: TestContext,
  backends: Readonly<Record<string, readonly TestBackend[]>>,
): Promise<BackendWorld> {
  const nginx = await testNginx(t, { workers: 1, https: true, secretsMegabytes: 16 });
  const server = new MemoryServer();
  const fleet = testFleet(t, server);
  const files = await writeFleetKey(nginx.options.dir);
  const publicKey = await readPublicKey(files.publicFile);
  const privateKey = await readPrivateKey(files.privateFile);
  const agent = testAgent(nginx, server, { member1: ["127.25.0.0/16"] }, { fleetKeys: [privateKey] });
  const before = new Set<string>();
  let verdicts: readonly string[] = [];
  const known: string[] = [];
  let shown = 0;
  return {
    nginx,
    agent,
    get verdicts() {
      return verdicts;
    },
    async show(secrets, ...given) {
      // Its profile is new where objects are: then it waits for the same reload as they do.
      const said = JSON.stringify(given);
      if (!known.includes(said)) known.push(said);
      const annotations = { "proxy-read-timeout": String(1000 + known.indexOf(said)) };
      const mark = objectOf({ host: SETTLED, backend: "nobody", path: `/${++shown}`, annotations }, 1000);
      const built = buildFleet(
        {
          ingresses: [...given.map(objectOf), mark],
          ...importedFrom(backends),
          secrets: new Map(
            Object.entries(secrets).map(([name, data]) => [
              `shop/${name}`,
              data === null ? null : secretOf(name, data, shown),
            ]),
          ),
          now: Date.now(),
        },
        { fleet: "default", ingressClasses: ["nginx"], watchWithoutClass: false, servesTls: true },
      );
      verdicts = built.verdicts
        .filter(({ object }) => object.name !== mark.metadata.name)
        .map(({ object, reason, message }) => `${object.name} ${reason} ${message}`);
      const rows = new Map(built.rows);
      for (const [id, want] of built.secrets) {
        if (want.kind !== "row") continue;
        const { chain, notAfter, authorities, sealed } = want.contents;
        rows.set(fleetKeys.secret("default", id), {
          id,
          namespace: "shop",
          name: want.need.name,
          ...(chain === undefined ? {} : { chain }),
          ...(notAfter === undefined ? {} : { notAfter }),
          ...(authorities === undefined ? {} : { authorities }),
          ...(sealed === undefined ? {} : { sealed: await seal(publicKey, "default", id, sealed.reveal()) }),
        } satisfies SecretRow);
      }
      for (const key of before) if (!rows.has(key)) fleet.remove(key);
      before.clear();
      // Secrets first: routes name them.
      for (const [key, row] of [...rows].sort(
        ([a], [b]) => Number(b.includes(".secrets.")) - Number(a.includes(".secrets.")),
      )) {
        fleet.set(key, row);
        before.add(key);
      }
      await fleet.idle();
      await t.waitFor(
        async () => {
          const { status } = await nginx.get(`/${shown}`, { host: SETTLED, fresh: true });
          assert.equal(status, 503);
          const last = agent.records.at(-1);
          assert.deepEqual(
            [last?.problems, last?.rows.routes],
            [[], [...before].filter((key) => key.startsWith("default.routes.")).length],
          );
        },
        { timeout: 60_000, interval: 20 },
      );
    },
  };
}
