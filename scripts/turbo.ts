import { fileURLToPath } from "node:url";

export const turboPath = fileURLToPath(new URL("../node_modules/.bin/turbo", import.meta.url));

/** turbo says nothing to anybody but us, and looks for no newer turbo. */
export const quietTurbo: Readonly<Record<string, string>> = {
  TURBO_TELEMETRY_DISABLED: "1",
  TURBO_NO_UPDATE_NOTIFIER: "1",
  DO_NOT_TRACK: "1",
  TURBO_UI: "false",
};
