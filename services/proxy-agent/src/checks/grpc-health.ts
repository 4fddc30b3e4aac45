// grpc.health.v1: `HealthCheckRequest { string service = 1 }` and `HealthCheckResponse { ServingStatus status = 1 }`, each
// behind gRPC's five bytes: not compressed, and the message's length.
// https://github.com/grpc/grpc/blob/master/doc/health-checking.md

const SERVING = 1;
const PREFIX = 5;
/** Field 1, of bytes and of a number. */
const FIELD_BYTES = 0x0a;
const FIELD_NUMBER = 0x08;

/** @param service up to 127 bytes go into one byte of length, up to 16,383 into two */
export function serviceQuestion(service: string): Buffer {
  const name = Buffer.from(service);
  const length =
    name.length < 0x80
      ? Buffer.from([name.length])
      : Buffer.from([(name.length & 0x7f) | 0x80, name.length >> 7]);
  // What is empty is not written.
  const message = name.length === 0 ? name : Buffer.concat([Buffer.from([FIELD_BYTES]), length, name]);
  const prefix = Buffer.alloc(PREFIX);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

export function servingAnswer(answer: Buffer): boolean {
  return (
    answer.length === PREFIX + 2 &&
    answer[0] === 0 &&
    answer.readUInt32BE(1) === 2 &&
    answer[PREFIX] === FIELD_NUMBER &&
    answer[PREFIX + 1] === SERVING
  );
}
