// A reporter for Node's test runner: the sums of one run and what failed in it, as one line of JSON for scripts/test.ts.

/** Characters of one failure that are kept: the end of a long log must still show every failure. */
const MAX_FAILURE = 2_000;

/** @param {any} data of a test:fail event @returns {string} where it stands, its name and its cause */
function described({ name, file, line, details }) {
  const cause = details.error?.cause ?? details.error;
  const said = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
  return `${file ?? "?"}:${line ?? "?"} ${name}\n${said}`.slice(0, MAX_FAILURE);
}

/** @param {AsyncIterable<{ type: string, data: any }>} events */
export default async function* report(events) {
  /** @type {string[]} */
  const failures = [];
  for await (const { type, data } of events) {
    // A suite, or a test around others, fails with what is inside it, which is told by itself.
    if (type === "test:fail" && data.details.error?.failureType !== "subtestsFailed")
      failures.push(described(data));
    // Each file has a summary too; the one without a file is that of the whole run.
    if (type !== "test:summary" || data.file !== undefined) continue;
    const { tests, passed, failed, cancelled, skipped, todo } = data.counts;
    yield `${JSON.stringify({ tests, passed, failed: failed + cancelled, skipped: skipped + todo, ms: data.duration_ms, failures })}\n`;
  }
}
