import { connect } from "node:net";
import { type Clock, TimeLimit } from "@sluice/service-kit";

/** Whether a peer accepts a connection. Never rejects. */
export type PeerProbe = (address: string, port: number, signal: AbortSignal) => Promise<boolean>;

/** A peer that has not accepted by then does not answer, ms. */
const CONNECT_MS = 1000;

/** By a TCP connection from where the watcher runs: one beside the hub may reach none of a member's peers. */
export function tcpProbe(clock: Clock): PeerProbe {
  return async (address, port, signal) => {
    using limit = new TimeLimit(clock, CONNECT_MS, signal);
    return await new Promise<boolean>((resolve) => {
      const socket = connect({ host: address, port });
      const end = (answers: boolean) => {
        limit.signal.removeEventListener("abort", late);
        socket.destroy();
        resolve(answers);
      };
      const late = () => end(false);
      socket.once("connect", () => end(true));
      socket.once("error", () => end(false));
      limit.signal.addEventListener("abort", late, { once: true });
      if (limit.signal.aborted) late();
    });
  };
}
