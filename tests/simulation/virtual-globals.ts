import type { Timer, VirtualTime } from "./virtual-time.ts";

type Callback = (...args: unknown[]) => void;

/** When virtual time began, as a wall clock shows it: 2026-01-01T00:00:00Z. */
export const BEGAN_AT = Date.UTC(2026, 0, 1);

let current: VirtualTime | null = null;

function timeNow(): VirtualTime {
  if (current === null) throw new Error("a timer was asked for while no schedule runs");
  return current;
}

/** What Node's timers answer; libraries call `unref` on it. */
class VirtualHandle {
  timer: Timer | null = null;
  unref(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  cancel(): void {
    this.timer?.cancel();
  }
}

function every(ms: number, run: () => void): VirtualHandle {
  const handle = new VirtualHandle();
  const time = timeNow();
  const again = () => {
    handle.timer = time.after(Math.max(1, ms), () => {
      again();
      run();
    });
  };
  again();
  return handle;
}

function clear(handle: unknown): void {
  if (handle instanceof VirtualHandle) handle.cancel();
}

/**
 * Gives this whole JavaScript realm to virtual time: what product code and its libraries do by `setImmediate`,
 * `setTimeout`, `setInterval` and `Date.now` happens on the heap of the schedule that runs. To be called in a thread or
 * process of its own, once.
 */
export function takeGlobals(): void {
  const virtual = {
    setImmediate: (run: Callback, ...args: unknown[]) => {
      const handle = new VirtualHandle();
      handle.timer = timeNow().after(0, () => run(...args));
      return handle;
    },
    setTimeout: (run: Callback, ms = 0, ...args: unknown[]) => {
      const handle = new VirtualHandle();
      handle.timer = timeNow().after(Math.max(1, ms), () => run(...args));
      return handle;
    },
    setInterval: (run: Callback, ms = 0, ...args: unknown[]) => every(ms, () => run(...args)),
    clearImmediate: clear,
    clearTimeout: clear,
    clearInterval: clear,
  };
  Object.assign(globalThis, virtual);
  Date.now = () => BEGAN_AT + (current?.now ?? 0);
}

export function runUnder(time: VirtualTime | null): void {
  current = time;
}
