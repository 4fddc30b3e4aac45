import { MemoryServer } from "./memory-store.ts";
import { type CuttableServer, resumeContract } from "./resume-contract.ts";
import { tableContract } from "./table-contract.ts";

async function start(): Promise<CuttableServer> {
  const server = new MemoryServer();
  return {
    connect: () => server.connect(),
    restart: async (options) => server.restart(options),
    cut: async () => server.cut(),
    close: async () => {},
  };
}

tableContract("in memory", start);
resumeContract("in memory", start);
