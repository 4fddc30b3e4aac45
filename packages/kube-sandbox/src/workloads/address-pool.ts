/** IPv4 addresses out of a CIDR. An address that was given back is taken again last, so that stale routes show. */
export class AddressPool {
  readonly #base: number;
  readonly #size: number;
  readonly #taken = new Set<number>();
  #next = 2;

  /** @throws RangeError for what is no IPv4 CIDR with room for a pod */
  constructor(cidr: string) {
    const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(cidr);
    const bytes = (match?.slice(1, 5) ?? []).map(Number);
    const bits = Number(match?.[5]);
    if (match === null || bytes.some((byte) => byte > 255) || bits < 8 || bits > 29) {
      throw new RangeError(`${cidr}: write an IPv4 range such as 127.11.0.0/16`);
    }
    this.#size = 2 ** (32 - bits);
    const address = bytes.reduce((value, byte) => value * 256 + byte, 0);
    this.#base = address - (address % this.#size);
  }

  /** The range's first host: the node's own. */
  get node(): string {
    return format(this.#base + 1);
  }

  /** @throws RangeError when all are taken */
  take(): string {
    for (let tried = 0; tried < this.#size; tried += 1) {
      const offset = this.#next;
      this.#next = this.#next + 1 >= this.#size - 1 ? 2 : this.#next + 1;
      if (this.#taken.has(offset)) continue;
      this.#taken.add(offset);
      return format(this.#base + offset);
    }
    throw new RangeError("every pod address of the node is taken");
  }

  /** The address a pod had before we were started; false when another has it. */
  claim(address: string): boolean {
    const offset = address.split(".").reduce((value, byte) => value * 256 + Number(byte), 0) - this.#base;
    if (!(offset >= 2 && offset < this.#size - 1) || this.#taken.has(offset)) return false;
    this.#taken.add(offset);
    return true;
  }

  release(address: string): void {
    this.#taken.delete(
      address.split(".").reduce((value, byte) => value * 256 + Number(byte), 0) - this.#base,
    );
  }
}

function format(address: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join(".");
}
