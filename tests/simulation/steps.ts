import { BREAKS_FROM } from "./nginx-plan.ts";

/** One thing that is done to the world; `at` and `forMs` are milliseconds of virtual time. */
export type Step = { readonly at: number } & Deed;

/** Name of a process, e.g. `watcher-1`; of an API, e.g. `member2` or `hub`; of an nginx, e.g. `nginx-1`. */
export type Deed =
  | { readonly do: "crash"; readonly process: string; readonly forMs: number }
  | { readonly do: "stop"; readonly process: string; readonly forMs: number }
  | { readonly do: "freeze"; readonly process: string; readonly forMs: number }
  | { readonly do: "clock"; readonly process: string; readonly byMs: number }
  | { readonly do: "cut-bus"; readonly process: string; readonly forMs: number }
  | { readonly do: "slow-bus"; readonly process: string; readonly byMs: number; readonly forMs: number }
  | { readonly do: "lost-acks"; readonly process: string; readonly forMs: number }
  | {
      readonly do: "late-writes";
      readonly process: string;
      /** How much later, at least and at most; default 200 to 9,000. */
      readonly byMs?: readonly [least: number, most: number];
      readonly forMs: number;
    }
  | { readonly do: "repeat-writes"; readonly process: string; readonly forMs: number }
  | { readonly do: "reset-consumer"; readonly process: string }
  | { readonly do: "restart-bus"; readonly forMs: number }
  | { readonly do: "wipe-bus"; readonly forMs: number }
  | { readonly do: "back-up-bus" }
  | { readonly do: "restore-bus"; readonly forMs: number }
  | { readonly do: "change-leader"; readonly forMs: number }
  | { readonly do: "cut-api"; readonly process: string; readonly api: string; readonly forMs: number }
  | { readonly do: "api-down"; readonly api: string; readonly forMs: number }
  | { readonly do: "compact-api"; readonly api: string }
  | { readonly do: "end-watches"; readonly api: string }
  | { readonly do: "unauthorized"; readonly api: string; readonly forMs: number }
  | { readonly do: "slow-lists"; readonly api: string; readonly forMs: number }
  | { readonly do: "stuck-lists"; readonly api: string; readonly forMs: number }
  | { readonly do: "restart-nginx"; readonly nginx: string }
  | {
      readonly do: "replace-endpoint";
      readonly member: string;
      readonly service: string;
      readonly slice: number;
    }
  | {
      readonly do: "roll-out";
      readonly member: string;
      readonly service: string;
      readonly slice: number;
      readonly size: number;
    }
  | { readonly do: "remove-slice"; readonly member: string; readonly service: string; readonly slice: number }
  | { readonly do: "export"; readonly member: string; readonly service: string; readonly on: boolean }
  | { readonly do: "serve"; readonly member: string; readonly service: string; readonly on: boolean }
  | {
      /** People's orders, through the gateway. */
      readonly do: "drain" | "unjoin";
      readonly member: string;
      readonly on: boolean;
    }
  | {
      /** A watcher comes back with another setting. */
      readonly do: "cut-member";
      readonly process: string;
      readonly member: string;
      readonly shards: number;
      readonly forMs: number;
    }
  | { readonly do: "import"; readonly service: string; readonly on: boolean }
  | {
      readonly do: "ingress";
      /** Services that it has paths to; none: it is deleted. */
      readonly services: readonly string[];
    }
  | {
      /** Another MultiClusterIngress asks for this read timeout, seconds; null: it is deleted. */
      readonly do: "tune";
      readonly seconds: number | null;
    }
  | { readonly do: "bad-record"; readonly table: string; readonly key: string; readonly value: string }
  | { readonly do: "bad-slice"; readonly member: string; readonly service: string }
  | { readonly do: "sleep-all"; readonly forMs: number };

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;

/** A step as a person says it. */
export function inWords(step: Step): string {
  switch (step.do) {
    case "crash":
      return `${step.process} is killed, and started again after ${seconds(step.forMs)}`;
    case "stop":
      return `${step.process} is told to stop, and started again after ${seconds(step.forMs)}`;
    case "freeze":
      return `${step.process} is frozen for ${seconds(step.forMs)}`;
    case "clock":
      return `${step.process}'s clock jumps by ${seconds(step.byMs)}`;
    case "cut-bus":
      return `${step.process} is cut off from the bus for ${seconds(step.forMs)}`;
    case "slow-bus":
      return `between ${step.process} and the bus all takes ${seconds(step.byMs)} longer for ${seconds(step.forMs)}`;
    case "lost-acks":
      return `${step.process} gets no answers to its writes for ${seconds(step.forMs)}`;
    case "late-writes":
      return `writes of ${step.process} land late, out of order, for ${seconds(step.forMs)}`;
    case "repeat-writes":
      return `writes of ${step.process} land twice for ${seconds(step.forMs)}`;
    case "reset-consumer":
      return `one consumer of ${step.process} starts again`;
    case "restart-bus":
      return `the bus is restarted; away for ${seconds(step.forMs)}`;
    case "wipe-bus":
      return `the bus loses all its storage; away for ${seconds(step.forMs)}`;
    case "back-up-bus":
      return "the bus's storage is copied";
    case "restore-bus":
      return `the bus comes back with the copy of its storage after ${seconds(step.forMs)}`;
    case "change-leader":
      return `the bus has no leader for ${seconds(step.forMs)}: nothing is answered`;
    case "cut-api":
      return `${step.process} is cut off from the API of ${step.api} for ${seconds(step.forMs)}`;
    case "api-down":
      return `the API of ${step.api} refuses connections for ${seconds(step.forMs)}`;
    case "compact-api":
      return `the API of ${step.api} forgets its history (410)`;
    case "end-watches":
      return `the API of ${step.api} ends its watches`;
    case "unauthorized":
      return `the API of ${step.api} answers 401 for ${seconds(step.forMs)}`;
    case "slow-lists":
      return `lists of ${step.api} take up to 20 s for ${seconds(step.forMs)}`;
    case "stuck-lists":
      return `lists of ${step.api} never complete for ${seconds(step.forMs)}`;
    case "restart-nginx":
      return `${step.nginx} is started anew`;
    case "replace-endpoint":
      return `${step.member}: one endpoint of ${step.service}, slice ${step.slice}, is replaced`;
    case "roll-out":
      return `${step.member}: ${step.service}, slice ${step.slice}, gets ${step.size} new endpoints`;
    case "remove-slice":
      return `${step.member}: slice ${step.slice} of ${step.service} is removed`;
    case "export":
      return `${step.member}: ${step.service} is ${step.on ? "exported" : "exported no more"}`;
    case "serve":
      return `${step.member}: Service ${step.service} is ${step.on ? "made" : "deleted"}`;
    case "drain":
      return step.on ? `somebody orders: drain ${step.member}` : `somebody orders: undrain ${step.member}`;
    case "unjoin":
      return step.on ? `somebody orders: unjoin ${step.member}` : `somebody orders: join ${step.member}`;
    case "cut-member":
      return `${step.process} is told to stop, and started again after ${seconds(step.forMs)} to cut ${step.member} into ${step.shards} shard(s)`;
    case "import":
      return `hub: the ServiceImport ${step.service} is ${step.on ? "made" : "deleted"}`;
    case "ingress":
      return step.services.length === 0
        ? "hub: the MultiClusterIngress is deleted"
        : `hub: the MultiClusterIngress has paths to ${step.services.join(" and ")}`;
    case "tune":
      return step.seconds === null
        ? "hub: the MultiClusterIngress with a timeout of its own is deleted"
        : `hub: another MultiClusterIngress asks for a timeout of ${step.seconds} s${step.seconds >= BREAKS_FROM ? ", with which no proxy works" : ""}`;
    case "bad-record":
      return `somebody writes ${JSON.stringify(step.value)} to ${step.table}/${step.key}`;
    case "bad-slice":
      return `${step.member}: a slice of ${step.service} holds nonsense`;
    case "sleep-all":
      return `the machine with everything on it sleeps for ${(step.forMs / 3_600_000).toFixed(1)} h`;
  }
}
