import { integer } from "@sluice/service-kit";

/** Where TLS clients come in; `auto`: the usual port, or any free one where that is taken. */
export type HttpsPort = number | "auto" | "off";

export function readHttpsPort(value: string): HttpsPort {
  return value === "auto" || value === "off" ? value : integer(1, 65535)(value);
}
