import { fleetKeys } from "@sluice/contracts";
import {
  LastGoodFile,
  lastGoodPathOf,
  type NginxRow,
  secretsPathOf,
  testAuthority,
  testCertificate,
} from "@sluice/proxy-agent/testing";
import { shakeHands } from "./handshake.ts";
import { startNginxStage } from "./nginx-stage.ts";
import { memoryOf } from "./process-figures.ts";

export interface ManyCertificates {
  /** Until nginx listened with all of them, and until the last host's client was shown its own. */
  readonly listensSeconds: number;
  readonly startSeconds: number;
  /** Of the larger worker, once so many hosts' clients had shaken hands. */
  readonly workerMb: number;
  readonly handshakes: number;
  /** Clients that were shown another certificate than their host's. */
  readonly wrong: number;
}

const FLEET = "default";
const hostOf = (n: number) => `h${n}.example.test`;

/**
 * An nginx that starts with a copy of so many hosts on its disk, each with a certificate of its own.
 * @param certificateOf whose certificate a host is given; another one's is a fault that must show
 */
export async function manyCertificates(
  count: number,
  handshakes: number,
  signal: AbortSignal,
  certificateOf = (host: number) => host,
): Promise<ManyCertificates> {
  const authority = await testAuthority("bench");
  const serials: string[] = [];
  const beforehand = async (dir: string) => {
    const entries: { key: string; value: never; row: NginxRow }[] = [];
    const add = (key: string, row: NginxRow) => entries.push({ key, value: {} as never, row });
    for (let n = 0; n < count; n++) {
      signal.throwIfAborted();
      const { chain, key, serial } = await testCertificate(authority, [hostOf(n)]);
      serials.push(serial);
      const id = `shop-h${n}-tls`;
      add(fleetKeys.secret(FLEET, id), { k: "secret", id, chain, key });
      add(fleetKeys.route(FLEET, hostOf(n)), {
        k: "route",
        host: hostOf(n),
        paths: [["P", "/", "", "default"]],
        certificate: `shop-h${certificateOf(n)}-tls`,
      });
    }
    await new LastGoodFile(lastGoodPathOf(dir), secretsPathOf(dir)).save({ entries, wholeAt: 0 });
  };
  await using nginx = await startNginxStage(signal, beforehand);
  const began = performance.now();
  let wrong = 0;
  const shake = async (n: number) => {
    if ((await shakeHands(nginx.httpsAddress, hostOf(n))) !== serials[n]) wrong++;
  };
  await shake(count - 1);
  const startSeconds = nginx.startSeconds + (performance.now() - began) / 1000;
  for (let n = 0; n < handshakes; n++) {
    signal.throwIfAborted();
    await shake(n % count);
  }
  const memory = await Promise.all((await nginx.workers()).map(memoryOf));
  return {
    listensSeconds: nginx.startSeconds,
    startSeconds,
    workerMb: Math.max(...memory.map(({ nowMb }) => nowMb)),
    handshakes: handshakes + 1,
    wrong,
  };
}
