/** What a step of a rolling update looks at, of one ReplicaSet. */
export interface SetSize {
  readonly name: string;
  /** spec.replicas */
  readonly wanted: number;
  /** status.availableReplicas */
  readonly available: number;
}

export interface RolloutLimits {
  readonly desired: number;
  readonly maxSurge: number;
  readonly maxUnavailable: number;
}

/** maxSurge and maxUnavailable as numbers: percentages of the desired count, rounded up and down. */
export function rolloutLimits(
  desired: number,
  maxSurge: number | string = "25%",
  maxUnavailable: number | string = "25%",
): RolloutLimits {
  const surge = absolute(maxSurge, desired, Math.ceil);
  const unavailable = absolute(maxUnavailable, desired, Math.floor);
  // Both 0 could never move; Kubernetes lets one pod be missing then.
  return { desired, maxSurge: surge, maxUnavailable: surge === 0 && unavailable === 0 ? 1 : unavailable };
}

function absolute(value: number | string, of: number, round: (n: number) => number): number {
  if (typeof value === "number") return value;
  return value.endsWith("%") ? round((Number.parseFloat(value) / 100) * of) : Number.parseInt(value, 10);
}

/**
 * The next sizes of a Deployment's ReplicaSets, as Kubernetes steps a rolling update: the new one grows into the
 * surge, old ones that do not serve anyway shrink first, the others as far as availability allows.
 */
export function rollingStep(
  current: SetSize,
  old: readonly SetSize[],
  limits: RolloutLimits,
): ReadonlyMap<string, number> {
  const sizes = new Map([current, ...old].map((set) => [set.name, set.wanted]));
  const total = sum([...sizes.values()]);
  const { desired, maxSurge, maxUnavailable } = limits;
  if (current.wanted > desired) sizes.set(current.name, desired);
  else {
    const room = Math.max(0, desired + maxSurge - total);
    sizes.set(current.name, Math.min(desired, current.wanted + room));
  }
  const minAvailable = desired - maxUnavailable;
  const unavailableNew = Math.max(0, current.wanted - current.available);
  let removable = Math.max(0, total - minAvailable - unavailableNew);
  const shrink = (set: SetSize, by: number) => {
    const taken = Math.min(by, sizes.get(set.name) ?? 0);
    sizes.set(set.name, (sizes.get(set.name) ?? 0) - taken);
    return taken;
  };
  for (const set of old)
    removable -= shrink(set, Math.min(removable, Math.max(0, set.wanted - set.available)));
  let spare = Math.max(0, sum([current, ...old].map((set) => set.available)) - minAvailable);
  for (const set of old) {
    const taken = shrink(set, Math.min(removable, spare, sizes.get(set.name) ?? 0));
    spare -= taken;
    removable -= taken;
  }
  return sizes;
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}
