import { once } from "node:events";
import { connect } from "node:tls";

/** One TLS connection of a client that trusts nobody and resumes nothing. @returns the leaf's serial number, lower case */
export async function shakeHands(address: string, servername: string): Promise<string> {
  const [host, port] = address.split(":");
  const socket = connect({ host: host ?? "", port: Number(port), servername, rejectUnauthorized: false });
  try {
    await once(socket, "secureConnect");
    return socket.getPeerX509Certificate()?.serialNumber.toLowerCase() ?? "";
  } finally {
    socket.destroy();
  }
}
