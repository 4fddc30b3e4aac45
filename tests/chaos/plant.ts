import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type EndpointSlice, resources } from "@sluice/kube";
import { NAMESPACE, type Pod } from "./members.ts";
import type { Plant } from "./plants.ts";
import type { World } from "./world.ts";

export async function plantFault(world: World, plant: Plant): Promise<void> {
  const { members } = world;
  const [service = ""] = members.services;
  const [[cluster, pods] = ["", new Set<Pod>()]] = members.expected(service);
  world.note(`planted: ${plant}, ${service} of ${cluster}`);
  switch (plant) {
    case "answer": {
      members.broken = service;
      await delay(300, undefined, { signal: world.signal });
      members.broken = null;
      return;
    }
    case "row": {
      const [proxy] = world.proxies;
      const upstream = await proxy?.upstreamOf(service);
      const rows = [{ k: "peers", upstream, cluster, del: true }];
      return post(join(proxy?.dir ?? "", "api.sock"), "/apply", JSON.stringify({ rows }));
    }
    case "endpoint": {
      const ref = { namespace: NAMESPACE, name: `${service}-1` };
      const endpoints = [...pods].slice(1).map(({ address }) => ({ addresses: [address] }));
      const client = members.client(cluster);
      await client.mergePatch<EndpointSlice>(resources.endpointSlice, ref, { endpoints }, {}, world.signal);
      await delay(300, undefined, { signal: world.signal });
      return;
    }
    case "crash": {
      const { pid } = world.services.get("aggregator-1") ?? { pid: null };
      if (pid !== null) process.kill(pid, "SIGKILL");
      await delay(300, undefined, { signal: world.signal });
      return;
    }
  }
}

function post(socketPath: string, path: string, body: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path, method: "POST" }, (response) => {
      response.resume();
      response.on("end", () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(`nginx answered ${response.statusCode} to the planted row`));
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}
