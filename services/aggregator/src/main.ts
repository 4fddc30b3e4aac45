import { runService } from "@sluice/service-kit";
import { aggregator } from "./service.ts";

await runService(aggregator);
