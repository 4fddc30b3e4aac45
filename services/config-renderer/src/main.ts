import { runService } from "@sluice/service-kit";
import { configRenderer } from "./service.ts";

await runService(configRenderer);
