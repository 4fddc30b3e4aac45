import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { importBreaches, machinePaths, missingReadmes, registryAddresses } from "./source-rules.ts";

const packages = new Map([
  ["@sluice/bus", "packages/bus"],
  ["@sluice/cli", "packages/cli"],
  ["@sluice/contracts", "packages/contracts"],
  ["@sluice/kube", "packages/kube"],
  ["@sluice/kube-sandbox", "packages/kube-sandbox"],
  ["@sluice/aggregator", "services/aggregator"],
  ["@sluice/propagator", "services/propagator"],
]);
const problems = (path: string, text: string) =>
  importBreaches([{ path, text }], packages).map((breach) => breach.problem);

const refused: Readonly<Record<string, readonly [path: string, text: string, says: RegExp]>> = {
  "a service that imports another": [
    "services/aggregator/src/a.ts",
    `import { propagator } from "@sluice/propagator";`,
    /never services\/propagator/,
  ],
  "a service that imports another's second door": [
    "services/aggregator/src/a.ts",
    `import "@sluice/propagator/testing";`,
    /never services\/propagator/,
  ],
  "a type of another service": [
    "services/aggregator/src/a.ts",
    `import type { P } from "@sluice/propagator";`,
    /never services\/propagator/,
  ],
  "a service that imports the sandbox, in a test too": [
    "services/aggregator/src/a.test.ts",
    `import { startSandbox } from "@sluice/kube-sandbox";`,
    /only scripts\/ and tests\//,
  ],
  "a package that imports the sandbox": [
    "packages/kube/src/a.test.ts",
    `const { startSandbox } = await import("@sluice/kube-sandbox");`,
    /only scripts\/ and tests\//,
  ],
  "a package that imports a service": [
    "packages/cli/src/parts.ts",
    `export { aggregator } from "@sluice/aggregator";`,
    /only packages\/cli\/src\/up\.ts/,
  ],
  "client-node outside packages/kube": [
    "services/aggregator/src/a.ts",
    `import { KubeConfig } from "@kubernetes/client-node";`,
    /only packages\/kube/,
  ],
  "a pure package that reads files": [
    "packages/contracts/src/a.ts",
    `import { readFileSync } from "node:fs";`,
    /no I\/O.*node:fs/,
  ],
  "a pure package that reads files, later and by promise": [
    "packages/ingress/src/a.ts",
    `async function read() {\n  return await import("node:fs/promises");\n}`,
    /no I\/O/,
  ],
  "a pure package that opens sockets": ["packages/contracts/src/a.ts", `import net from "net";`, /no I\/O/],
  "a relative import that leaves its package": [
    "packages/cli/src/a.ts",
    `import {\n  something,\n} from "../../bus/src/mod.ts";`,
    /leaves the package/,
  ],
  "a relative import from tests into a service": [
    "tests/e2e/a.test.ts",
    `import { x } from "../../services/aggregator/src/x.ts";`,
    /leaves the package/,
  ],
};
describe("imports refused", () => {
  for (const [what, [path, text, says]] of Object.entries(refused)) {
    test(what, () => {
      const found = problems(path, text);
      assert.equal(found.length, 1, found.join("; "));
      assert.match(found[0]!, says);
    });
  }
});

const allowed: Readonly<Record<string, readonly [path: string, text: string]>> = {
  "a service that imports packages": ["services/aggregator/src/a.ts", `import { v } from "@sluice/bus";`],
  "a service that imports its own name": [
    "services/aggregator/src/a.ts",
    `import "@sluice/aggregator/main";`,
  ],
  "what starts the services": ["packages/cli/src/up.ts", `import { aggregator } from "@sluice/aggregator";`],
  "tests that use the sandbox": ["tests/e2e/a.test.ts", `import { s } from "@sluice/kube-sandbox";`],
  "scripts that use the sandbox": ["scripts/world.ts", `import { s } from "@sluice/kube-sandbox";`],
  "the sandbox's own name within it": ["packages/kube-sandbox/src/a.ts", `import "@sluice/kube-sandbox";`],
  "client-node in packages/kube": ["packages/kube/src/a.ts", `await ${"import"}("@kubernetes/client-node");`],
  "a pure package's test that reads files": ["packages/contracts/src/a.test.ts", `import "node:fs";`],
  "what a pure package may: hashes": [
    "packages/contracts/src/a.ts",
    `import { createHash } from "node:crypto";`,
  ],
  "relative imports within a package": ["packages/cli/src/a/b.ts", `import { x } from "../c/d.ts";`],
  "an import in a comment": [
    "packages/cli/src/a.ts",
    `// import x from "@sluice/aggregator";\n/*\nimport "net";\n*/`,
  ],
  "an import in a text": ["packages/cli/src/a.ts", `const text = 'import x from "@sluice/aggregator"';`],
};
describe("imports allowed", () => {
  for (const [what, [path, text]] of Object.entries(allowed)) {
    test(what, () => assert.deepEqual(problems(path, text), []));
  }
});

test("a breach is told by file and line", () => {
  const text = `// two lines\n\nimport { a } from "@sluice/bus";\nimport { b } from "@sluice/aggregator";\n`;
  const [breach] = importBreaches([{ path: "packages/cli/src/a.ts", text }], packages);
  assert.deepEqual([breach?.path, breach?.line], ["packages/cli/src/a.ts", 4]);
});

test("a service or package without a README is missing one", () => {
  const found = missingReadmes(["packages/bus/README.md"], ["packages/bus", "services/aggregator", "tests"]);
  assert.deepEqual(
    found.map((breach) => breach.path),
    ["services/aggregator/README.md"],
  );
});

test("a document that names a folder of one machine is told; addresses and paths of a URL are not", () => {
  const own = ["/srv/checkouts/sluice", "/var/people/kim"];
  const lines = {
    "see /srv/checkouts/sluice/docs": true,
    "in /home/kim/sluice": true,
    "in `/Users/kim`": true,
    "run it in /root": true,
    "ask /readyz or /home": false,
    "https://example.test/home/kim": false,
    "see ../docs and docs/home/kim.md": false,
    "files in /etc/nginx and ~/.cache": false,
    "/rooted and /srv/checkouts/sluices": false,
  };
  const text = Object.keys(lines).join("\n");
  const found = machinePaths([{ path: "docs/guide.md", text }], own).map((breach) => breach.line);
  const expected = Object.values(lines).flatMap((wrong, index) => (wrong ? [index + 1] : []));
  assert.deepEqual(found, expected);
  assert.deepEqual(machinePaths([{ path: "scripts/a.ts", text }], own), []);
});

test("a lock file or a configuration that says from where to install is told", () => {
  const at = (path: string, text: string) => registryAddresses([{ path, text }]).length;
  assert.equal(
    at("pnpm-lock.yaml", "resolution: {integrity: sha512-a}\ndeprecated: see https://example.test"),
    0,
  );
  assert.equal(at("pnpm-lock.yaml", "resolution: {tarball: x.tgz}"), 1);
  assert.equal(at("pnpm-lock.yaml", "resolution: {integrity: sha512-a, url: https://example.test/a}"), 1);
  assert.equal(at("packages/bus/.npmrc", "registry=https://example.test/"), 1);
  assert.equal(at(".npmrc", "save-exact=true"), 0);
  assert.equal(at("docs/guide.md", "https://example.test"), 0);
});
