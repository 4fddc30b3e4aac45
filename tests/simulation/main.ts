import { ConfigError } from "@sluice/contracts";
import { readArguments, ScheduleError, USAGE } from "./arguments.ts";
import { simulate } from "./simulate.ts";

try {
  const args = readArguments(process.argv.slice(2));
  if (args.help) process.stdout.write(USAGE);
  else process.exitCode = await simulate(args, (line) => void process.stdout.write(`${line}\n`));
} catch (error) {
  if (!(error instanceof ConfigError || error instanceof ScheduleError)) throw error;
  process.stderr.write(`simulate: ${error.message}\n`);
  process.exitCode = error instanceof ConfigError ? error.exit : 65;
}
