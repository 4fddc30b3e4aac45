import { writeFleetKey } from "@sluice/sealing";

/** `sluice fleet-key`: a key pair into a folder; one that is there stays. */
export async function fleetKeyCommand({ dir }: { readonly dir: string }): Promise<number> {
  const { id, publicFile, privateFile } = await writeFleetKey(dir);
  process.stdout.write(
    [
      `key ${id}`,
      `  ${publicFile}: for config-renderer, with --fleet-key`,
      `  ${privateFile}: for each proxy-agent of the fleet, with --fleet-key, and for nobody else`,
      "",
    ].join("\n"),
  );
  return 0;
}
