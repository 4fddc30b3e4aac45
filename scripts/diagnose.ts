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
      setTimeout(() => resolve(false), 1000).unref();
    });
  } finally {
    socket.destroy();
  }
}

/** Which stages of the way from manifest to answer are not there, each with how that was seen. */
export async function diagnose(world: World): Promise<string[]> {
  const { run } = world;
  const missing: string[] = [];
  if (!(await listens(run.nats))) missing.push(`nats is missing: nothing listens on ${run.nats}`);
  if (!(await listens(run.proxy.http)))
    missing.push(`nginx is missing: nothing listens on ${run.proxy.http}`);
  const timed = AbortSignal.timeout(5000);
  const ref = { namespace: EXAMPLE.namespace, name: EXAMPLE.service };
  const copy = await world
    .member("member1")
    .get(resources.deployment, ref, timed)
    .catch(() => undefined);
  if (copy === null) {
    missing.push(`propagator is missing: member1 has no Deployment ${EXAMPLE.namespace}/${EXAMPLE.service}`);
  }
  const status = await fetchStatus(run.gateway).catch((error: Error) => {
    missing.push(`topology-gateway is missing: ${error.message}`);
    return null;
  });
  const named = (stage: string) => missing.some((line) => line.startsWith(`${stage} `));
  for (const stage of status?.missing ?? []) {
    if (!named(stage)) missing.push(`${stage} is missing: sluice status sees none`);
  }
  if (missing.length === 0) {
    missing.push("every stage is there; sluice status says:");
    for (const { about, message } of status?.findings ?? []) missing.push(`  ${about}: ${message}`);
  }
  return missing;
}
