import { setTimeout as delay } from "node:timers/promises";
import { type Fault, inWords, type Schedule } from "./schedule.ts";
import type { Link } from "./tcp-proxy.ts";
import type { World } from "./world.ts";

/** Does to the world what the schedule says; resolves when the last fault is over and all that was ended runs again. */
export async function perform(world: World, { steps }: Schedule): Promise<void> {
  const { signal } = world;
  const turns = new Map<string, Promise<void>>();
  await Promise.all(
    steps.map(async ({ atMs, fault }) => {
      await delay(atMs, undefined, { signal });
      // On a slow machine what a fault ended may take long to start again: the next fault on the same waits for that.
      const on = victimOf(fault);
      const before = turns.get(on);
      const over = Promise.withResolvers<void>();
      if (on !== "") turns.set(on, over.promise);
      await before;
      world.note(`fault: ${inWords(fault, world.bus.ports.length)}`);
      try {
        await perform1(world, fault);
      } finally {
        over.resolve();
      }
      world.note(`over: ${inWords(fault, world.bus.ports.length)}`);
    }),
  );
}

/** What is ended and started again, or frozen; empty: nothing is. */
function victimOf(fault: Fault): string {
  if ("node" in fault) return "bus";
  // Of two proxies one always serves.
  if ("proxy" in fault) return "nginx";
  return "process" in fault ? fault.process : "";
}

async function perform1(world: World, fault: Fault): Promise<void> {
  const lasting = (ms: number) => delay(ms, undefined, { signal: world.signal });
  switch (fault.kind) {
    case "kill":
    case "stop": {
      const service = serviceOf(world, fault.process);
      await (fault.kind === "kill" ? service.kill() : service.end());
      await lasting(fault.downMs);
      return service.start(world.signal, fault.clockMs);
    }
    case "freeze": {
      const service = serviceOf(world, fault.process);
      service.freeze();
      await lasting(fault.ms);
      return service.thaw();
    }
    case "cut":
      world.link(fault.link).cut();
      return;
    case "refuse":
    case "black-hole":
      return during([world.link(fault.link)], { kind: fault.kind }, () => lasting(fault.ms));
    case "delay":
      return during([world.link(fault.link)], { kind: "delay", ms: fault.lateMs }, () => lasting(fault.ms));
    case "partition":
      return during(world.linksFrom(fault.process), { kind: "black-hole" }, () => lasting(fault.ms));
    case "bus-restore":
      await world.bus.kill(fault.node);
      await world.bus.keepCopy(fault.node);
      await world.bus.start(fault.node);
      await lasting(fault.laterMs);
      await world.bus.kill(fault.node);
      await world.bus.restoreCopy(fault.node);
      return world.bus.start(fault.node);
    case "bus-kill":
    case "bus-wipe":
      await world.bus.kill(fault.node);
      if (fault.kind === "bus-wipe") await world.bus.wipe(fault.node);
      await lasting(fault.downMs);
      return world.bus.start(fault.node);
    case "api-down":
    case "api-hang": {
      const kind = fault.kind === "api-down" ? "refuse" : "black-hole";
      return during(world.linksTo(fault.cluster), { kind }, () => lasting(fault.ms));
    }
    case "api-gone":
    case "api-reset": {
      const cluster = world.sandbox.clusters.get(fault.cluster);
      return cluster?.setFault({ api: fault.kind === "api-gone" ? "gone" : "reset" });
    }
    case "nginx-kill": {
      const proxy = proxyOf(world, fault.proxy);
      await proxy.kill();
      await lasting(fault.downMs);
      return proxy.start();
    }
    case "nginx-worker-kill":
      return proxyOf(world, fault.proxy).killWorker();
    case "nginx-reload":
      return proxyOf(world, fault.proxy).reload();
  }
}

/** Two faults may overlap on a link, one on it alone and one on all of a server's or a process's: the first to end heals it. */
async function during(
  links: readonly Link[],
  fault: Parameters<Link["set"]>[0],
  lasting: () => Promise<unknown>,
): Promise<void> {
  for (const link of links) link.set(fault);
  await lasting();
  for (const link of links) link.heal();
}

function serviceOf(world: World, name: string) {
  const service = world.services.get(name);
  if (service === undefined) throw new Error(`there is no process ${name}`);
  return service;
}

function proxyOf(world: World, name: string) {
  const proxy = world.proxies.find((each) => each.name === name);
  if (proxy === undefined) throw new Error(`there is no proxy ${name}`);
  return proxy;
}
