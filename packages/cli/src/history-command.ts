import { cloudEvent, decode, type HistoryEntry, HistoryLine } from "@sluice/contracts";
import { growingColumns } from "./columns.ts";
import { askGatewayLines, errorOf, gatewayAddress } from "./gateway.ts";
import {
  describeGap,
  describeReach,
  instant,
  moment,
  outputFormat,
  serviceQuery,
  warn,
} from "./past-options.ts";
import { changeCells, renderWhat } from "./render-change.ts";

export interface HistoryOptions {
  readonly gateway?: string;
  readonly since?: string;
  readonly cluster?: string;
  readonly follow?: boolean;
  readonly output: string;
}

const formats = ["table", "json", "cloudevents"] as const;
type Format = (typeof formats)[number];

/** `sluice history [SERVICE]`: what was accepted, in order, with its sequence. */
export async function historyCommand(
  service: string | undefined,
  options: HistoryOptions,
  signal: AbortSignal,
): Promise<number> {
  const format = outputFormat(options.output, formats);
  const query = {
    ...serviceQuery(service),
    since: moment(options.since),
    cluster: options.cluster,
    follow: options.follow === true ? "true" : undefined,
  };
  const print = printer(format, (text) => process.stdout.write(`${text}\n`));
  const read = (line: unknown, subject: string) => decode(HistoryLine, line, subject);
  const asked = { path: "/api/v1/history", query };
  let told = 0;
  for await (const line of askGatewayLines(gatewayAddress(options.gateway), read, asked, signal)) {
    if (line.start !== undefined)
      warn(`since ${instant(line.start.place.at)}; ${describeReach(line.start.reach)}`);
    if (line.gap !== undefined) warn(describeGap(line.gap));
    if (line.entry !== undefined) {
      print(line.entry);
      told++;
    }
    if (line.error !== undefined) throw errorOf(line.error);
  }
  if (told === 0 && options.follow !== true) warn("nothing changed in that time");
  return 0;
}

/** Writes one entry a line; a table begins with its head, once there is something to show. */
function printer(format: Format, write: (text: string) => void): (entry: HistoryEntry) => void {
  if (format === "json") return (entry) => write(JSON.stringify(entry));
  if (format === "cloudevents") return (entry) => write(JSON.stringify(cloudEvent(entry)));
  const row = growingColumns([24, 15, 16, 10, 5]);
  let begun = false;
  return ({ at, seq, change }) => {
    if (!begun) write(row(["TIME", "CHANGE", "SERVICE", "CLUSTER", "PEERS", "SEQUENCE", "WHAT"]));
    begun = true;
    write(row([instant(at), ...changeCells(change), `#${seq}`, renderWhat(change)]));
  };
}
