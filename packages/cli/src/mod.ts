export { busCredentials, type UpCredentials } from "./bus-credentials.ts";
export { Child } from "./child.ts";
export { endLeftovers } from "./leftovers.ts";
export { portFree, waitForListener } from "./listener.ts";
export { findRunFile, type RunFile } from "./run-file.ts";
export { runSettings } from "./run-settings.ts";
export { LOCK_HOLDER, lockState } from "./state-lock.ts";
export { fetchStatus } from "./status-command.ts";
export { createSteps, type Steps } from "./steps.ts";
