import { type FleetValue, peerFilter, type RouteRow } from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";
import type { NginxNameRow } from "./nginx-row.ts";
import { Wake } from "./wake.ts";

/** What a name server says of a name. */
export interface Lookup {
  readonly addresses: readonly string[];
  readonly ttlSeconds: number;
}

export interface AuthNamesOptions {
  /** Loopback ranges of /16 or longer that may be asked all the same. */
  readonly allowed: readonly string[];
  /** Addresses that are never asked, such as the hub's own. */
  readonly refused: readonly string[];
  /** Absent: IP addresses alone may be asked. @throws Error when nobody knows the name */
  readonly lookup?: ((name: string, signal: AbortSignal) => Promise<Lookup>) | undefined;
}

type NameRow = Extract<NginxNameRow, { readonly addresses: unknown }>;

/** Annotations that name services. */
type Asking = "auth-url" | "mirror-target";

interface Known {
  /** Keys of the routes that ask it, and by which annotation. */
  readonly users: Map<string, Asking>;
  addresses: readonly string[] | null;
  /** On the monotonic clock. */
  dueAt: number;
  failures: number;
  problem: string | null;
  /** nginx has what is known. */
  sent: boolean;
}

/** Names that are kept; and of one name as many addresses as a row takes. */
const MOST_NAMES = 1000;
const MOST_ADDRESSES = 16;
const MOST_AT_ONCE = 8;
const LOOKUP_MS = 5000;
const LEAST_MS = 5000;
const MOST_MS = 60_000;

/**
 * Where the services are that are asked of requests (auth-url), or get copies of them (mirror-target). They are looked up here, again and again, so that nginx waits
 * for no name server, and because here it is judged which addresses may be asked: whoever may write an object must not make
 * a proxy ask itself, the machine that it runs on or a cloud's metadata service.
 */
export class AuthNames {
  readonly #kit: Kit;
  readonly #lookup: AuthNamesOptions["lookup"];
  readonly #filter: ReturnType<typeof peerFilter>;
  readonly #changed: () => void;
  readonly #names = new Map<string, Known>();
  /** Names by route key. */
  readonly #of = new Map<string, ReadonlySet<string>>();
  readonly #removed = new Set<string>();
  readonly #work = new Wake();

  /** @param changed there is something to send */
  constructor(options: AuthNamesOptions, kit: Kit, changed: () => void) {
    this.#kit = kit;
    this.#lookup = options.lookup;
    this.#changed = changed;
    this.#filter = peerFilter({
      fromNodes: ["0.0.0.0/0", "::/0"],
      fromFlags: options.allowed,
      refused: options.refused,
    });
  }

  /** A fleet record as it is now; undefined: it is gone. */
  set(key: string, value: FleetValue | undefined): void {
    if (key.split(".")[1] !== "routes") return;
    const names = new Map<string, Asking>();
    for (const { auth, mirror } of (value as RouteRow | undefined)?.paths ?? []) {
      if (mirror !== undefined) names.set(mirror.host.toLowerCase(), "mirror-target");
      if (auth !== undefined) names.set(auth.host.toLowerCase(), "auth-url");
    }
    const before = this.#of.get(key);
    if (names.size === 0 && before === undefined) return;
    for (const name of before ?? []) if (!names.has(name)) this.#leave(name, key);
    if (names.size === 0) this.#of.delete(key);
    else this.#of.set(key, new Set(names.keys()));
    for (const [name, asking] of names) this.#enter(name, key, asking);
    this.#work.notify();
  }

  #enter(name: string, key: string, asking: Asking): void {
    const known = this.#names.get(name);
    if (known !== undefined) known.users.set(key, asking);
    else if (this.#names.size < MOST_NAMES) {
      const users = new Map([[key, asking]]);
      this.#names.set(name, { users, addresses: null, dueAt: 0, failures: 0, problem: null, sent: true });
      this.#removed.delete(name);
    }
  }

  #leave(name: string, key: string): void {
    const known = this.#names.get(name);
    if (known === undefined || !known.users.delete(key) || known.users.size > 0) return;
    this.#names.delete(name);
    this.#removed.add(name);
    this.#changed();
  }

  /** What a last good copy had: asked until the name is known again. */
  remember(row: NameRow): void {
    const known = this.#names.get(row.name);
    if (known !== undefined) Object.assign(known, { addresses: row.addresses, sent: false });
  }

  /** Another nginx: it has none of them. */
  meet(): void {
    for (const known of this.#names.values()) known.sent = known.addresses === null;
  }

  /** Now and then. */
  tick(): void {
    const now = this.#kit.clock.monotonic();
    for (const { dueAt } of this.#names.values()) if (dueAt <= now) return this.#work.notify();
  }

  async run(): Promise<void> {
    const { signal, clock } = this.#kit;
    while (!signal.aborted) {
      await this.#work.wait(signal);
      const now = clock.monotonic();
      const due = [...this.#names].filter(([, { dueAt }]) => dueAt <= now);
      for (let i = 0; i < due.length && !signal.aborted; i += MOST_AT_ONCE) {
        await Promise.all(due.slice(i, i + MOST_AT_ONCE).map(([name, known]) => this.#resolve(name, known)));
      }
    }
  }

  async #resolve(name: string, known: Known): Promise<void> {
    const { clock } = this.#kit;
    try {
      const { addresses, ttlSeconds } = await this.#ask(name);
      const verdicts = addresses.map((address) => ({ address, verdict: this.#filter(address) }));
      const refused = verdicts.flatMap(({ verdict }) => (verdict.allowed ? [] : [verdict.why]));
      known.problem = refused.length === 0 ? null : `${name} may not be asked: ${refused[0]}`;
      known.failures = 0;
      known.dueAt = clock.monotonic() + Math.min(MOST_MS, Math.max(LEAST_MS, ttlSeconds * 1000));
      const allowed = verdicts.flatMap(({ address, verdict }) => (verdict.allowed ? [address] : []));
      this.#learn(known, allowed.sort().slice(0, MOST_ADDRESSES));
    } catch (err) {
      if (this.#kit.signal.aborted) return;
      // What it was is better than nothing: a name server that is away takes no service away.
      known.problem = `${name} cannot be looked up: ${err instanceof Error ? err.message : String(err)}`;
      known.dueAt = clock.monotonic() + Math.min(MOST_MS, 1000 * 2 ** known.failures++);
      this.#changed();
    }
  }

  async #ask(name: string): Promise<Lookup> {
    if (/^[0-9.]+$/.test(name) || name.includes(":")) return { addresses: [name], ttlSeconds: MOST_MS };
    if (this.#lookup === undefined) throw new Error("this agent has no name server to ask");
    return this.#lookup(name, AbortSignal.any([this.#kit.signal, AbortSignal.timeout(LOOKUP_MS)]));
  }

  #learn(known: Known, addresses: readonly string[]): void {
    const before = known.addresses;
    if (before?.length === addresses.length && before.every((address, i) => address === addresses[i])) return;
    known.addresses = addresses;
    known.sent = false;
    this.#changed();
  }

  /** What nginx should be told; `told` when it was. */
  pending(): NginxNameRow[] {
    return [
      ...[...this.#names].flatMap(([name, { addresses, sent }]) =>
        sent || addresses === null ? [] : [{ k: "name", name, addresses } as const],
      ),
      ...[...this.#removed].map((name) => ({ k: "name", name, del: true }) as const),
    ];
  }

  told(rows: readonly NginxNameRow[]): void {
    for (const row of rows) {
      if ("del" in row) this.#removed.delete(row.name);
      else {
        const known = this.#names.get(row.name);
        if (known !== undefined && known.addresses === row.addresses) known.sent = true;
      }
    }
  }

  /** For the last good copy. */
  *rows(): IterableIterator<NameRow> {
    for (const [name, { addresses }] of this.#names) {
      if (addresses !== null) yield { k: "name", name, addresses };
    }
  }

  get problems(): { key: string; problem: string }[] {
    return [...this.#names.values()].flatMap(({ users, problem }) =>
      problem === null ? [] : [...users].map(([key, asking]) => ({ key, problem: `${asking} ${problem}` })),
    );
  }
}
