import { freePort } from "@sluice/native-tools";
import { integer } from "@sluice/service-kit";
import { portFree } from "./listener.ts";

/** Where TLS clients come in; `auto`: the usual port, or any free one where that is taken. */
export type HttpsPort = number | "auto" | "off";

const USUAL = 31591;

export function readHttpsPort(value: string): HttpsPort {
  return value === "auto" || value === "off" ? value : integer(1, 65535)(value);
}

/**
 * @param usual whether the port for http is the usual one; who chooses that one wants the other out of the way, too
 * @returns null: TLS is not served
 * @throws PortTakenError where the port was asked for
 */
export async function takeHttpsPort(given: HttpsPort, usual: boolean): Promise<number | null> {
  if (given === "off") return null;
  if (given !== "auto") {
    await portFree("127.0.0.1", given, "--https-port");
    return given;
  }
  if (!usual) return freePort();
  return portFree("127.0.0.1", USUAL, "--https-port").then(
    () => USUAL,
    () => freePort(),
  );
}
