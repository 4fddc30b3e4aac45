// For processes of tests. When all is done and nothing keeps the process, it leaves without taking Node's environment
// apart. Seen on 24.21: a file whose tests had all passed span for ever in Environment::CleanupHandles (uv_run with nothing
// to do, a request counted that never ends), and no timeout reaches a process there. What a test leaves open still keeps
// its process alive, and is seen.

/** Milliseconds that one file of tests may take: the longest needs two minutes, on a machine with nothing else to do. */
const FILE_MS = 600_000;

// Node's time limit is one of each test; what a test left at work when its time was over keeps the file running for ever.
const fileMs = Number(process.env["SLUICE_TEST_FILE_MS"] ?? FILE_MS);
if (process.env["NODE_TEST_CONTEXT"] !== undefined) {
  setTimeout(() => {
    const open = process.getActiveResourcesInfo().join(", ");
    process.stderr.write(`${process.argv[1]} has not ended after ${fileMs} ms; what keeps it: ${open}\n`);
    process.exit(1);
  }, fileMs).unref();
}

process.once("beforeExit", () => {
  // Behind every other listener, the test runner's own among them.
  process.on("exit", (code) => process.exit(code));
});
