import { ConfigError } from "@sluice/contracts";
import { readArguments, USAGE } from "./arguments.ts";
import { fuzz } from "./fuzz.ts";

try {
  const args = readArguments(process.argv.slice(2));
  if (args.help) process.stdout.write(USAGE);
  else process.exitCode = await fuzz(args, (line) => void process.stdout.write(`${line}\n`));
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  process.stderr.write(`fuzz: ${error.message}\n`);
  process.exitCode = error.exit;
}
