import { DiffAnswer, decode } from "@sluice/contracts";
import { columns } from "./columns.ts";
import { askGateway, gatewayAddress } from "./gateway.ts";
import {
  describeGap,
  moment,
  outputFormat,
  PAST_ANSWER_MS,
  place,
  serviceQuery,
  warn,
} from "./past-options.ts";
import { changeCells, renderWhat } from "./render-change.ts";

export interface DiffOptions {
  readonly gateway?: string;
  readonly from: string;
  readonly to: string;
  readonly output: string;
}

/** 2: they differ. */
const FINDINGS = 2;

/** `sluice diff [SERVICE] --from --to`: 0 they are the same, 2 they differ. */
export async function diffCommand(service: string | undefined, options: DiffOptions): Promise<number> {
  const format = outputFormat(options.output, ["table", "json"]);
  const query = { ...serviceQuery(service), from: moment(options.from), to: moment(options.to) };
  const read = (answer: unknown, subject: string) => decode(DiffAnswer, answer, subject);
  const asked = { path: "/api/v1/diff", query, answerMs: PAST_ANSWER_MS };
  const diff = await askGateway(gatewayAddress(options.gateway), read, asked);
  for (const gap of diff.gaps) warn(describeGap(gap));
  warn(`from ${place(diff.from)} to ${place(diff.to)}`);
  if (format === "json") process.stdout.write(`${JSON.stringify(diff, null, 2)}\n`);
  else if (diff.changes.length === 0) warn("no service is different");
  else {
    const rows = diff.changes.map((change) => [...changeCells(change), renderWhat(change)]);
    for (const line of columns([["CHANGE", "SERVICE", "CLUSTER", "PEERS", "WHAT"], ...rows])) {
      process.stdout.write(`${line}\n`);
    }
  }
  return diff.changes.length === 0 ? 0 : FINDINGS;
}
