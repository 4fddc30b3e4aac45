import { decode, parseJson, type Sealed, SealedContents, SealedError } from "@sluice/contracts";
import type { FleetPrivateKey, FleetPublicKey } from "./fleet-key.ts";
import { suite } from "./suite.ts";

/** Of an encapsulated X25519 key, bytes. */
const ENCAPSULATED = 32;

/**
 * What a box is sealed for. A box that is put at another id, or into another fleet's table, does not open there: who can
 * write the table cannot have one host show another's certificate.
 */
function infoOf(fleet: string, id: string): ArrayBuffer {
  const text = JSON.stringify(["sluice secret", 1, fleet, id]);
  return bytes(new TextEncoder().encode(text));
}

/** A buffer of its own, as WebCrypto's types want it. */
function bytes(view: Uint8Array): ArrayBuffer {
  const copy = new ArrayBuffer(view.byteLength);
  new Uint8Array(copy).set(view);
  return copy;
}

/** Each call gives another text, even for the same contents. @param id of the SecretRow that it stands in */
export async function seal(
  to: FleetPublicKey,
  fleet: string,
  id: string,
  contents: SealedContents,
): Promise<Sealed> {
  const plain = bytes(new TextEncoder().encode(JSON.stringify(contents)));
  const { enc, ct } = await suite.seal({ recipientPublicKey: to.key, info: infoOf(fleet, id) }, plain);
  const box = Buffer.concat([new Uint8Array(enc), new Uint8Array(ct)]).toString("base64");
  return { key: to.id, box };
}

/**
 * Opens a box with the key that it names.
 * @param id of the SecretRow that it stands in
 * @throws SealedError without a cause, since that might quote what is secret
 */
export async function openSealed(
  keys: readonly FleetPrivateKey[],
  fleet: string,
  id: string,
  { key: sealedFor, box }: Sealed,
): Promise<SealedContents> {
  const what = `secret ${id} of fleet ${fleet}`;
  const key = keys.find((each) => each.id === sealedFor);
  if (key === undefined) {
    const ours = keys.map((each) => each.id).join(", ") || "none";
    throw new SealedError(
      `${what} is sealed for key ${sealedFor}, and this proxy has ${ours}; ` +
        "give it that key with --fleet-key, or the renderer the public half of one of these",
    );
  }
  const whole = Buffer.from(box, "base64");
  let plain: ArrayBuffer;
  try {
    plain = await suite.open(
      {
        recipientKey: key.key.reveal(),
        enc: bytes(whole.subarray(0, ENCAPSULATED)),
        info: infoOf(fleet, id),
      },
      bytes(whole.subarray(ENCAPSULATED)),
    );
  } catch {
    throw new SealedError(
      `${what} does not open: it was changed on its way, or belongs to another secret or fleet; ` +
        "have its Secret written anew",
    );
  }
  try {
    return decode(SealedContents, parseJson(new Uint8Array(plain), what), what);
  } catch {
    throw new SealedError(`${what} opens, but holds no contents that this version knows; upgrade this proxy`);
  }
}
