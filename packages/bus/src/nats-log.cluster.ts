import { after, before } from "node:test";
import { logContract } from "./log-contract.ts";
import { eachNode, startTrialCluster, type TrialCluster } from "./trial-cluster.ts";

let trial: TrialCluster;
before(async () => {
  trial = await startTrialCluster(10);
});
after(async () => {
  await trial[Symbol.asyncDispose]();
});

logContract(
  "three nats-servers",
  async () => {
    const room = trial.room();
    const { cluster } = trial;
    return {
      connect: (kit) => room.connect(kit),
      async restart() {
        await eachNode(cluster, (node) => node.stop());
        await eachNode(cluster, (node) => node.start());
      },
      close: () => room.close(),
    };
  },
  { restarts: false },
);
