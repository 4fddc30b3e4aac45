import { X509Certificate } from "node:crypto";
import { request } from "node:https";
import type { TLSSocket } from "node:tls";

export interface TlsAnswer {
  readonly status: number;
  readonly body: string;
  /** Of the certificate that was shown. */
  readonly serialNumber: string;
  /** Whoever signed that is one of the given authorities, and it is for the host. */
  readonly trusted: boolean;
}

/** One GET over a connection of its own. @param ca in PEM */
export function getByTls(url: string, host: string, ca: string): Promise<TlsAnswer> {
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      {
        agent: false,
        ca,
        headers: { host },
        servername: host,
        rejectUnauthorized: false,
        signal: AbortSignal.timeout(30_000),
      },
      (response) => {
        const socket = response.socket as TLSSocket;
        const { serialNumber } = new X509Certificate(socket.getPeerCertificate().raw);
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            body: Buffer.concat(chunks).toString(),
            serialNumber,
            trusted: socket.authorized,
          }),
        );
      },
    );
    sent.on("error", reject);
    sent.end();
  });
}
