import type { TableSpec } from "@sluice/contracts";
import type { FollowSink, Store } from "./store.ts";

interface Group {
  readonly sinks: FollowSink[];
  readonly done: Promise<void>;
}

/**
 * A store on which followers of one table that begin in the same turn of the event loop share one consumer. An
 * aggregator holds sixteen partitions of `topology`: without this each change is delivered to it sixteen times.
 */
export function shareFollowers(store: Store): Store {
  const gathering = new Map<string, Group>();

  function follow(spec: TableSpec, filter: string, sink: FollowSink, signal: AbortSignal): Promise<void> {
    const id = `${spec.name} ${filter}`;
    const open = gathering.get(id);
    if (open !== undefined) {
      open.sinks.push(sink);
      return open.done;
    }
    const sinks = [sink];
    const tell = (event: (each: FollowSink) => void) => {
      for (const each of sinks) event(each);
    };
    const all: FollowSink = {
      restart: (boot) => tell((each) => each.restart(boot)),
      resumed: () => tell((each) => each.resumed?.()),
      entry: (entry) => tell((each) => each.entry(entry)),
      caughtUp: () => tell((each) => each.caughtUp()),
      disconnected: () => tell((each) => each.disconnected()),
    };
    const begin = async () => {
      // Who joins later needs a snapshot of his own.
      await new Promise<void>((resolve) => setImmediate(resolve));
      gathering.delete(id);
      await store.follow(spec, filter, all, signal);
    };
    const group = { sinks, done: begin() };
    gathering.set(id, group);
    return group.done;
  }

  return {
    get: (...args) => store.get(...args),
    mayLag: (spec) => store.mayLag?.(spec) ?? false,
    put: (...args) => store.put(...args),
    removeMessage: (...args) => store.removeMessage(...args),
    lastRevision: (...args) => store.lastRevision(...args),
    boot: (signal) => store.boot(signal),
    close: () => store.close(),
    get connected() {
      return store.connected;
    },
    follow,
  };
}
