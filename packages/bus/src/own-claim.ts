import { Claim, decode, type Epoch, type FencedTableSpec, type Part, parseJson } from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";
import type { Store } from "./store.ts";

/** The right of one process to write a part, for as long as no claim is newer and nothing has voided it. */
export interface OwnClaim {
  readonly epoch: Epoch;
  readonly boot: string;
  /** Number of the layout that was read before claiming. */
  readonly layout: number;
  readonly revision: number;
  /** Aborted when the claim is void or another is newer. */
  readonly lost: AbortController;
  /** Aborted by `lost` or by the end of the process; one per claim, because writes are many. */
  readonly signal: AbortSignal;
}

export interface ClaimRequest {
  readonly store: Store;
  readonly spec: FencedTableSpec;
  readonly part: Part;
  readonly kit: Pick<Kit, "log" | "clock" | "random">;
  /** `<role>.<process>` */
  readonly holder: string;
  /** What the table says now: number of the newest claim, number of the layout, the servers' life. */
  known(): { readonly newest: number; readonly layout: number; readonly boot: string };
}

/** Exactly one process wins a number, because the key is created and never overwritten. */
export async function claimPart(request: ClaimRequest, signal: AbortSignal): Promise<OwnClaim> {
  const { spec, part, kit, holder } = request;
  for (let n = request.known().newest + 1; ; n++) {
    signal.throwIfAborted();
    const id = kit.random.uuid();
    const { boot, layout } = request.known();
    const claim: Claim = { v: 1, id, boot, layout, holder, at: kit.clock.now() };
    const revision = await create(request, spec.keys.claimKey(part, n), claim, signal);
    if (revision !== null) {
      const lost = new AbortController();
      const both = AbortSignal.any([signal, lost.signal]);
      return { epoch: { n, id }, boot, layout, revision, lost, signal: both };
    }
    kit.log.debug({ table: spec.name, part, claim: n }, "somebody else won this claim");
  }
}

/** @returns the revision, or null when somebody else's claim is there */
async function create(
  { store, spec, kit }: ClaimRequest,
  key: string,
  claim: Claim,
  signal: AbortSignal,
): Promise<number | null> {
  try {
    const result = await store.put(spec, key, Buffer.from(JSON.stringify(claim)), 0, signal);
    if (result.ok) return result.revision;
  } catch (error) {
    if (signal.aborted) throw error;
    kit.log.debug({ err: error, key }, "no answer to a claim, reading it");
  }
  // The answer may have been lost: it is ours if the id is.
  const found = await store.get(spec, key, signal);
  if (found === null) throw new Error(`${key}: neither written nor there`);
  const theirs = decode(Claim, parseJson(found.value, key), key);
  return theirs.id === claim.id ? found.revision : null;
}
