import { runService } from "@sluice/service-kit";
import { propagator } from "./service.ts";

await runService(propagator);
