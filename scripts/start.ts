import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { SluiceError } from "@sluice/contracts";
import { watchLauncher } from "@sluice/service-kit";
import { get } from "@sluice/tests/requests";
import { diagnose, missingStages, silentServices } from "./diagnose.ts";
import { readStartOptions, type StartOptions, startUsage } from "./start-options.ts";
import { EXAMPLE, StepFailed, tellStory } from "./story.ts";
import { SluiceEndedError, startWorld, type World } from "./world.ts";

/** How long the example may take from its manifests to its first answer. */
const FIRST_ANSWER_MS = 60_000;
/** A stage that is found missing so often in a row, once all that was started answers, will not come. */
const LOOKS = 4;
const LOOK_EVERY_MS = 1000;

/** Resolves with what is missing once that is certain; never when nothing is. */
async function surelyMissing(world: World, signal: AbortSignal): Promise<string[]> {
  let before: string[] = [];
  for (let looks = 0; ; ) {
    await delay(LOOK_EVERY_MS, undefined, { signal });
    // What was started may still be loading.
    if ((await silentServices(world)).size > 0) continue;
    const now = await missingStages(world);
    looks = now.length > 0 && now.join() === before.join() ? looks + 1 : 0;
    if (looks >= LOOKS) return now;
    before = now;
  }
}

async function firstAnswer(world: World, signal: AbortSignal): Promise<string> {
  const deadline = performance.now() + FIRST_ANSWER_MS;
  for (;;) {
    const answer = await get(`${world.run.proxy.http}${EXAMPLE.path}`, EXAMPLE.host, { timeoutMs: 10_000 });
    if (answer.status === 200) return answer.body;
    signal.throwIfAborted();
    if (performance.now() > deadline) {
      const last = answer.error ?? `status ${answer.status}`;
      throw new StepFailed(`no answer from the example within ${FIRST_ANSWER_MS / 1000} s (${last})`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function screen(world: World, options: StartOptions): string {
  const { proxy, gateway, kubeconfigs } = world.run;
  const address = proxy.http.replace("http://", "");
  const member1 = kubeconfigs["member1"] ?? "";
  const lines = ["", "Sluice is up.", ""];
  if (!options.empty)
    lines.push("  Ask the service:", `    curl ${address}${EXAMPLE.path} -H 'Host: ${EXAMPLE.host}'`, "");
  lines.push(
    "  Kubeconfigs:",
    ...Object.entries(kubeconfigs).map(([name, file]) => `    ${name.padEnd(10)} ${file}`),
    "",
  );
  if (!options.empty) {
    lines.push(
      "  Provoke a failover: let the service run in member2 too, then take it away from member1, and ask again:",
      `    export KUBECONFIG=${kubeconfigs["hub"]}`,
      "    for p in mcs-workload web-export-policy; do kubectl -n jack patch propagationpolicy $p --type merge \\",
      `      -p '{"spec":{"placement":{"clusterAffinity":{"clusterNames":["member1","member2"]}}}}'; done`,
      `    kubectl --kubeconfig ${member1} -n jack scale deployment web --replicas=0`,
      `  and bring it back:`,
      `    kubectl --kubeconfig ${member1} -n jack scale deployment web --replicas=1`,
      "",
    );
  }
  lines.push(
    "  See what is routed where, from any folder:",
    `    ${join(import.meta.dirname, "..", "sluice")} status --gateway ${gateway}`,
    "",
    "  Stop:  Ctrl-C",
    "",
  );
  return lines.join("\n");
}

async function main(argv: readonly string[]): Promise<number> {
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(startUsage());
    return 0;
  }
  const options = readStartOptions(argv, process.env);
  const controller = new AbortController();
  const { signal } = controller;
  // A second signal changes nothing: what was begun in order is ended in order.
  const stop = (why: string) => controller.abort(new Error(why));
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, stop);
  using _launcher = watchLauncher(process.env, stop);
  try {
    await using world = await startWorld(options, signal);
    if (options.once) return await once(world, signal);
    if (!options.empty) await world.steps.run("first answer", () => firstAnswer(world, signal));
    const { control } = world.sandbox;
    if (options.json) process.stdout.write(`${JSON.stringify({ ...world.run, sandbox: { control } })}\n`);
    else process.stdout.write(screen(world, options));
    const why = await Promise.race([world.ended, aborted(signal)]);
    if (signal.aborted) return 0;
    throw new StepFailed(`sluice up ended by itself: ${why}`);
  } catch (error) {
    if (signal.aborted && !options.once) return 0;
    throw error;
  }
}

/** The story, told once; what is missing is named when it does not hold. */
async function once(world: World, signal: AbortSignal): Promise<number> {
  try {
    const looking = new AbortController();
    const over = AbortSignal.any([signal, looking.signal]);
    const missing = surelyMissing(world, over).then((stages) => {
      throw new StepFailed(`no way from manifest to answer: ${stages[0]}`);
    });
    const answer = firstAnswer(world, over);
    // Whoever comes second is told to give up, and nobody asks how.
    for (const either of [missing, answer]) either.catch(() => {});
    const body = await world.steps
      .run("first answer", () => Promise.race([answer, missing]))
      .finally(() => looking.abort());
    await tellStory(world, body, signal);
    return 0;
  } catch (error) {
    if (signal.aborted || !(error instanceof StepFailed || error instanceof SluiceError)) throw error;
    const missing = await diagnose(world);
    process.stderr.write(`\nnpm start: ${error.message}\n`);
    for (const line of missing) process.stderr.write(`  ${line}\n`);
    return 1;
  }
}

function aborted(signal: AbortSignal): Promise<string> {
  if (signal.aborted) return Promise.resolve("stopped");
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve("stopped"), { once: true }));
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (error instanceof SluiceError) {
    process.stderr.write(`npm start: ${error.message} [${error.code}]\n`);
    process.exitCode = error.exit;
  } else if (error instanceof SluiceEndedError) {
    process.stderr.write(`npm start: ${error.message}\n`);
    process.exitCode = error.exit;
  } else if (error instanceof StepFailed) {
    process.stderr.write(`npm start: ${error.message}\n`);
    process.exitCode = 1;
  } else {
    process.stderr.write(
      `npm start: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
    process.exitCode = 1;
  }
}
