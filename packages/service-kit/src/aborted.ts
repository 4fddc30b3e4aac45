/** Rejects with the signal's reason once it aborts: for races with what takes no signal. */
export async function rejectedBy(signal: AbortSignal): Promise<never> {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  return promise;
}
