// The pods of a member, in one process so that one signal freezes them all: it waits in its namespace until its addresses
// are there, then answers every request with its own name.
import { createServer } from "node:http";
import { createInterface } from "node:readline";

const [name = "", port = "", ...addresses] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin });
// Whoever started this has ended: so does this.
lines.once("close", () => process.exit(0));
lines.once("line", () => {
  let left = addresses.length;
  for (const address of addresses) {
    const server = createServer((_request, response) => response.end(name));
    server.keepAliveTimeout = 3_600_000;
    server.listen(Number(port), address, () => {
      left -= 1;
      if (left === 0) process.stdout.write("listening\n");
    });
  }
});
process.stdout.write("ready\n");
