import { giveOrder, type OrderOptions } from "./orders.ts";

/** `sluice drain CLUSTER`: no new request goes there; what runs there ends by itself. */
export async function drainCommand(cluster: string, options: OrderOptions): Promise<number> {
  await giveOrder("drain", cluster, options);
  process.stdout.write(`${cluster} is drained; sluice undrain ${cluster} takes it back in\n`);
  return 0;
}
