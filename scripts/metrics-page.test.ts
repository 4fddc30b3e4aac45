import assert from "node:assert/strict";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Metrics } from "@sluice/service-kit";

const root = fileURLToPath(new URL("..", import.meta.url));
const page = `${root}docs/reference/metrics.md`;

interface Row {
  readonly name: string;
  readonly type: string;
  readonly labels: string;
  readonly help: string;
  readonly where: string;
}

const code = (names: readonly string[]) => names.map((name) => `\`${name}\``).join(", ");

/** What every process has, from the registry itself. */
async function common(): Promise<Row[]> {
  const { registry } = new Metrics("any");
  return (await registry.getMetricsAsJSON()).map(({ name, help, type }) => {
    const metric = registry.getSingleMetric(name) as unknown as { readonly labelNames: readonly string[] };
    return { name, type: String(type), labels: code(metric.labelNames), help, where: "every process" };
  });
}

/** What single services make when they need it: read from the calls, since a registry knows them only after that. */
function own(): Row[] {
  const call = /\.(counter|gauge|watched|histogram)\(\s*"(sluice_\w+)",\s*"([^"]+)"(?:,\s*\[([^\]]*)\])?/g;
  return globSync("{services,packages}/*/src/**/*.ts", {
    cwd: root,
    exclude: ["**/*.test.ts", "**/node_modules"],
  })
    .flatMap((path) =>
      [...readFileSync(root + path, "utf8").matchAll(call)].map(([, type, name, help, labels]) => ({
        name: name!,
        type: type === "watched" ? "gauge" : type!,
        labels: code([...(labels ?? "").matchAll(/"(\w+)"/g)].map((label) => label[1]!)),
        help: help!,
        where: path.split("/")[1]!,
      })),
    )
    .toSorted((a, b) => a.name.localeCompare(b.name));
}

async function render(): Promise<string> {
  const rows = [...(await common()), ...own()];
  return [
    "# Metrics",
    "",
    "What `/metrics` of a process shows, in base units; the label `service` is on all of them, and a process that is one",
    "service shows `process_*` and `nodejs_*` too. No label names a host, a peer or an object, but for Secrets of a thousand certificates.",
    "",
    "| metric | type | labels | what it says | shown by |",
    "|---|---|---|---|---|",
    ...rows.map((r) => `| \`${r.name}\` | ${r.type} | ${r.labels} | ${r.help} | ${r.where} |`),
    "",
  ].join("\n");
}

test("docs/reference/metrics.md lists every metric and no other", async () => {
  const expected = await render();
  if (process.env["UPDATE_DOCS"] === "1") writeFileSync(page, expected);
  assert.equal(readFileSync(page, "utf8"), expected, "UPDATE_DOCS=1 writes it anew");
});

test("a metric is named as Prometheus asks: a counter by _total, a time by _seconds", async () => {
  for (const { name, type } of [...(await common()), ...own()]) {
    assert.match(name, /^sluice_[a-z_]+$/);
    assert.equal(name.endsWith("_total"), type === "counter", name);
    assert.doesNotMatch(name, /_(ms|millis|minutes)$/);
  }
});
