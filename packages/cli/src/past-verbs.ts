import type { Command } from "commander";
import type { DiffOptions } from "./diff-command.ts";
import type { GetOptions } from "./get-command.ts";
import type { HistoryOptions } from "./history-command.ts";

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
    .command("get <services|routes> [name]")
    .description(`services with their peers, or routes, now or as they were${MOMENTS}`)
    .option("--at <moment>", "when; default: now")
    .option("-o, --output <format>", "table or json", "table")
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
