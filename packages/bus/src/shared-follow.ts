import type { TableSpec } from "@sluice/contracts";
import type { FollowSink, Store } from "./store.ts";

interface Group {
  readonly sinks: Set<FollowSink>;
  /** Aborted once the last of them has ended. */
  readonly end: AbortController;
  readonly done: Promise<void>;
}

/**
 * A store on which followers of one table that begin in the same turn of the event loop share one consumer. An
 * aggregator holds sixteen partitions of `topology`: without this each change is delivered to it sixteen times.
 */
export function shareFollowers(store: Store): Store {
  const gathering = new Map<string, Group>();

  function begin(spec: TableSpec, filter: string, id: string): Group {
    const sinks = new Set<FollowSink>();
    const end = new AbortController();
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
    const run = async () => {
      // Who joins later needs a snapshot of his own.
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (gathering.get(id)?.sinks === sinks) gathering.delete(id);
      if (!end.signal.aborted) await store.follow(spec, filter, all, end.signal);
    };
    const group: Group = { sinks, end, done: run() };
    gathering.set(id, group);
    return group;
  }

  function follow(spec: TableSpec, filter: string, sink: FollowSink, signal: AbortSignal): Promise<void> {
    const id = `${spec.name} ${filter}`;
    if (signal.aborted) return Promise.resolve();
    const open = gathering.get(id);
    // One whose followers have all ended in this very turn does not begin any more.
    const group = open === undefined || open.end.signal.aborted ? begin(spec, filter, id) : open;
    group.sinks.add(sink);
    // Each ends by itself: who began first may be the first to go.
    const left = new Promise<void>((resolve) => {
      const leave = () => {
        group.sinks.delete(sink);
        if (group.sinks.size === 0) group.end.abort(signal.reason);
        resolve();
      };
      signal.addEventListener("abort", leave, { once: true });
    });
    return Promise.race([left, group.done]).then(() => (group.sinks.size === 0 ? group.done : undefined));
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
