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

/** Which stages of the way from manifest to answer are not there, each with how that was seen; empty: all are. */
export async function missingStages(world: World): Promise<string[]> {
  const { run } = world;
  const missing = new Map<string, string>();
  if (!(await listens(run.nats))) missing.set("nats", `nothing listens on ${run.nats}`);
  if (!(await listens(run.proxy.http))) missing.set("nginx", `nothing listens on ${run.proxy.http}`);
  const ref = { namespace: EXAMPLE.namespace, name: EXAMPLE.service };
  const looked = world.member("member1").get(resources.deployment, ref, AbortSignal.timeout(10_000));
  if ((await looked.catch(() => undefined)) === null) {
    missing.set("propagator", `member1 has no Deployment ${EXAMPLE.namespace}/${EXAMPLE.service}`);
  }
  try {
    for (const stage of (await fetchStatus(run.gateway)).missing) {
      if (!missing.has(stage)) missing.set(stage, "sluice status sees none");
    }
  } catch (error) {
    missing.set("topology-gateway", (error as Error).message);
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
