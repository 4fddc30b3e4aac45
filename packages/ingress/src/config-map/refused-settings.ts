import type { RefusedSetting } from "@sluice/contracts";
import type { Verdict } from "../verdict.ts";
import { settingKeys } from "./listener-keys.ts";
import { type ConfigMap, type ConfigName, configRef } from "./read-config.ts";

/** What is to be said on a ConfigMap of what a proxy could not run with. */
export function refusals(
  of: ConfigName,
  object: ConfigMap | null,
  refused: readonly RefusedSetting[],
): Verdict[] {
  return refused.map(({ setting, value, proxy, why }) => {
    const key = settingKeys.find((each) => each.setting === setting)?.name ?? setting;
    const what = value === undefined ? `without data[${key}]` : `with data[${key}]`;
    const message = `proxy ${proxy} could not run ${what} (${why}); all proxies go on as before until it is changed`;
    return {
      object: configRef(of, object),
      type: "Warning",
      reason: "SettingRefused",
      message: `data[${key}]: ${message}`,
    };
  });
}
