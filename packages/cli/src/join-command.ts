import { type OrderOptions, takeOrderBack } from "./orders.ts";

/** `sluice join CLUSTER`: its watcher may publish again. */
export async function joinCommand(cluster: string, options: OrderOptions): Promise<number> {
  const stood = await takeOrderBack("unjoin", cluster, options);
  process.stdout.write(
    stood ? `${cluster} may publish again\n` : `${cluster} was not unjoined; nothing is to be done\n`,
  );
  return 0;
}
