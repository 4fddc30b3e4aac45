export { type MemberWatcherPorts, runMemberWatcher } from "./member-watcher.ts";
export { memberWatcher } from "./service.ts";
