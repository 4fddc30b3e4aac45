import { runService } from "@sluice/service-kit";
import { memberWatcher } from "./service.ts";

await runService(memberWatcher);
