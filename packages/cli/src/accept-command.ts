import { giveOrder, type OrderOptions } from "./orders.ts";

/** `sluice accept CLUSTER`: the list that takes away most of its peers is right. */
export async function acceptCommand(cluster: string, options: OrderOptions): Promise<number> {
  await giveOrder("accept-list", cluster, options);
  process.stdout.write(`the list of ${cluster} that is held now passes\n`);
  return 0;
}
