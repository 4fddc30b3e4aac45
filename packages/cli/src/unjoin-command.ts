import { giveOrder, type OrderOptions } from "./orders.ts";

/** `sluice unjoin CLUSTER`: it is gone for good; whatever it had published is removed. */
export async function unjoinCommand(cluster: string, options: OrderOptions): Promise<number> {
  await giveOrder("unjoin", cluster, options);
  process.stdout.write(
    `${cluster} is unjoined: its records are being removed, and its watcher publishes nothing until sluice join ${cluster}\n`,
  );
  return 0;
}
