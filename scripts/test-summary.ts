/** Sums of one package's tests, as scripts/test-report.mjs writes them. */
export interface PackageReport {
  readonly tests: number;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly ms: number;
  /** Place, name and cause of each test that failed. */
  readonly failures: readonly string[];
}

export interface TestSummary {
  /** What a person reads: a table of packages, what went wrong besides, and the closing line. */
  readonly text: string;
  readonly ok: boolean;
}

/**
 * Adds up the reports of all packages.
 * @param reports name of a package → its report; null: its runner ended without one
 * @param exitCode how turbo ended
 */
export function summarizeTests(
  reports: ReadonlyMap<string, PackageReport | null>,
  exitCode: number,
): TestSummary {
  const names = [...reports.keys()].sort();
  const width = Math.max(7, ...names.map((n) => n.length));
  const row = (...cells: readonly string[]) =>
    `${cells[0]!.padEnd(width)}  ${cells
      .slice(1)
      .map((c) => c.padStart(7))
      .join("  ")}`.trimEnd();
  const lines = [row("package", "tests", "failed", "skipped", "seconds")];
  const notes: string[] = [];
  let passed = 0;
  let failed = 0;
  for (const name of names) {
    const report = reports.get(name) ?? null;
    if (report === null) {
      lines.push(row(name, "?", "crashed", "", ""));
      notes.push(`${name}: its test runner ended without a report; what it said is above.`);
      failed++;
      continue;
    }
    passed += report.passed;
    failed += report.failed;
    for (const failure of report.failures) notes.push(`${name}: ${failure}`, "");
    const { tests, skipped, ms } = report;
    lines.push(row(name, `${tests}`, `${report.failed}`, `${skipped}`, (ms / 1000).toFixed(1)));
  }
  if (passed + failed === 0) {
    notes.push("No test ran.");
  }
  if (exitCode !== 0 && failed === 0) {
    notes.push(`turbo ended with code ${exitCode} although no test failed; what it said is above.`);
    failed++;
  }
  const text = [...lines, "", ...notes, `${passed} passed, ${failed} failed`, ""].join("\n");
  return { text, ok: failed === 0 && passed > 0 };
}
