import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { ip, namespaceOf, said } from "./namespace.ts";

/** `freeze`: its processes stop and its kernel goes on; `drop`: nothing that it sends arrives any more. */
export type Fault = "freeze" | "drop";

export const PORT = 8080;
const script = fileURLToPath(new URL("member-peers.ts", import.meta.url));

/** A member cluster: a network namespace with a few pods, and a link from here. */
export class Member implements AsyncDisposable {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly #gateway: string;
  readonly #child: ChildProcess;
  readonly #pid: number;

  private constructor(name: string, gateway: string, addresses: readonly string[], child: ChildProcess) {
    this.name = name;
    this.addresses = addresses;
    this.#gateway = gateway;
    this.#child = child;
    this.#pid = child.pid!;
  }

  /** @param n 1 to 250: its addresses are in 10.77.n.0/24 */
  static async start(n: number, pods: number): Promise<Member> {
    const name = `member${n}`;
    const gateway = `10.77.${n}.1`;
    const addresses = Array.from({ length: pods }, (_, i) => `10.77.${n}.${10 + i}`);
    const { child, pid } = await namespaceOf(script, [name, String(PORT), ...addresses]);
    const member = new Member(name, gateway, addresses, child);
    await ip(["link", "add", `to-${name}`, "type", "veth", "peer", "name", "eth0", "netns", String(pid)]);
    await ip(["address", "add", `${gateway}/24`, "dev", `to-${name}`]);
    await ip(["link", "set", `to-${name}`, "up"]);
    for (const address of addresses) await ip(["address", "add", `${address}/24`, "dev", "eth0"], pid);
    await ip(["link", "set", "eth0", "up"], pid);
    const listening = said(child, "listening");
    child.stdin?.write("go\n");
    await listening;
    return member;
  }

  async break(fault: Fault): Promise<void> {
    if (fault === "freeze") process.kill(this.#pid, "SIGSTOP");
    else await ip(["route", "add", "blackhole", `${this.#gateway}/32`], this.#pid);
  }

  async mend(fault: Fault): Promise<void> {
    if (fault === "freeze") process.kill(this.#pid, "SIGCONT");
    else await ip(["route", "delete", "blackhole", `${this.#gateway}/32`], this.#pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }
}
