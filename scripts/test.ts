// `npm test`: every package's tests, one package after the other, and at the end what they come to. Arguments go to
// turbo (`npm test -- --filter @sluice/bus`), those behind a second `--` to scripts/test-package.mjs.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runChild } from "./run-child.mjs";
import { type PackageReport, summarizeTests } from "./test-summary.ts";
import { quietTurbo, turboPath } from "./turbo.ts";

const reports = mkdtempSync(join(tmpdir(), "sluice-test-reports-"));

function readReports(): Map<string, PackageReport | null> {
  return new Map(
    readdirSync(reports).map((file) => {
      const text = readFileSync(join(reports, file), "utf8");
      const name = file.replace(/\.json$/, "").replaceAll("+", "/");
      return [name, text === "" ? null : (JSON.parse(text) as PackageReport)];
    }),
  );
}

try {
  const code = await runChild(
    turboPath,
    ["run", "test", "--concurrency=1", "--output-logs=full", "--continue=always", ...process.argv.slice(2)],
    { env: { ...process.env, ...quietTurbo, SLUICE_TEST_REPORTS: reports } },
  );
  const { text, ok } = summarizeTests(readReports(), code);
  process.stdout.write(`\n${text}`);
  process.exitCode = ok ? 0 : 1;
} finally {
  rmSync(reports, { recursive: true, force: true });
}
