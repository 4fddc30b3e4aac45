import { connect } from "node:net";
import { fetchStatus } from "@sluice/cli";
import { resources } from "@sluice/kube";
import { EXAMPLE } from "./story.ts";
import type { World } from "./world.ts";

async function listens(url: string): Promise<boolean> {
  const { hostname, port, protocol } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port || (protocol === "nats:" ? 4222 : 80)) });
  try {
    return await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
      setTimeout(() => resolve(false), 10_000).unref();
    });
  } finally {
    socket.destroy();
  }
}

/** Services that were started and do not answer their probes, not even that they are not ready; by stage. */
export async function silentServices({ run }: World): Promise<Set<string>> {
  const silent = new Set<string>();
  await Promise.all(
    Object.entries(run.probes).map(async ([name, url]) => {
      try {
        await (await fetch(`${url}/livez`, { signal: AbortSignal.timeout(10_000) })).text();
      } catch {
        silent.add(stageOf(name));
      }
    }),
  );
  return silent;
}

/** A replica goes by the name of its service. */
const stageOf = (name: string): string => name.replace(/-[0-9]+$/, "");

/**
 * Which stages of the way from manifest to answer are not there, each with how that was seen; empty: all are. A stage that
 * answers for itself is there, however late others hear of it.
 */
export async function missingStages(world: World): Promise<string[]> {
  const { run } = world;
  const missing = new Map<string, string>();
  const silent = await silentServices(world);
  const there = new Set(
    Object.keys(run.probes)
      .map(stageOf)
      .filter((stage) => !silent.has(stage)),
  );
  for (const [stage, url] of [
    ["nats", run.nats],
    ["nginx", run.proxy.http],
  ] as const) {
    if (await listens(url)) there.add(stage);
    else missing.set(stage, `nothing listens on ${url}`);
  }
  const ref = { namespace: EXAMPLE.namespace, name: EXAMPLE.service };
  if (!there.has("propagator")) {
    const looked = world.member("member1").get(resources.deployment, ref, AbortSignal.timeout(10_000));
    if ((await looked.catch(() => undefined)) === null) {
      missing.set("propagator", `member1 has no Deployment ${EXAMPLE.namespace}/${EXAMPLE.service}`);
    }
  }
  try {
    for (const stage of (await fetchStatus(run.gateway)).missing) {
      if (!there.has(stage) && !missing.has(stage)) missing.set(stage, "sluice status sees none");
    }
  } catch (error) {
    if (!there.has("topology-gateway")) missing.set("topology-gateway", (error as Error).message);
  }
  return [...missing].map(([stage, seen]) => `${stage} is missing: ${seen}`);
}

/** What to tell a person whose story did not hold. */
export async function diagnose(world: World): Promise<string[]> {
  const missing = await missingStages(world);
  if (missing.length > 0) return missing;
  const status = await fetchStatus(world.run.gateway);
  const findings = status.findings.map(({ about, message }) => `  ${about}: ${message}`);
  return [
    "every stage is there; sluice status says:",
    ...(findings.length > 0 ? findings : ["  all is well"]),
  ];
}
