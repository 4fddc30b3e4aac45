import { setTimeout as delay } from "node:timers/promises";
import { fetchStatus } from "@sluice/cli";
import { type KubeClient, type PropagationPolicy, resources } from "@sluice/kube";
import { RequestLoop } from "@sluice/tests/requests";
import type { World } from "./world.ts";

/** The example's one route, as its manifests say. */
export const EXAMPLE = {
  namespace: "jack",
  service: "web",
  host: "demo.localdev.jack",
  path: "/jack",
} as const;

/** A step of the story did not hold; the message says what was expected and what was seen. */
export class StepFailed extends Error {}

const STEP_MS = 60_000;
/** How long requests go on against a frozen cluster: an ejection's whole life and the try after it. */
const FROZEN_MS = 12_000;
/** The longest that a request may take; on a busy machine that, and what ten of the longest took before anything froze. */
const LONGEST_MS = 3000;
const BUSY_MS = 100;
/** Answers in a row that must come from where they should. */
const IN_A_ROW = 20;

/** Name of the pod that answered, from hello-app's third line. */
export function podOf(body: string): string {
  return /^Hostname: (.+)$/m.exec(body)?.[1] ?? "";
}

async function podsIn(client: KubeClient, signal: AbortSignal): Promise<Set<string>> {
  const { items } = await client.list(resources.pod, { namespace: EXAMPLE.namespace }, signal);
  return new Set(items.map(({ metadata }) => metadata.name));
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Waits for a condition; the last thing seen stands in the failure. */
async function until(
  what: string,
  signal: AbortSignal,
  check: () => Promise<{ readonly holds: boolean; readonly seen: string }>,
): Promise<number> {
  const began = performance.now();
  for (;;) {
    const { holds, seen } = await check();
    if (holds) return performance.now() - began;
    if (performance.now() - began > STEP_MS)
      throw new StepFailed(`${what}: not within ${STEP_MS / 1000} s; ${seen}`);
    await delay(25, undefined, { signal });
  }
}

/**
 * Failover from the first answer to a whole cluster that hangs, with requests running all the while.
 * @throws StepFailed when a step does not hold
 */
export async function tellStory(world: World, first: string, signal: AbortSignal): Promise<void> {
  const { hub, run } = world;
  const member1 = world.member("member1");
  const member2 = world.member("member2");
  const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;

  say(
    `\n$ curl ${run.proxy.http.replace("http://", "")}${EXAMPLE.path} -H 'Host: ${EXAMPLE.host}'\n${first.trimEnd()}`,
  );
  if (!(await podsIn(member1, signal)).has(podOf(first))) {
    throw new StepFailed(`the first answer came from ${podOf(first) || "nobody"}, not from a pod of member1`);
  }
  // The first answer may be there sooner than every process's first word that it lives.
  await until("sluice status knows every stage", signal, async () => {
    const { missing } = await fetchStatus(run.gateway);
    return { holds: missing.length === 0, seen: `it misses ${missing.join(", ")}` };
  });

  say("\nThe policies are widened to member2.");
  for (const name of ["mcs-workload", "web-export-policy"]) {
    const patch = { spec: { placement: { clusterAffinity: { clusterNames: ["member1", "member2"] } } } };
    const ref = { namespace: EXAMPLE.namespace, name };
    await hub.mergePatch<PropagationPolicy>(resources.propagationPolicy, ref, patch, {}, signal);
  }
  const loop = new RequestLoop(`${run.proxy.http}${EXAMPLE.path}`, EXAMPLE.host, {
    lines: 4,
    pauseMs: 5,
    maxRequests: 100_000,
  });
  /** Waits until the newest answers come from exactly these members. */
  const answeredBy = (what: string, expected: readonly string[]) =>
    until(what, signal, async () => {
      loop.takeAnswers();
      await until("requests go on", signal, async () => ({
        holds: loop.tally.requests > 0,
        seen: "no request",
      }));
      const answers: string[] = [];
      while (answers.length < IN_A_ROW) {
        answers.push(...loop.takeAnswers());
        await delay(20, undefined, { signal });
      }
      const [one, two] = [await podsIn(member1, signal), await podsIn(member2, signal)];
      const by = new Set<string>(
        answers.map((body) =>
          one.has(podOf(body)) ? "member1" : two.has(podOf(body)) ? "member2" : "a pod that is gone",
        ),
      );
      const seen = `answers came from ${[...by].join(" and ")}`;
      return { holds: by.size === expected.length && expected.every((name) => by.has(name)), seen };
    });
  let longestMayMs = LONGEST_MS;
  try {
    say(
      `  both members answer after ${seconds(await answeredBy("both members answer", ["member1", "member2"]))}`,
    );

    say("\nmember1's copy is scaled to 0.");
    await scale(member1, 0, signal);
    say(`  member2 alone answers after ${seconds(await answeredBy("member2 alone answers", ["member2"]))}`);

    say("\nmember1's copy is brought back.");
    await scale(member1, 1, signal);
    say(
      `  both members answer after ${seconds(await answeredBy("both answer again", ["member1", "member2"]))}`,
    );

    say("\nmember1 freezes: its API answers nothing, its pods accept and never answer.");
    await world.sandbox.clusters.get("member1")?.setFault({ api: "hang", pods: "hang" });
    const { requests: before, longestMs: usualMs } = loop.tally;
    if (usualMs > BUSY_MS) longestMayMs = LONGEST_MS + 10 * usualMs;
    await delay(FROZEN_MS, undefined, { signal });
    loop.takeAnswers();
    const answers: string[] = [];
    await until("answers come while member1 is frozen", signal, async () => {
      answers.push(...loop.takeAnswers());
      return { holds: answers.length >= IN_A_ROW, seen: `${answers.length} answers` };
    });
    const theirs = await podsIn(member2, signal);
    const strangers = answers.filter((body) => !theirs.has(podOf(body))).length;
    if (strangers > 0)
      throw new StepFailed(`${strangers} of ${answers.length} answers came from elsewhere than member2`);
    say(`  ${loop.tally.requests - before} requests meanwhile, the last ${answers.length} by member2`);
  } finally {
    await loop.stop();
    await world.sandbox.clusters.get("member1")?.setFault({ api: "none", pods: "none" });
  }
  const { requests, failed, longestMs, firstFailure } = loop.tally;
  say(`\n${requests} requests, ${failed} failed, the longest took ${seconds(longestMs)}`);
  if (failed > 0)
    throw new StepFailed(`${failed} of ${requests} requests failed, the first: ${firstFailure}`);
  if (longestMs > longestMayMs) {
    throw new StepFailed(
      `the longest request took ${seconds(longestMs)}, asked are ${seconds(longestMayMs)} at most`,
    );
  }
}

async function scale(client: KubeClient, replicas: number, signal: AbortSignal): Promise<void> {
  const ref = { namespace: EXAMPLE.namespace, name: EXAMPLE.service };
  await client.mergePatch(
    resources.deployment,
    ref,
    { spec: { replicas } },
    { subresource: "scale" },
    signal,
  );
}
