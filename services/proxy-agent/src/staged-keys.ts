/** What routes need, peers, secrets, routes: rows go out in this order. Peers wait for no secret: of those there may be thousands. */
export const STAGES = 4;

/** @returns of a fleet key, e.g. `default.peers.shop-web.member1` */
function stageOf(key: string): number {
  const at = key.indexOf(".") + 1;
  if (key.startsWith("peers.", at)) return 1;
  if (key.startsWith("secrets.", at)) return 2;
  return key.startsWith("routes.", at) ? 3 : 0;
}

/** Fleet keys by the stage that their rows go out in: whoever fills one stage does not walk the others. */
export class StagedKeys {
  readonly #stages: readonly Set<string>[] = Array.from({ length: STAGES }, () => new Set());

  add(key: string): void {
    this.of(stageOf(key)).add(key);
  }

  delete(key: string): void {
    this.of(stageOf(key)).delete(key);
  }

  of(stage: number): Set<string> {
    return this.#stages[stage] as Set<string>;
  }
}
