import { after, before } from "node:test";
import { tableContract } from "./table-contract.ts";
import { eachNode, startTrialCluster, type TrialCluster } from "./trial-cluster.ts";

let trial: TrialCluster;
before(async () => {
  trial = await startTrialCluster(40);
});
after(async () => {
  await trial[Symbol.asyncDispose]();
});

tableContract(
  "three nats-servers",
  async () => {
    const room = trial.room();
    const { cluster } = trial;
    return {
      connect: (kit) => room.connect(kit),
      async restart(options = {}) {
        await eachNode(cluster, (node) => node.stop());
        if (options.wipe === true) await eachNode(cluster, (node) => node.wipe());
        await eachNode(cluster, (node) => node.start());
      },
      close: () => room.close(),
    };
  },
  // Each write is one round of three servers: as many starts as on one would take a minute.
  { readerStarts: 6 },
);
