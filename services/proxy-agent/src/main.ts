import { runService } from "@sluice/service-kit";
import { proxyAgent } from "./service.ts";

await runService(proxyAgent);
