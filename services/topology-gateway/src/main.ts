import { runService } from "@sluice/service-kit";
import { topologyGateway } from "./service.ts";

await runService(topologyGateway);
