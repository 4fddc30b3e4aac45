import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { writeCertificates } from "./certificates.ts";
import { ensureTool } from "./ensure-tool.ts";

async function scratch(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "sluice-cluster-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

test("certificates are for loopback, signed by an authority of their own, and only their owner reads the key", async (t) => {
  const files = await writeCertificates(join(await scratch(t), "certificates"));
  const [ca, cert] = await Promise.all(
    [files.ca, files.cert].map(async (file) => new X509Certificate(await readFile(file))),
  );
  assert.ok(cert?.verify(ca!.publicKey));
  assert.equal(cert?.checkIP("127.0.0.1"), "127.0.0.1");
  assert.equal(cert?.checkHost("example.test"), undefined);
  assert.ok(ca?.ca && !cert?.ca);
  assert.equal((await stat(files.key)).mode & 0o777, 0o600);
});

test("a server for a cluster that cannot be built is an error that says what to install", async (t) => {
  const dir = await scratch(t);
  await assert.rejects(
    ensureTool("nats-server-cluster", {
      signal: t.signal,
      cacheDir: join(dir, "cache"),
      environment: { PATH: join(dir, "bin") },
    }),
    { code: "SLUICE_TOOL_MISSING", message: /go install .*install it: Go 1\.24 or later/ },
  );
});

test("a server that is too old for a cluster is refused by its version, even where it is named", async (t) => {
  const old = await ensureTool("nats-server", { signal: t.signal });
  const tooOld = old.version.startsWith("2.9.");
  const wanted = ensureTool("nats-server-cluster", {
    signal: t.signal,
    environment: { PATH: "", NATS_SERVER: old.path },
  });
  if (tooOld) await assert.rejects(wanted, { message: /older than 2\.12/ });
  else assert.equal((await wanted).path, old.path);
});
