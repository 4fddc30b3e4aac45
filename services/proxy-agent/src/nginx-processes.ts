import { readFile } from "node:fs/promises";

/** What nginx's processes come to together, as the kernel counts it. */
export interface NginxProcesses {
  readonly processes: number;
  /** Of processes that have ended, too. */
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  readonly virtualBytes: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  /** Seconds since 1970. */
  readonly startedAt: number;
}

/** Clock ticks per second that Linux tells user space, whatever it runs on. */
const TICKS = 100;

interface OneProcess {
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  readonly virtualBytes: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly startTicks: number;
}

const absent = (error: NodeJS.ErrnoException): null => {
  // ESRCH: it ended while it was read; EACCES: /proc/PID/io of a process of somebody else.
  if (["ENOENT", "ESRCH", "EACCES", "EPERM"].includes(error.code ?? "")) return null;
  throw error;
};

const kilobytes = (text: string, name: string): number =>
  Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text)?.[1] ?? 0) * 1024;

async function readOne(pid: number): Promise<OneProcess | null> {
  const [stat, status, io] = await Promise.all(
    ["stat", "status", "io"].map((name) => readFile(`/proc/${pid}/${name}`, "utf8").catch(absent)),
  );
  if (stat == null || status == null) return null;
  // Behind the name, which stands in parentheses and may hold anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const count = (name: string) => Number(new RegExp(`^${name}: (\\d+)$`, "m").exec(io ?? "")?.[1] ?? 0);
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS,
    residentBytes: kilobytes(status, "VmRSS"),
    virtualBytes: kilobytes(status, "VmSize"),
    readBytes: count("read_bytes"),
    writeBytes: count("write_bytes"),
    startTicks: Number(fields[19]),
  };
}

/** Counts of processes that come and go, by what each had when it was seen last. */
class Growing {
  #total = 0;
  #last = new Map<number, number>();

  add(now: ReadonlyMap<number, number>): number {
    for (const [pid, value] of now) this.#total += Math.max(0, value - (this.#last.get(pid) ?? 0));
    this.#last = new Map(now);
    return this.#total;
  }
}

/** Reads /proc: of Linux, and elsewhere of nobody. */
export class ProcessReader {
  readonly #cpu = new Growing();
  readonly #read = new Growing();
  readonly #written = new Growing();

  /** @returns null where there is no such process, or no way to know */
  async read(master: number): Promise<NginxProcesses | null> {
    const children = await readFile(`/proc/${master}/task/${master}/children`, "utf8").catch(absent);
    const uptime = await readFile("/proc/stat", "utf8").catch(absent);
    const bootedAt = Number(/^btime (\d+)$/m.exec(uptime ?? "")?.[1] ?? 0);
    const pids = [master, ...(children ?? "").split(" ").filter(Boolean).map(Number)];
    const found = new Map<number, OneProcess>();
    for (const pid of pids) {
      const one = await readOne(pid);
      if (one !== null) found.set(pid, one);
    }
    const first = found.get(master);
    if (first === undefined) return null;
    const sum = (key: keyof OneProcess) => [...found.values()].reduce((all, one) => all + one[key], 0);
    const each = (key: keyof OneProcess) => new Map([...found].map(([pid, one]) => [pid, one[key]]));
    return {
      processes: found.size,
      cpuSeconds: this.#cpu.add(each("cpuSeconds")),
      residentBytes: sum("residentBytes"),
      virtualBytes: sum("virtualBytes"),
      readBytes: this.#read.add(each("readBytes")),
      writeBytes: this.#written.add(each("writeBytes")),
      startedAt: bootedAt + first.startTicks / TICKS,
    };
  }
}
