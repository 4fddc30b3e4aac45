import { MemoryServer } from "./memory-store.ts";
import { tableContract } from "./table-contract.ts";

tableContract("in memory", async () => {
  const server = new MemoryServer();
  return {
    connect: () => server.connect(),
    restart: async (options) => server.restart(options),
    close: async () => {},
  };
});
