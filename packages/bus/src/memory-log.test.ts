import { logContract } from "./log-contract.ts";
import { MemoryServer } from "./memory-store.ts";

logContract("memory", async () => {
  const server = new MemoryServer();
  return {
    connect: () => server.connect(),
    restart: async (options = {}) => server.restart(options),
    close: async () => {},
  };
});
