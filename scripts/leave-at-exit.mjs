// For processes of tests: when all is done and nothing keeps the process, it leaves without taking Node's environment
// apart. Seen on 24.21: a file whose tests had all passed span for ever in Environment::CleanupHandles (uv_run with nothing
// to do, a request counted that never ends), and no timeout reaches a process there. What a test leaves open still keeps
// its process alive, and is seen.
process.once("beforeExit", () => {
  // Behind every other listener, the test runner's own among them.
  process.on("exit", (code) => process.exit(code));
});
