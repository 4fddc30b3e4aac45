import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { releaseSources } from "./debian-release.ts";
import { ensureTool, recentEnough } from "./ensure-tool.ts";
import { toolList } from "./tool-list.ts";

async function scratch(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "sluice-tools-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

async function script(path: string, lines: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\n${lines}\n`);
  await chmod(path, 0o755);
}

/** An apt-get that hands out one package holding a nats-server, once `update` was called when asked to. */
async function fakeApt(dir: string, needsUpdate: boolean): Promise<string> {
  const bin = join(dir, "bin");
  await mkdir(join(dir, "tree/usr/sbin"), { recursive: true });
  await mkdir(join(dir, "tree/DEBIAN"), { recursive: true });
  await mkdir(bin);
  await writeFile(
    join(dir, "tree/DEBIAN/control"),
    "Package: nats-server\nVersion: 2.9.10\nArchitecture: all\nMaintainer: shop <shop@example.test>\nDescription: a trial\n",
  );
  await script(join(dir, "tree/usr/sbin/nats-server"), "echo nats-server: v2.9.10");
  await promisify(execFile)("dpkg-deb", ["--build", join(dir, "tree"), join(dir, "nats.deb")]);
  await script(
    join(bin, "apt-get"),
    [
      `echo "$@" >> ${dir}/calls`,
      `case "$*" in *update*) touch ${dir}/updated; echo "E: one third-party source failed"; exit 100;; esac`,
      needsUpdate ? `[ -e ${dir}/updated ] || { echo "E: Unable to locate package"; exit 100; }` : "",
      `sleep 0.2; cp ${dir}/nats.deb ./nats.deb`,
    ].join("\n"),
  );
  return `${bin}:/usr/bin:/bin`;
}

const calls = async (dir: string) => (await readFile(join(dir, "calls"), "utf8")).trim().split("\n");

test("of many callers at once one fetches and all get the same tool", async (t) => {
  const dir = await scratch(t);
  const environment = { PATH: await fakeApt(dir, false) };
  const cacheDir = join(dir, "cache");
  const tools = await Promise.all(
    Array.from({ length: 5 }, () => ensureTool("nats-server", { signal: t.signal, cacheDir, environment })),
  );
  assert.equal(new Set(tools.map((tool) => tool.path)).size, 1);
  assert.equal(tools[0]?.source, "cache");
  assert.equal((await calls(dir)).length, 1);
  const platformDir = join(cacheDir, "tools", (await readdir(join(cacheDir, "tools")))[0]!);
  assert.deepEqual(await readdir(platformDir), ["nats-server"], "neither lock nor half a download stays");
});

test("old package lists are fetched anew into the cache, and one failing source does not matter", async (t) => {
  const dir = await scratch(t);
  const environment = { PATH: await fakeApt(dir, true) };
  const cacheDir = join(dir, "cache");
  const tool = await ensureTool("nats-server", { signal: t.signal, cacheDir, environment });
  assert.equal(tool.version, "2.9.10");
  const update = (await calls(dir)).find((line) => line.includes("update")) ?? "";
  assert.match(update, new RegExp(`Dir::State::Lists=${cacheDir}/apt/lists`));
  assert.match(update, /APT::Sandbox::User=root/);
});

test("a lock whose holder is gone keeps nobody waiting", async (t) => {
  const dir = await scratch(t);
  const environment = { PATH: await fakeApt(dir, false) };
  const cacheDir = join(dir, "cache");
  const first = await ensureTool("nats-server", { signal: t.signal, cacheDir, environment });
  const root = first.path.slice(0, -"/usr/sbin/nats-server".length);
  await rm(root, { recursive: true });
  const gone = execFile("true");
  await new Promise((resolve) => gone.once("exit", resolve));
  await writeFile(`${root}.lock`, `${gone.pid}\n`);
  const again = await ensureTool("nats-server", { signal: t.signal, cacheDir, environment });
  assert.equal(again.path, first.path);
});

test("a tool that cannot be had is an error that names the command to install it", async (t) => {
  const dir = await scratch(t);
  await mkdir(join(dir, "bin"));
  await assert.rejects(
    ensureTool("nats-server", {
      signal: t.signal,
      cacheDir: join(dir, "cache"),
      environment: { PATH: join(dir, "bin") },
    }),
    { code: "SLUICE_TOOL_MISSING", message: /install it: sudo apt-get install nats-server/ },
  );
});

test("a variable that names a program that will not do is an error, not a reason to take another", async (t) => {
  const dir = await scratch(t);
  await script(join(dir, "nats-server"), "echo nats-server: v2.1.0");
  await assert.rejects(
    ensureTool("nats-server", {
      signal: t.signal,
      environment: { ...process.env, NATS_SERVER: join(dir, "nats-server") },
    }),
    { code: "SLUICE_TOOL_MISSING", message: /NATS_SERVER=.* is 2\.1\.0, older than 2\.9/ },
  );
});

for (const [said, why] of [
  ["nginx version: nginx/1.18.0", /SLUICE_NGINX=\S+: \S+ is 1\.18\.0, older than 1\.22/],
  ["nginx version: nginx/2.0.1", /SLUICE_NGINX=\S+: \S+ is 2\.0\.1, a version that is not known here/],
  ["nginx version: nginx/of-the-shop", /says no version but "nginx version: nginx\/of-the-shop"/],
] as const) {
  test(`an nginx that says "${said}" is refused by name`, async (t) => {
    const dir = await scratch(t);
    // It takes every configuration: only its version speaks against it.
    await script(join(dir, "nginx"), `[ "$1" != -v ] || echo "${said}" >&2`);
    await assert.rejects(
      ensureTool("nginx", {
        signal: t.signal,
        environment: { ...process.env, SLUICE_NGINX: join(dir, "nginx") },
      }),
      { code: "SLUICE_TOOL_MISSING", message: why },
    );
  });
}

test("another release's sources are on the mirrors of this one, and nobody else's", () => {
  const uris = [
    "'http://mirror.example.test/debian/dists/bookworm/InRelease' a 0",
    "'http://mirror.example.test/debian/dists/bookworm/main/binary-amd64/Packages.xz' b 0",
    "'http://mirror.example.test/debian/dists/bookworm-updates/InRelease' c 0",
    "'http://mirror.example.test/security/dists/bookworm-security/InRelease' d 0",
    "'http://mirror.example.test/debian/dists/bookworm-backports/InRelease' e 0",
    "'http://shop.example.test/dists/nodistro/InRelease' f 0",
  ].join("\n");
  const stanza = (uri: string, suite: string) =>
    `Types: deb\nURIs: http://mirror.example.test/${uri}\nSuites: ${suite}\nComponents: main\nTargets: Packages\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n`;
  assert.equal(
    releaseSources(uris, "bookworm", "trixie"),
    [
      stanza("debian", "trixie"),
      stanza("debian", "trixie-updates"),
      stanza("security", "trixie-security"),
    ].join("\n"),
  );
  assert.equal(releaseSources(uris, "noble", "trixie"), "");
});

test("packages are taken under the names that they have where this runs", async (t) => {
  const dir = await scratch(t);
  const environment = { PATH: await fakeApt(dir, false) };
  // As on a release that has renamed one of them: apt hands out nothing where it does not know a name.
  const apt = join(dir, "bin/apt-get");
  await writeFile(
    apt,
    (await readFile(apt, "utf8")).replace(
      "sleep 0.2",
      'case "$*" in *libluajit2-5.1-2*) echo "E: no candidate"; exit 100;; esac; sleep 0.2',
    ),
  );
  const wanted = ensureTool("wrk", { signal: t.signal, cacheDir: join(dir, "cache"), environment });
  await assert.rejects(wanted, { message: /not fetched yet/ });
  assert.match((await calls(dir)).at(-1) ?? "", /download wrk libluajit-5\.1-2$/);
});

test("a recent program on PATH is taken as it is", async (t) => {
  const dir = await scratch(t);
  await script(join(dir, "nats-server"), "echo nats-server: v2.12.1");
  const tool = await ensureTool("nats-server", { signal: t.signal, environment: { PATH: dir } });
  assert.deepEqual([tool.source, tool.path, tool.env], ["path", join(dir, "nats-server"), {}]);
});

test("versions compare as numbers", () => {
  assert.ok(recentEnough("2.10.1", [2, 9]));
  assert.ok(recentEnough("3.0", [2, 9]));
  assert.ok(!recentEnough("2.8.9", [2, 9]));
});

// Against Debian's own packages: proves the list itself, whatever this machine has installed.
for (const name of ["nginx", "nats-server", "wrk"] as const) {
  test(`the packages listed for ${name} run from the cache`, async (t) => {
    const dir = await scratch(t);
    const tool = await ensureTool(name, {
      signal: t.signal,
      cacheDir: process.env["SLUICE_TEST_FRESH"] === "1" ? dir : join(tmpdir(), "sluice-test-tools"),
      // Without sbin on PATH an installed nginx is still found; the list must hold then as well.
      environment: { HOME: dir, PATH: "/usr/bin:/bin" },
    });
    assert.match(tool.version, /^[0-9]+\.[0-9]+/);
    assert.ok(tool.path.endsWith(toolList[name].binary.split("/").at(-1)!));
    if (name === "nginx" && tool.source === "cache") {
      assert.equal(tool.modules.loadModules.length, 2);
      assert.match(tool.modules.luaPackagePath, /lua\/5\.1\/\?\.lua$/);
    }
  });
}
