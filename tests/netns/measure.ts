// Run by the benchmark `blackhole` in a network namespace of its own: one line of JSON a run.
import { blackhole, type Means } from "./blackhole.ts";
import type { Fault } from "./member.ts";

const [means = "", fault = ""] = process.argv.slice(2);
const controller = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => controller.abort(new Error(signal)));
const figures = await blackhole(means as Means, fault as Fault, controller.signal);
process.stdout.write(`${JSON.stringify(figures)}\n`);
