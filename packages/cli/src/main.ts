import { SluiceError } from "@sluice/contracts";
import { Command, CommanderError } from "commander";

/** 64: the command line itself is wrong (sysexits.h, EX_USAGE). */
const USAGE = 64;

async function main(argv: readonly string[]): Promise<number> {
  let exit = 0;
  const program = new Command("sluice")
    .description("Multi-cluster ingress on an event bus")
    .exitOverride()
    .configureOutput({
      outputError: (text, write) =>
        write(
          `${text
            .replace(/^error: /, "sluice: ")
            .trimEnd()
            .replace(/\.$/, "")}; write sluice up or sluice status, with flags that --help lists\n`,
        ),
    });
  program
    .command("up")
    .description("run Sluice on your clusters until Ctrl-C")
    .allowUnknownOption()
    .allowExcessArguments()
    .helpOption(false)
    .action(async (_options, command: Command) => {
      const { upCommand } = await import("./up-command.ts");
      exit = await upCommand(command.args);
    });
  program
    .command("status")
    .description("clusters, services with their peers, and proxies with what they have applied; worst first")
    .option("--gateway <url>", "address of the topology-gateway (SLUICE_GATEWAY)")
    .option("-o, --output <format>", "table or json", "table")
    .action(async (options: { gateway?: string; output: string }) => {
      const { statusCommand } = await import("./status-command.ts");
      exit = await statusCommand(options);
    });
  await program.parseAsync(argv, { from: "user" });
  return exit;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 || error.code === "commander.helpDisplayed" ? 0 : USAGE;
  } else if (error instanceof SluiceError) {
    process.stderr.write(`sluice: ${error.message} [${error.code}]\n`);
    process.exitCode = error.exit;
  } else {
    process.stderr.write(
      `sluice: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
    process.exitCode = 1;
  }
}
// A connection that something of `up` keeps alive must not keep the process.
if (process.argv[2] === "up") process.exit();
