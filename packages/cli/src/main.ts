import { SluiceError } from "@sluice/contracts";
import { Command, CommanderError } from "commander";
import type { NatsAuthOptions } from "./nats-auth-command.ts";
import type { OrderOptions } from "./orders.ts";
import { addPastVerbs } from "./past-verbs.ts";

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
            .replace(/\.$/, "")}; write one of the commands that --help lists, with its flags\n`,
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
  const order = (name: string, description: string) =>
    program
      .command(`${name} <cluster>`)
      .description(description)
      .option("--gateway <url>", "address of the topology-gateway (SLUICE_GATEWAY)");
  order("drain", "send a cluster no new requests")
    .option("--reason <text>", "why, for others to read")
    .option("--force", "also where no other cluster serves")
    .action(async (cluster: string, options: OrderOptions) => {
      const { drainCommand } = await import("./drain-command.ts");
      exit = await drainCommand(cluster, options);
    });
  order("undrain", "take a drained cluster back in")
    .option("--reason <text>", "why, for others to read")
    .action(async (cluster: string, options: OrderOptions) => {
      const { undrainCommand } = await import("./undrain-command.ts");
      exit = await undrainCommand(cluster, options);
    });
  order("unjoin", "remove everything that a cluster has published; it is gone for good")
    .option("--reason <text>", "why, for others to read")
    .option("--force", "also where no other cluster serves")
    .action(async (cluster: string, options: OrderOptions) => {
      const { unjoinCommand } = await import("./unjoin-command.ts");
      exit = await unjoinCommand(cluster, options);
    });
  order("join", "let an unjoined cluster publish again")
    .option("--reason <text>", "why, for others to read")
    .action(async (cluster: string, options: OrderOptions) => {
      const { joinCommand } = await import("./join-command.ts");
      exit = await joinCommand(cluster, options);
    });
  order("accept", "let a held list pass that takes away most of a cluster's peers")
    .option("--reason <text>", "why, for others to read")
    .action(async (cluster: string, options: OrderOptions) => {
      const { acceptCommand } = await import("./accept-command.ts");
      exit = await acceptCommand(cluster, options);
    });
  const many = (value: string, before: readonly string[]) => [...before, value];
  program
    .command("nats")
    .description("the bus")
    .command("auth")
    .description("write a credential for each component, and print what nats-server must know of them")
    .option("--dir <folder>", "where the seeds go; one that is there stays", "nats-auth")
    .option("--component <name>", "only this one; may be repeated", many, [])
    .option("--member <name>", "a cluster with a member-watcher of its own; may be repeated", many, [])
    .option("--together", "one member-watcher for all those clusters", false)
    .option("--fleet <name>", "the fleet of renderer and proxies", "default")
    .option("--proxy <name>", "a proxy with a credential of its own; may be repeated", many, [])
    .option("--as <form>", "authorization, or accounts where the server has others", "authorization")
    .action(async (options: NatsAuthOptions) => {
      const { natsAuthCommand } = await import("./nats-auth-command.ts");
      exit = await natsAuthCommand(options);
    });
  program
    .command("fleet-key")
    .description("write the key pair for which a fleet's certificates and passwords are sealed")
    .option("--dir <folder>", "where the pair goes; one that is there stays", "fleet-key")
    .action(async (options: { dir: string }) => {
      const { fleetKeyCommand } = await import("./fleet-key-command.ts");
      exit = await fleetKeyCommand(options);
    });
  addPastVerbs(program, (code) => {
    exit = code;
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
