import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { SealedContents, SecretRow } from "@sluice/contracts";
import { type FleetPrivateKey, readPrivateKey, readPublicKey, seal, writeFleetKey } from "@sluice/sealing";

/** The keys of fleet `default`: the renderer's half and the proxies'. */
export interface FleetSealer {
  readonly keys: readonly FleetPrivateKey[];
  row(id: string, contents: SealedContents): Promise<SecretRow>;
}

export async function fleetSealer(t: TestContext): Promise<FleetSealer> {
  const dir = await mkdtemp(join(tmpdir(), "sluice-key-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const files = await writeFleetKey(dir);
  const to = await readPublicKey(files.publicFile);
  return {
    keys: [await readPrivateKey(files.privateFile)],
    row: async (id, contents) => ({
      id,
      namespace: "shop",
      name: id,
      sealed: await seal(to, "default", id, contents),
    }),
  };
}
