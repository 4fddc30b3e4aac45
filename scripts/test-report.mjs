// A reporter for Node's test runner: the sums of one run as one line of JSON, for scripts/test.ts to add up.

/** @param {AsyncIterable<{ type: string, data: any }>} events */
export default async function* report(events) {
  for await (const { type, data } of events) {
    // Each file has a summary too; the one without a file is that of the whole run.
    if (type !== "test:summary" || data.file !== undefined) continue;
    const { tests, passed, failed, cancelled, skipped, todo } = data.counts;
    yield `${JSON.stringify({ tests, passed, failed: failed + cancelled, skipped: skipped + todo, ms: data.duration_ms })}\n`;
  }
}
