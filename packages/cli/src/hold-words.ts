/** Why a proxy asks a peer nothing, and until when. @param until ms since 1970 */
export function holdWords(
  by: "checks" | "requests" | undefined,
  until: number,
  now: number,
): { readonly because: string; readonly until: string } {
  if (by === "checks") return { because: "misses its checks", until: "it passes them" };
  const seconds = Math.max(0, Math.round((until - now) / 1000));
  return { because: "requests failed", until: `tried again in ${seconds} s` };
}
