import { ConfigError } from "@sluice/contracts";
import { readArguments, USAGE } from "./arguments.ts";
import { fuzz } from "./fuzz.ts";

const stop = new AbortController();
// Once: a second signal ends it at once.
for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, () => stop.abort());

try {
  const args = readArguments(process.argv.slice(2));
  if (args.help) process.stdout.write(USAGE);
  else process.exitCode = await fuzz(args, (line) => void process.stdout.write(`${line}\n`), stop.signal);
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  process.stderr.write(`fuzz: ${error.message}\n`);
  process.exitCode = error.exit;
}
