// Loaded before a service (`node --import`), this makes its wall clock wrong, as that of a machine that lost its time server.
// The monotonic clock stays, and so does the time that OpenSSL goes by.
import { clockAhead } from "./clocks-ahead.ts";

const aheadMs = clockAhead(process.argv[1] ?? "", process.env);
if (aheadMs !== 0) {
  const right = Date;
  const now = () => right.now() + aheadMs;
  globalThis.Date = new Proxy(right, {
    apply: () => new right(now()).toString(),
    construct: (target, args, self) => Reflect.construct(target, args.length === 0 ? [now()] : args, self),
    get: (target, key, self) => (key === "now" ? now : Reflect.get(target, key, self)),
  });
  // Services read the time of day as this and what has passed since.
  Object.defineProperty(performance, "timeOrigin", { value: performance.timeOrigin + aheadMs });
}
