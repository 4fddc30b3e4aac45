/** A second with more happenings than this is a loop that somebody forgot to slow down. */
const HOT = 20_000;

export class RunsHotError extends Error {}

/** Something that will happen at a moment of virtual time, unless it is cancelled before. */
export interface Timer {
  cancel(): void;
}

class Happening implements Timer {
  readonly time: number;
  readonly order: number;
  run: (() => void) | null;

  constructor(time: number, order: number, run: () => void) {
    this.time = time;
    this.order = order;
    this.run = run;
  }

  cancel(): void {
    this.run = null;
  }
}

/**
 * Time that passes only when everything that could happen now has happened: a heap of happenings, in milliseconds, in
 * the order of their time and then of their making. Between two of them every promise that can go on does.
 */
export class VirtualTime {
  #now = 0;
  #made = 0;
  readonly #heap: Happening[] = [];
  #ran = 0;
  /** In the second of virtual time that runs now. */
  #inSecond = 0;
  #second = 0;

  /** Milliseconds since the schedule began. */
  get now(): number {
    return this.#now;
  }

  /** Happenings so far. */
  get ran(): number {
    return this.#ran;
  }

  at(time: number, run: () => void): Timer {
    const happening = new Happening(Math.max(time, this.#now), this.#made++, run);
    this.#push(happening);
    return happening;
  }

  after(ms: number, run: () => void): Timer {
    return this.at(this.#now + ms, run);
  }

  /** The machine slept: what was due meanwhile is due now. */
  skip(ms: number): void {
    this.#now += ms;
  }

  /**
   * Lets everything happen that is due until then. Each step runs in a tick of its own: Node drains all microtasks
   * between two ticks, and never comes to its timers or its I/O, so nothing outside of this heap has a say.
   * @throws what a happening throws
   */
  run(until: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // A tick that a tick asks for comes at once; one that a microtask asks for comes behind all microtasks.
    const tick = () => process.nextTick(step);
    const now = Promise.resolve();
    const next = () => void now.then(tick);
    const step = () => {
      const happening = this.#take(until);
      if (happening === null) {
        this.#now = Math.max(this.#now, until);
        resolve();
        return;
      }
      // What was due while the machine slept comes late.
      this.#now = Math.max(this.#now, happening.time);
      try {
        this.#count();
        happening.run?.();
      } catch (error) {
        reject(error);
        return;
      }
      next();
    };
    next();
    return promise;
  }

  #count(): void {
    this.#ran++;
    const second = Math.floor(this.#now / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#inSecond = 0;
    }
    if (++this.#inSecond > HOT) throw new RunsHotError(`more than ${HOT} happenings within a second`);
  }

  #take(until: number): Happening | null {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || first.time > until) return null;
      this.#pop();
      if (first.run !== null) return first;
    }
  }

  #push(happening: Happening): void {
    const heap = this.#heap;
    let i = heap.length;
    heap.push(happening);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = heap[parent]!;
      if (!before(happening, above)) break;
      heap[i] = above;
      i = parent;
    }
    heap[i] = happening;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    const size = heap.length;
    if (size === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= size) break;
      if (child + 1 < size && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
  }
}

function before(a: Happening, b: Happening): boolean {
  return a.time < b.time || (a.time === b.time && a.order < b.order);
}
