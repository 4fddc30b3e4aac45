import { setTimeout as delay } from "node:timers/promises";
import { type Fault, Member } from "./member.ts";
import { type Asked, HOST, startProxy, type WatchedProxy } from "./proxy.ts";
import { type Sent, SteadyLoad } from "./steady-load.ts";

/** How a member that answers no more is found out. */
export type Means = "checks" | "passive" | "nothing";

// Longer than a member may be in: by requests alone it is out too late.
const FIRST_BYTE = { "sluice.dev/first-byte-timeout": "2s" };
const CHECKS = { "sluice.dev/health-check": "http path=/ interval=250ms timeout=200ms misses=2 passes=2" };

const askedBy: Readonly<Record<Means, Asked>> = {
  checks: { onImport: CHECKS, onIngress: FIRST_BYTE },
  passive: { onImport: {}, onIngress: FIRST_BYTE },
  nothing: { onImport: {}, onIngress: {} },
};

const PER_SECOND = 200;
const PODS = 3;
const WARM_MS = 3000;
export const BROKEN_MS = 6000;
/** From here on nobody should be sent there: a second until it is out, two of waiting, one until nginx has counted it. */
const LATE_MS = 4800;
/** Until somebody goes back to a member that answers again; a passive hold alone lasts ten seconds. */
export const BACK_MS = 40_000;
const AFTER_MS = 3000;
const POLL_MS = 10;
/** Requests of which the ones that the recovered member answers are counted together. */
const WINDOW = 40;

/** What became of the load; times in ms from the fault, or from its end. */
export interface BlackholeFigures {
  readonly requests: number;
  /** Every answer but 200, and those that took longer than a client waits. */
  readonly failed: number;
  readonly first_failure: string | null;
  /** Until nginx asked none of the member's pods any more; null: it never came to that. */
  readonly ejected_ms: number | null;
  /** Requests that were tried again late in the fault: somebody was still sent there. */
  readonly late_retries: number;
  readonly longest_ms: number;
  /** Until the member answered again; null: it did not. */
  readonly back_ms: number | null;
  /** The largest share that it had of any forty requests in the time after; half of all is fair. */
  readonly largest_share: number;
}

/** Until a member that answers no more must be out, ms. */
const EJECTED_MS = 1000;
/** Until one that answers again is asked, ms: a fifth of what a hold takes. */
const RETURNED_MS = 2000;
/** A fair half of forty requests, and what workers that each take turns by themselves may add. */
const MOST_SHARE = 0.7;

/** What of this is not as it is asked of active checks; empty: it is. */
export function shortcomings(figures: BlackholeFigures): string[] {
  const { failed, first_failure, ejected_ms, late_retries, longest_ms, back_ms, largest_share } = figures;
  const found = [
    failed > 0 && `${failed} requests failed, the first with ${first_failure}`,
    ejected_ms === null && "the member was never out",
    ejected_ms !== null && ejected_ms > EJECTED_MS && `the member was out after ${ejected_ms} ms`,
    late_retries > 0 && `${late_retries} requests were sent there although it was known`,
    longest_ms > LATE_MS && `a request took ${longest_ms} ms`,
    back_ms === null && "the member never came back",
    back_ms !== null && back_ms > RETURNED_MS && `the member came back after ${back_ms} ms`,
    largest_share > MOST_SHARE && `the member that came back got ${largest_share} of ${WINDOW} requests`,
  ];
  return found.filter((each) => each !== false);
}

/** Two members, one of which breaks in the middle of 200 GETs a second and comes back. In a namespace made for it. */
export async function blackhole(means: Means, fault: Fault, signal: AbortSignal): Promise<BlackholeFigures> {
  await using stack = new AsyncDisposableStack();
  const members: Member[] = [];
  for (const n of [1, 2]) members.push(stack.use(await Member.start(n, PODS)));
  const broken = members[0]!;
  const proxy = stack.use(await startProxy(members, askedBy[means], signal));
  const load = new SteadyLoad(proxy.url, HOST, PER_SECOND);
  stack.defer(() => load.stop());
  await bothAnswer(load, signal);
  await delay(WARM_MS, undefined, { signal });
  const from = load.sent.length;

  const at = performance.now();
  await broken.break(fault);
  const ejected = await until(() => isOut(proxy, broken), BROKEN_MS, signal);
  await delay(Math.max(0, at + LATE_MS - performance.now()), undefined, { signal });
  const retriesBefore = await proxy.retries();
  await delay(Math.max(0, at + BROKEN_MS - performance.now()), undefined, { signal });
  const lateRetries = (await proxy.retries()) - retriesBefore;

  const mendedAt = performance.now();
  await broken.mend(fault);
  const answeredAgain = () => load.sent.some((each) => each.at > mendedAt && each.by === broken.name);
  const back = await until(async () => answeredAgain(), BACK_MS, signal);
  await delay(AFTER_MS, undefined, { signal });
  await load.stop();

  const sent = load.sent.slice(from);
  const failures = sent.filter(({ status }) => status !== 200);
  const first = failures[0];
  return {
    requests: sent.length,
    failed: failures.length,
    first_failure: first === undefined ? null : `${first.status} ${first.by}`,
    ejected_ms: ejected === null ? null : Math.round(ejected - at),
    late_retries: lateRetries,
    longest_ms: Math.round(Math.max(...sent.map(({ ms }) => ms))),
    back_ms: back === null ? null : Math.round(back - mendedAt),
    largest_share: largestShare(
      sent.filter((each) => each.at > mendedAt),
      broken.name,
    ),
  };
}

async function bothAnswer(load: SteadyLoad, signal: AbortSignal): Promise<void> {
  const seen = () => new Set(load.sent.filter(({ status }) => status === 200).map(({ by }) => by));
  if ((await until(async () => seen().size === 2, 30_000, signal)) === null) {
    throw new Error(`not both members answer: ${JSON.stringify(load.sent.at(-1))}`);
  }
}

/** @returns when it held, ms of performance.now(); null: not within that time */
async function until(
  holds: () => Promise<boolean>,
  withinMs: number,
  signal: AbortSignal,
): Promise<number | null> {
  const end = performance.now() + withinMs;
  while (performance.now() < end) {
    if (await holds()) return performance.now();
    await delay(POLL_MS, undefined, { signal });
  }
  return null;
}

async function isOut(proxy: WatchedProxy, member: Member): Promise<boolean> {
  const held = (await proxy.held()).filter(({ cluster }) => cluster === member.name);
  if (held.some(({ peer }) => peer === "")) return true;
  return member.addresses.every((address) => held.some(({ peer }) => peer.startsWith(`${address}:`)));
}

function largestShare(sent: readonly Sent[], name: string): number {
  const inOrder = sent.toSorted((a, b) => a.at - b.at).map(({ by }) => (by === name ? 1 : 0));
  let [inWindow, most] = [0, 0];
  for (const [i, one] of inOrder.entries()) {
    inWindow += one - (inOrder[i - WINDOW] ?? 0);
    if (i >= WINDOW - 1) most = Math.max(most, inWindow / WINDOW);
  }
  return most;
}
