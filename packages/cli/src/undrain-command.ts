import { type OrderOptions, takeOrderBack } from "./orders.ts";

/** `sluice undrain CLUSTER`: requests go there again. */
export async function undrainCommand(cluster: string, options: OrderOptions): Promise<number> {
  const stood = await takeOrderBack("drain", cluster, options);
  process.stdout.write(stood ? `${cluster} is back in\n` : `${cluster} was not drained\n`);
  return 0;
}
