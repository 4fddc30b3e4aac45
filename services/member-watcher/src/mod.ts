export { type MemberWatcherPorts, runMemberWatcher } from "./member-watcher.ts";
