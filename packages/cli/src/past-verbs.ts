import type { Command } from "commander";
import type { DiffOptions } from "./diff-command.ts";
import type { GetOptions } from "./get-command.ts";
import type { HistoryOptions } from "./history-command.ts";
import type { ReplayOptions } from "./replay-command.ts";

const GATEWAY = ["--gateway <url>", "address of the topology-gateway (SLUICE_GATEWAY)"] as const;
const MOMENTS = "; a moment is an RFC 3339 time, how long ago (2h, 15m), or a sequence of the log (#1234)";

/** Commands about what was; each is loaded when it is called. */
export function addPastVerbs(program: Command, exits: (code: number) => void): void {
  program
    .command("history [service]")
    .description(`what changed, in order, with its place in the log${MOMENTS}`)
    .option("--since <moment>", "from when; default: the last hour")
    .option("--cluster <name>", "only its peers")
    .option("-f, --follow", "go on with what changes from now on")
    .option("-o, --output <format>", "table, json or cloudevents", "table")
    .option(...GATEWAY)
    .action(async (service: string | undefined, options: HistoryOptions) => {
      const { historyCommand } = await import("./history-command.ts");
      exits(await untilStopped((signal) => historyCommand(service, options, signal)));
    });
  program
    .command("get <kind> [name]")
    .description(
      `services, routes, peers, proxies or certificates; services and routes also as they were${MOMENTS}`,
    )
    .option("--at <moment>", "when; default: now")
    .option("-o, --output <format>", "table, wide, json or yaml", "table")
    .option(...GATEWAY)
    .action(async (what: string, name: string | undefined, options: GetOptions) => {
      const { getCommand } = await import("./get-command.ts");
      exits(await getCommand(what, name, options));
    });
  program
    .command("diff [service]")
    .description(`what is different between two moments${MOMENTS}`)
    .requiredOption("--from <moment>", "the earlier moment")
    .option("--to <moment>", "the later one", "now")
    .option("-o, --output <format>", "table or json", "table")
    .option(...GATEWAY)
    .action(async (service: string | undefined, options: DiffOptions) => {
      const { diffCommand } = await import("./diff-command.ts");
      exits(await diffCommand(service, options));
    });
  program
    .command("replay")
    .description(`feed what was recorded of slices, clusters and intents into another, empty bus${MOMENTS}`)
    .requiredOption("--from <moment>", "where it begins; what lay there then comes first")
    .option("--to <moment>", "where it ends", "now")
    .option("--speed <factor>", "so many times as fast as it was; max: without waiting", "1")
    .requiredOption("--into <url>", "the other bus, e.g. nats://127.0.0.1:4223")
    .option("--into-nkey <file>", "the other bus's credential of replay, as sluice nats auth writes it")
    .option("--into-ca <file>", "who signed the other bus's certificate")
    .option(...GATEWAY)
    .action(async (options: ReplayOptions) => {
      const { replayCommand } = await import("./replay-command.ts");
      exits(await untilStopped((signal) => replayCommand(options, signal)));
    });
}

/** Ctrl-C is how one stops following; a second one ends at once. */
async function untilStopped(work: (signal: AbortSignal) => Promise<number>): Promise<number> {
  const stop = new AbortController();
  const abort = () => stop.abort();
  process.once("SIGINT", abort).once("SIGTERM", abort);
  try {
    return await work(stop.signal);
  } finally {
    process.off("SIGINT", abort).off("SIGTERM", abort);
  }
}
