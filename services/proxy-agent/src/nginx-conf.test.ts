import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { defaultSettings } from "@sluice/ingress";
import { ensureTool, freePort } from "@sluice/native-tools";
import { defaultCertificateOf, ensureDefaultCertificate } from "./default-certificate.ts";
import { type NginxConf, nginxConf } from "./nginx-conf.ts";
import {
  directive,
  listenAddress,
  locationName,
  lua,
  number,
  quoted,
  render,
  unixSocket,
} from "./nginx-text.ts";

const plain: NginxConf = {
  dir: "/var/lib/sluice/proxy",
  httpAddress: "127.0.0.1:31590",
  version: "1.22.1",
  workers: 2,
  loadModules: [
    "load_module /usr/lib/nginx/modules/ndk_http_module.so;",
    "load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;",
  ],
  luaPackagePath: "/usr/share/lua/5.1/?.lua",
  luaPackageCpath: "/usr/lib/lua/5.1/?.so",
  settingsFile: "/var/lib/sluice/proxy/settings-0123456789abcdef.json",
  asRoot: false,
  rowsMegabytes: 64,
  secretsMegabytes: 128,
  firstByteTimeoutMs: 0,
  shutdownTimeoutMs: 240_000,
  listeners: {},
  profiles: new Map([["default", defaultSettings]]),
};

const cases: Record<string, NginxConf> = {
  default: plain,
  https: {
    ...plain,
    https: { address: "127.0.0.1:31591", ...defaultCertificateOf(plain.dir) },
    profiles: new Map([
      ["default", defaultSettings],
      ["a1", { ...defaultSettings, guards: true, filters: true, clientFacts: "whole" }],
      ["b2", { ...defaultSettings, rewrites: true, clientFacts: "names" }],
    ]),
  },
  listeners: {
    ...plain,
    https: { address: "127.0.0.1:31591", ...defaultCertificateOf(plain.dir) },
    clients: { from: ["10.0.0.0/8"], proxyProtocol: true, proxyProtocolFirst: true, forwardedHeaders: true },
    accessLog: "file",
    listeners: {
      tlsProtocols: "TLSv1.3",
      tlsCiphers: "HIGH:!aNULL:!MD5",
      tlsCurves: "X25519:P-256",
      tlsSessionCacheBytes: 2 ** 20,
      tlsSessionSeconds: 60,
      tlsSessionTickets: true,
      tlsBufferBytes: 16_384,
      http2: false,
      http2Streams: 64,
      keepAliveMs: 20_000,
      keepAliveRequests: 100,
      headerTimeoutMs: 10_000,
      headerBufferBytes: 2048,
      largeHeaderBuffers: "8 16384",
      bodyTimeoutMs: 15_000,
      versionTold: true,
      peerConnections: 64,
      peerIdleMs: 30_000,
      peerRequests: 1000,
      peerLifeMs: 600_000,
    },
  },
  "first-byte-limit": { ...plain, firstByteTimeoutMs: 2000, workers: 4 },
  profiles: {
    ...plain,
    profiles: new Map([
      ["default", defaultSettings],
      ["b2", { ...defaultSettings, readTimeoutMs: 3_600_000, responseBuffering: false }],
      ["a1", { ...defaultSettings, maxBodyBytes: 0, requestBuffering: false }],
      [
        "c3",
        {
          ...defaultSettings,
          bodyBufferBytes: 65_536,
          bufferBytes: 16_384,
          buffers: 2,
          httpVersion: "1.0",
          nextUpstream: "error http_503 non_idempotent timeout",
          nextTries: 2,
          nextTimeoutMs: 1000,
        },
      ],
      ["d4", { ...defaultSettings, rewrites: true }],
    ]),
  },
};

/** nginx's own judgement, warnings among it, with the paths of this machine in the place of the ones in the golden file. */
async function accepted(t: TestContext, conf: NginxConf, version?: string): Promise<void> {
  const tool = await ensureTool("nginx", { signal: t.signal });
  const dir = await mkdtemp(join(tmpdir(), "sluice-golden-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  await mkdir(join(dir, "temp"));
  const httpAddress = `127.0.0.1:${await freePort()}`;
  const https = { address: `127.0.0.1:${await freePort()}`, ...defaultCertificateOf(dir) };
  if (conf.https !== undefined) await ensureDefaultCertificate(dir);
  const here = nginxConf({
    ...conf,
    ...tool.modules,
    dir,
    httpAddress,
    version: version ?? tool.version,
    ...(conf.https === undefined ? {} : { https }),
  });
  await writeFile(join(dir, "nginx.conf"), here);
  // Not `-q`: it would keep warnings to itself.
  const args = ["-t", "-p", dir, "-e", join(dir, "error.log"), "-c", join(dir, "nginx.conf")];
  const { stderr } = await promisify(execFile)(tool.path, args, { env: { ...process.env, ...tool.env } });
  const said = stderr.trim().split("\n");
  assert.deepEqual(
    said.filter((line) => !/: (the )?configuration file \S+ (syntax is ok|test is successful)$/.test(line)),
    [],
  );
}

for (const [name, conf] of Object.entries(cases)) {
  test(`nginx.conf of case ${name} is as reviewed, and nginx takes it`, async (t) => {
    t.assert.fileSnapshot(nginxConf(conf), join(import.meta.dirname, "testdata/golden", `${name}.conf`), {
      serializers: [(text: string) => text],
    });
    await accepted(t, conf);
  });
}

test("what is written for another version of nginx is refused or warned of", async (t) => {
  const { version } = await ensureTool("nginx", { signal: t.signal });
  const [old, other] = /^1\.2[0-4]\./.test(version) ? [true, "1.26.3"] : [false, "1.22.1"];
  const problem = old ? /unknown directive "http2"/ : /the "listen \.\.\. http2" directive is deprecated/;
  await assert.rejects(accepted(t, { ...plain, ...cases["https"] }, other), problem);
});

test("HTTP/2 is a word of listen, and a directive where nginx knows it as one", () => {
  const text = (version: string) => nginxConf({ ...plain, ...cases["https"], version });
  for (const version of ["1.22.1", "1.24.0", "1.25.0"]) {
    assert.match(text(version), /listen 127\.0\.0\.1:31591 ssl http2 default_server;/, version);
    assert.doesNotMatch(text(version), /http2 on;/, version);
  }
  for (const version of ["1.25.1", "1.26.0", "1.27.3", "2.0.0"]) {
    assert.match(text(version), /listen 127\.0\.0\.1:31591 ssl default_server;\n {4}http2 on;/, version);
  }
});

test("no text from outside becomes a directive", () => {
  const hostile = ['a"; } server { listen 1;', "a\nb", "$host", "a\0b", "{", "}"];
  for (const text of hostile) {
    const made = () => render([directive("pid", [quoted(text)])]);
    try {
      assert.match(made(), /^pid "(?:[^"\\]|\\.)*";\n$/);
    } catch (error) {
      assert.ok(error instanceof RangeError);
    }
    assert.throws(() => listenAddress(text), RangeError);
    assert.throws(() => locationName("@profile_", text), RangeError);
  }
  for (const text of ['x") os.execute("', "a\\", "a\nb", "}"]) {
    assert.throws(() => lua("init_by_lua_block")`f(${text})`, RangeError);
  }
  assert.throws(() => number(1.5), RangeError);
  assert.throws(() => number(-1), RangeError);
  assert.throws(() => unixSocket(`/${"x".repeat(107)}`), RangeError);
  assert.throws(() => listenAddress("127.0.0.1:70000"), RangeError);
});
